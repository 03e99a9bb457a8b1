package secure

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// Store types of ssl.keystore.type and ssl.truststore.type.
const (
	PEM    = "PEM"
	PKCS12 = "PKCS12"
	JKS    = "JKS"
)

// Settings are the ssl.* keys of one listener, by Kafka's names. Chain, Key and Certificates are PEM, or the path of a file
// that holds it.
type Settings struct {
	Listener string // whose they are, for messages

	KeystoreType     string // ssl.keystore.type
	KeystoreLocation string // PEM: private key and certificate chain in one file
	KeystorePassword string
	Chain            string // ssl.keystore.certificate.chain
	Key              string // ssl.keystore.key
	KeyPassword      string

	TruststoreType     string
	TruststoreLocation string
	TruststorePassword string
	Certificates       string // ssl.truststore.certificates

	ClientAuth string   // none, requested, required
	Protocols  []string // TLSv1.2, TLSv1.3; none: both
	Ciphers    []string // for TLS 1.2; none: Go's choice
	Principals string   // ssl.principal.mapping.rules
}

// Client authentication.
const (
	AuthNone      = "none"
	AuthRequested = "requested"
	AuthRequired  = "required"
)

// material is what the settings' files hold at one moment. Immutable.
type material struct {
	cert  *tls.Certificate // with its leaf; nil for a client without one
	roots *x509.CertPool   // nil: the system's, for a dialer; for a listener nobody's
}

// isInline tells PEM from a path.
func isInline(v string) bool { return strings.Contains(v, "-----BEGIN ") }

// files are the paths that the settings name.
func (s *Settings) files() []string {
	var list []string
	for _, f := range []string{s.KeystoreLocation, s.Chain, s.Key, s.TruststoreLocation, s.Certificates} {
		if f != "" && !isInline(f) {
			list = append(list, f)
		}
	}
	return list
}

// keyFiles are those of them that hold a private key.
func (s *Settings) keyFiles() []string {
	var list []string
	for _, f := range []string{s.KeystoreLocation, s.Key} {
		if f != "" && !isInline(f) {
			list = append(list, f)
		}
	}
	return list
}

// hasKeystore tells whether there is a certificate to show.
func (s *Settings) hasKeystore() bool {
	return s.KeystoreLocation != "" || s.Chain != "" || s.Key != ""
}

// load reads everything. The errors name the key and what to do.
func (s *Settings) load() (*material, error) {
	m := &material{}
	if s.hasKeystore() {
		cert, err := s.loadKeystore()
		if err != nil {
			return nil, err
		}
		m.cert = cert
	}
	roots, err := s.loadTruststore()
	if err != nil {
		return nil, err
	}
	m.roots = roots
	return m, nil
}

// ConvertJKS is what to do about a keystore in Java's own form.
const ConvertJKS = "keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype PKCS12 makes PKCS12 of it, openssl pkcs12 -in FILE.p12 -nodes -out FILE.pem makes PEM of that"

func (s *Settings) loadKeystore() (*tls.Certificate, error) {
	if strings.EqualFold(s.KeystoreType, PKCS12) {
		return s.loadPKCS12()
	}
	if !strings.EqualFold(s.KeystoreType, PEM) && s.KeystoreType != "" {
		return nil, fmt.Errorf("ssl.keystore.type=%s: only PEM and PKCS12 are read; %s", s.KeystoreType, ConvertJKS)
	}
	chainKey, chain, keyKey, key := "ssl.keystore.certificate.chain", s.Chain, "ssl.keystore.key", s.Key
	if s.KeystoreLocation != "" {
		if s.Chain != "" || s.Key != "" {
			return nil, errors.New("ssl.keystore.location: is set together with ssl.keystore.certificate.chain or ssl.keystore.key: set one or the other")
		}
		chainKey, chain, keyKey, key = "ssl.keystore.location", s.KeystoreLocation, "ssl.keystore.location", s.KeystoreLocation
	}
	switch {
	case chain == "":
		return nil, errors.New("ssl.keystore.key is set, ssl.keystore.certificate.chain is not: both are needed")
	case key == "":
		return nil, errors.New("ssl.keystore.certificate.chain is set, ssl.keystore.key is not: both are needed")
	}
	chainPEM, err := read(chainKey, chain)
	if err != nil {
		return nil, err
	}
	keyPEM, err := read(keyKey, key)
	if err != nil {
		return nil, err
	}
	certs, err := certificates(chainKey, chain, chainPEM)
	if err != nil {
		return nil, err
	}
	private, err := s.privateKey(keyKey, key, keyPEM)
	if err != nil {
		return nil, err
	}
	return assemble(where(chainKey, chain), where(keyKey, key), certs, private)
}

