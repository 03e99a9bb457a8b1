package peer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

var errSpeaksTLS = errors.New("it speaks TLS")

// secureAccepted makes the acceptor's TLS handshake, if there is to be one. It returns what to go on with, and what the dialer has
// shown, nil on a plain connection. The deadline is the caller's.
func (h *Hub) secureAccepted(nc net.Conn) (net.Conn, *x509.Certificate, error) {
	if h.cfg.TLS == nil {
		return nc, nil, nil
	}
	if h.cfg.AllowPlain {
		first, same, err := secure.First(nc)
		if err != nil {
			return nil, nil, err
		}
		if nc = same; first == magic[0] {
			return nc, nil, nil
		}
	}
	c := secure.Server(nc, h.cfg.TLS.PeerServerConfig())
	if err := c.Handshake(); err != nil {
		cause := secure.Explain(err, secure.Listener)
		if cause.Quiet {
			return nil, nil, cause
		}
		return nil, nil, Refuse(CodeTLS, "no TLS on cluster.listener: %s", cause.Text)
	}
	return c, c.ConnectionState().PeerCertificates[0], nil
}

// errNoTLS says that the other end seems not to speak TLS.
var errNoTLS = errors.New("no TLS with it")

// secureDialed is the dialer's half. When it fails the connection is closed.
func (h *Hub) secureDialed(nc net.Conn) (net.Conn, *x509.Certificate, error) {
	c := secure.Client(nc, h.cfg.TLS.PeerDialConfig())
	err := c.Handshake()
	if err == nil {
		cert := c.ConnectionState().PeerCertificates[0]
		if _, err = secure.Roles(cert); err == nil {
			return c, cert, nil
		}
		err = Refuse(CodeRole, "%s: %v: give it a broker's certificate", secure.Subject(cert), err)
	}
	_ = nc.Close() // the handshake's error says more
	if CodeOf(err) != 0 {
		return nil, nil, err
	}
	cause := secure.Explain(err, secure.Dialer)
	if cause.Quiet || secure.NotTLS(err) {
		return nil, nil, fmt.Errorf("%w: %w (security.inter.broker.protocol is to be the same on every broker)", errNoTLS, cause)
	}
	return nil, nil, fmt.Errorf("TLS: %w", cause)
}

// admit checks the role in a certificate; there is none on a plain connection. ours is this broker's cluster.
func admit(cert *x509.Certificate, remote wire.Peer, ours string) *Refusal {
	if cert == nil {
		return nil
	}
	cluster := ours
	if cluster == "" {
		cluster = remote.Cluster
	}
	if err := secure.Admit(cert, int32(remote.Node), cluster); err != nil {
		return Refuse(CodeRole, "%v: give broker %d a certificate of its own", err, kafka.BrokerID(remote.Node))
	}
	return nil
}
