package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Side is whose words an explanation is for.
type Side bool

// The sides of a handshake.
const (
	Listener Side = true  // the broker that was dialed; the other end is a client, or another broker
	Dialer   Side = false // who has dialed
)

// Cause is why a handshake has failed. Its Text says what is wrong, and what to do.
type Cause struct {
	Text  string
	Quiet bool // nobody has to hear of it: a port scan, a health check
	err   error
}

func (c *Cause) Error() string { return c.Text }
func (c *Cause) Unwrap() error { return c.err }

// NotTLS tells whether err means that the other end does not speak TLS.
func NotTLS(err error) bool {
	var r tls.RecordHeaderError
	return errors.As(err, &r)
}

// alerts are what the other end's alerts mean, by the words that crypto/tls has for them.
var alerts = []struct{ word, listener, dialer string }{
	{"unknown certificate authority", "the other end does not trust the CA of this broker's certificate: give it that CA", "the broker does not trust the CA of the certificate that was shown: have it signed by a CA of the broker's ssl.truststore"},
	{"expired certificate", "the other end says that this broker's certificate is not valid now: replace it, or correct a clock", "the broker says that the certificate that was shown is not valid now: replace it, or correct a clock"},
	{"certificate required", "the other end requires a certificate", "the broker requires a client's certificate (ssl.client.auth=required), and none was shown"},
	{"bad certificate", "the other end refuses this broker's certificate: it must be of a CA that it trusts, for the name that it has dialed, and valid now", "the broker refuses the certificate that was shown, or misses one: it must be of a CA of its ssl.truststore, for client authentication, and valid now"},
	{"unknown certificate", "the other end refuses this broker's certificate: it must be of a CA that it trusts, for the name that it has dialed, and valid now", "the broker refuses the certificate that was shown"},
	{"protocol version", "the other end speaks no version of TLS that ssl.enabled.protocols allows", "the broker speaks no version of TLS that this end does"},
	{"handshake failure", "the other end finds nothing that both speak: look at ssl.cipher.suites and ssl.enabled.protocols", "the broker finds nothing that both speak: look at its ssl.cipher.suites and ssl.enabled.protocols; a broker that requires a certificate may say so too"},
}

// Explain says what a handshake's error means. nil for nil.
func Explain(err error, side Side) *Cause {
	if err == nil {
		return nil
	}
	if c := (*Cause)(nil); errors.As(err, &c) {
		return c
	}
	say := func(listener, dialer string) *Cause {
		if side == Listener {
			return &Cause{Text: listener, err: err}
		}
		return &Cause{Text: dialer, err: err}
	}
	var timeout interface{ Timeout() bool }
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case NotTLS(err):
		return say("the other end does not speak TLS on this TLS port: a client needs security.protocol=SSL, or the address of a plain listener",
			"the other end does not speak TLS there: it is a plain port, or no broker's")
	case errors.As(err, &name):
		return say(name.Error(), name.Error()+": dial a name that the certificate has, or name the one that is meant (--tls-server-name, ssl.endpoint.identification.algorithm of other clients)")
	case errors.As(err, &unknown):
		return say("the certificate that was shown is of a CA that ssl.truststore does not have", "the certificate that was shown is of a CA that is not trusted here: name the CA (--tls-ca for the command line, ssl.truststore for brokers)")
	case errors.As(err, &invalid):
		return explainInvalid(err, invalid, say)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return say("the handshake was not finished in time", "the handshake was not answered in time: is it a TLS port?")
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		return say("a certificate is required here (ssl.client.auth=required), and none was shown: give the client one, with its key", err.Error())
	case strings.Contains(err.Error(), "client offered only unsupported versions"):
		return say(err.Error()+": update the client, or look at ssl.enabled.protocols", err.Error())
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for _, a := range alerts {
			if strings.Contains(op.Err.Error(), a.word) {
				return say(a.listener, a.dialer)
			}
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) {
		c := say("the other end hung up in the handshake", "the other end hung up in the TLS handshake: is it a TLS port?")
		c.Quiet = true
		return c
	}
	return say(err.Error(), err.Error())
}

func explainInvalid(err error, invalid x509.CertificateInvalidError, say func(listener, dialer string) *Cause) *Cause {
	whose := ""
	if invalid.Cert != nil {
		whose = " (" + Subject(invalid.Cert) + ")"
		if v := validity(invalid.Cert, time.Now()); v != nil {
			text := v.Error() + ": replace it, or correct the clock that is wrong"
			return say("the other end's "+text, "the other end's "+text)
		}
	}
	switch invalid.Reason {
	case x509.Expired:
		return say("the certificate that was shown"+whose+" is not valid now: replace it, or correct the clock that is wrong", "the certificate that was shown"+whose+" is not valid now: replace it, or correct the clock that is wrong")
	case x509.IncompatibleUsage:
		text := "the certificate that was shown" + whose + " is not for this use: brokers need the extended key usages serverAuth and, among each other, clientAuth; clients need clientAuth"
		return say(text, text)
	}
	return say(err.Error(), err.Error())
}