// where names a key and its file.
func where(key, value string) string {
	if isInline(value) {
		return key
	}
	return key + " " + value
}

func read(key, value string) ([]byte, error) {
	if isInline(value) {
		return []byte(value), nil
	}
	b, err := os.ReadFile(value)
	if err != nil {
		remedy := "correct the path, or put PEM itself into the key"
		if errors.Is(err, os.ErrPermission) {
			remedy = "let the broker's user read it (it needs no more than that: chown, chmod 0400)"
		}
		return nil, fmt.Errorf("%s: %w: %s", key, err, remedy)
	}
	return b, nil
}

// certificates are those of a PEM text, all that it has: of a file that is being written, or that a full disk has cut short, the
// certificates before the cut would be taken for everybody who is to be trusted.
func certificates(key, value string, text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	blocks := 0
	for rest := text; ; blocks++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: its certificate %d: %w", where(key, value), len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: there is no certificate in it (-----BEGIN CERTIFICATE-----)%s", where(key, value), guess(text))
	}
	if begun(text) > blocks {
		return nil, fmt.Errorf("%s: it is cut short or damaged behind its certificate %d: write it whole beside its name, then rename it", where(key, value), len(list))
	}
	return list, nil
}

// begun is how many blocks a PEM text begins, one that ends in its first line included.
func begun(text []byte) int {
	const begin = "-----BEGIN "
	n := bytes.Count(append([]byte("\n"), text...), []byte("\n"+begin))
	if last := text[bytes.LastIndexByte(text, '\n')+1:]; len(last) > 0 && strings.HasPrefix(begin, string(last)) {
		n++
	}
	return n
}

// guess says what a file is that is not PEM.
func guess(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte{0xfe, 0xed, 0xfe, 0xed}):
		return "; it is a Java keystore: " + ConvertJKS
	case bytes.HasPrefix(text, []byte{0x30}):
		return "; it is binary (DER, or PKCS12: then set the store's type to PKCS12)"
	case len(text) == 0:
		return "; it is empty"
	}
	return ""
}

// privateKey is the first private key of a PEM text.
func (s *Settings) privateKey(key, value string, text []byte) (crypto.PrivateKey, error) {
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, fmt.Errorf("%s: there is no private key in it (-----BEGIN PRIVATE KEY-----)", where(key, value))
		}
		if !strings.HasSuffix(b.Type, "PRIVATE KEY") {
			continue
		}
		var private any
		var err error
		switch {
		case b.Headers["DEK-Info"] != "":
			err = errors.New("it is encrypted in the old way of OpenSSL, which protects nothing: openssl pkcs8 -topk8 -in KEY -out KEY.new makes it PKCS#8")
		case b.Type == "ENCRYPTED PRIVATE KEY" && s.KeyPassword == "":
			err = errors.New("it is encrypted, and ssl.key.password is not set")
		case b.Type == "ENCRYPTED PRIVATE KEY":
			if private, err = pkcs8.ParsePKCS8PrivateKey(b.Bytes, []byte(s.KeyPassword)); err != nil {
				err = errors.New("ssl.key.password does not open it")
			}
		case b.Type == "RSA PRIVATE KEY":
			private, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case b.Type == "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(b.Bytes)
		default:
			private, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: the private key: %w", where(key, value), err)
		}
		return private, nil
	}
}

