package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
)

// Authority is a CA.
type Authority struct {
	Cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// Pair is a certificate with its key, as PEM. The key is PKCS#8, which every client reads.
type Pair struct{ Cert, Key []byte }

// Request is what a certificate is to say.
type Request struct {
	Name  string       // common name
	Hosts []string     // names and addresses
	Role  *secure.Role // of a broker
	// Before and After bound its time; zero: from an hour ago on, for the authority's time.
	Before, After time.Time
	// ServerOnly leaves out that it may be shown by who dials.
	ServerOnly bool
}

// NewAuthority makes a CA that is valid for a while.
func NewAuthority(name string, valid time.Duration, now func() time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now().Add(-time.Hour), NotAfter: now().Add(valid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	return &Authority{Cert: cert, key: key, now: now}, nil
}

func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return n, nil
}

// PEM is the CA's certificate.
func (a *Authority) PEM() []byte { return certPEM(a.Cert.Raw) }

func certPEM(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

// Issue makes a certificate and its key.
func (a *Authority) Issue(r Request) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return Pair{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: r.Name}, NotBefore: r.Before, NotAfter: r.After,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = a.now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = a.Cert.NotAfter
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	switch {
	case r.ServerOnly:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case len(r.Hosts) > 0:
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if r.Role != nil {
		t.URIs = []*url.URL{r.Role.URI()}
	}
	raw, err := x509.CreateCertificate(rand.Reader, t, a.Cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("make the certificate of %s: %w", r.Name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("write the key of %s: %w", r.Name, err)
	}
	return Pair{Cert: certPEM(raw), Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}, nil
}

// Write writes NAME.pem and NAME-key.pem into a directory, each whole or not at all, the key for the owner alone.
func (p Pair) Write(dir, name string) error {
	// The key first: who sees the certificate change finds the key that belongs to it.
	if err := WriteFile(filepath.Join(dir, name+"-key.pem"), p.Key, 0o600); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, name+".pem"), p.Cert, 0o644)
}

// WriteFile puts a file in place whole.
func WriteFile(path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left of it
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
