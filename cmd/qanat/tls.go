package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/secure"
)

// tlsFlags say how the command line's clients speak TLS, with brokers and with the admin port.
type tlsFlags struct {
	on                        bool
	ca, cert, key, serverName string
}

func (t *tlsFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&t.on, "tls", false, "speak TLS, and trust the CAs of this machine (env QANAT_TLS=true); any other --tls-… implies it")
	f.StringVar(&t.ca, "tls-ca", "", "trust the CAs in this PEM file (env QANAT_TLS_CA)")
	f.StringVar(&t.cert, "tls-cert", "", "show this certificate, a PEM file (env QANAT_TLS_CERT)")
	f.StringVar(&t.key, "tls-key", "", "its private key, a PEM file (env QANAT_TLS_KEY)")
	f.StringVar(&t.serverName, "tls-server-name", "", "the name that brokers' certificates must have, in place of the one that is dialed (env QANAT_TLS_SERVER_NAME)")
}

// flagsOfTLS are the flags with what the environment says where they are not given.
func (a *app) flagsOfTLS() tlsFlags {
	t := a.tls
	for _, f := range []struct {
		to   *string
		name string
	}{{&t.ca, "QANAT_TLS_CA"}, {&t.cert, "QANAT_TLS_CERT"}, {&t.key, "QANAT_TLS_KEY"}, {&t.serverName, "QANAT_TLS_SERVER_NAME"}} {
		if *f.to == "" {
			*f.to = a.getenv(f.name)
		}
	}
	if v := a.getenv("QANAT_TLS"); v == "true" || v == "1" {
		t.on = true
	}
	t.on = t.on || t.ca != "" || t.cert != "" || t.key != "" || t.serverName != ""
	return t
}

func (a *app) wantsTLS() bool { return a.flagsOfTLS().on }

// tlsConfig is nil for plain connections.
func (a *app) tlsConfig() (*tls.Config, error) {
	t := a.flagsOfTLS()
	if !t.on {
		return nil, nil
	}
	return t.config()
}

func (t tlsFlags) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.serverName}
	if t.ca != "" {
		text, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, failf(exitUsage, "", "--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, failf(exitUsage, "it is to hold -----BEGIN CERTIFICATE-----", "--tls-ca %s: there is no certificate in it", t.ca)
		}
	}
	if t.cert == "" && t.key == "" {
		return c, nil
	}
	if t.cert == "" || t.key == "" {
		return nil, failf(exitUsage, "", "--tls-cert and --tls-key go together")
	}
	pair, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, failf(exitUsage, "the key is the one that the certificate was asked for with, both PEM", "--tls-cert %s, --tls-key %s: %w", t.cert, t.key, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// noBroker says why there is nobody, where TLS may be the reason.
func (a *app) noBroker(secured bool, err error) error {
	where := strings.Join(a.seeds(), ", ")
	var first *kgo.ErrFirstReadEOF
	switch {
	case secured && isTLS(err):
		return failf(exitUnreachable, "", "no TLS with a broker at %s: %w", where, secure.Explain(err, secure.Dialer))
	case secured && (errors.As(err, &first) || errors.Is(err, io.EOF)):
		return failf(exitUnreachable, "is it a TLS listener? does it require a certificate (--tls-cert, --tls-key)?", "a broker at %s hangs up", where)
	case !secured && (errors.As(err, &first) || errors.Is(err, io.EOF)):
		return failf(exitUnreachable, "is it a TLS listener? then --tls-ca CA.pem, or --tls for the CAs of this machine", "a broker at %s hangs up at the first request", where)
	}
	return unreachable("a broker", where, "--brokers HOST:PORT", err)
}

// isTLS tells errors of a handshake from those of the network.
func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	return secure.NotTLS(err) || errors.As(err, &verify) || strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: ")
}

// adminClient is the client for the admin port.
func (a *app) adminClient(base string) (*http.Client, error) {
	if !strings.HasPrefix(base, "https://") {
		return http.DefaultClient, nil
	}
	c, err := a.flagsOfTLS().config()
	if err != nil {
		return nil, err
	}
	// A connection for each request: a command makes few.
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}, nil
}

func (a *app) noAdmin(base string, err error) error {
	where := strings.TrimPrefix(strings.TrimPrefix(base, "http://"), "https://")
	if strings.HasPrefix(base, "https://") && (isTLS(err) || strings.Contains(err.Error(), "HTTP response to HTTPS client")) {
		if secure.NotTLS(err) || strings.Contains(err.Error(), "HTTP response to HTTPS client") {
			return failf(exitUnreachable, fmt.Sprintf("say so: --admin-url http://%s", where), "the admin port at %s speaks plain HTTP", where)
		}
		return failf(exitUnreachable, "", "no TLS with the admin port at %s: %w", where, secure.Explain(err, secure.Dialer))
	}
	return unreachable("the admin port", where, "--admin-url HOST:PORT", err)
}