// assemble checks that key and certificate belong together.
func assemble(chainAt, keyAt string, certs []*x509.Certificate, private crypto.PrivateKey) (*tls.Certificate, error) {
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a private key of a kind that TLS does not know (%T)", keyAt, private)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("%s: the private key does not belong to the first certificate of %s (%s): put the server's own certificate first, and take the key that it was asked for with",
			keyAt, chainAt, Subject(certs[0]))
	}
	cert := &tls.Certificate{PrivateKey: private, Leaf: certs[0]}
	for _, c := range certs {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

func (s *Settings) loadPKCS12() (*tls.Certificate, error) {
	const key = "ssl.keystore.location"
	if s.KeystoreLocation == "" {
		return nil, errors.New("ssl.keystore.type=PKCS12: ssl.keystore.location names no file")
	}
	b, err := read(key, s.KeystoreLocation)
	if err != nil {
		return nil, err
	}
	private, leaf, more, err := pkcs12.DecodeChain(b, s.KeystorePassword)
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", where(key, s.KeystoreLocation), err, passwordHint(err, "ssl.keystore.password"))
	}
	return assemble(where(key, s.KeystoreLocation), where(key, s.KeystoreLocation), append([]*x509.Certificate{leaf}, more...), private)
}

func passwordHint(err error, key string) string {
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return ": " + key + " does not open it"
	}
	return ""
}

// loadTruststore reads whom to trust; nil when nothing is set.
func (s *Settings) loadTruststore() (*x509.CertPool, error) {
	if s.TruststoreLocation != "" && s.Certificates != "" {
		return nil, errors.New("ssl.truststore.location: is set together with ssl.truststore.certificates: set one or the other")
	}
	key, value := "ssl.truststore.location", s.TruststoreLocation
	if value == "" {
		key, value = "ssl.truststore.certificates", s.Certificates
	}
	if value == "" {
		return nil, nil
	}
	text, err := read(key, value)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	switch {
	case strings.EqualFold(s.TruststoreType, PKCS12):
		if certs, err = pkcs12.DecodeTrustStore(text, s.TruststorePassword); err != nil {
			return nil, fmt.Errorf("%s: %w%s", where(key, value), err, passwordHint(err, "ssl.truststore.password"))
		}
	case strings.EqualFold(s.TruststoreType, PEM), s.TruststoreType == "":
		if certs, err = certificates(key, value, text); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("ssl.truststore.type=%s: only PEM and PKCS12 are read; %s", s.TruststoreType, ConvertJKS)
	}
	roots := x509.NewCertPool()
	for _, c := range certs {
		roots.AddCert(c)
	}
	return roots, nil
}

// Versions of TLS by Kafka's names. Older ones are broken.
var versions = map[string]uint16{"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

func (s *Settings) versionRange() (low, high uint16) {
	low, high = tls.VersionTLS12, tls.VersionTLS13
	if len(s.Protocols) > 0 {
		low, high = high, low
		for _, p := range s.Protocols {
			v := versions[p]
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high
}

// CheckCipher tells whether a suite can be chosen.
func CheckCipher(name string) error {
	if suiteOf(tls.CipherSuites(), name) != 0 {
		return nil
	}
	if suiteOf(tls.InsecureCipherSuites(), name) != 0 {
		return fmt.Errorf("%s is not safe any more, and is not spoken", name)
	}
	return fmt.Errorf("%s is not known; %s are", name, strings.Join(cipherNames(), ", "))
}

func suiteOf(list []*tls.CipherSuite, name string) uint16 {
	for _, c := range list {
		if c.Name == name {
			return c.ID
		}
	}
	return 0
}

func cipherNames() []string {
	var names []string
	for _, c := range tls.CipherSuites() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// suites are the chosen ones of TLS 1.2, nil for Go's choice; those of TLS 1.3 are not to be chosen.
func (s *Settings) suites() []uint16 {
	var ids []uint16
	for _, name := range s.Ciphers {
		if id := suiteOf(tls.CipherSuites(), name); id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// validity is what is wrong with a certificate's time now; nil when nothing is.
func validity(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("certificate %s has expired on %s", Subject(c), c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("certificate %s is not valid before %s (this machine's clock says %s)", Subject(c), c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
