package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/qanat-io/qanat/broker"
	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/metadata/config"
)

// certificateWarning is how long before its end a certificate is told of, as `qanat cluster health` does.
const certificateWarning = 14 * 24 * time.Hour

// Certificates looks at what each TLS listener would show.
func Certificates(cfg *config.Broker) []Finding {
	const check = "certificates"
	ids, err := broker.Identities(cfg)
	if err != nil {
		return []Finding{problem(check, "", "%v", err)}
	}
	if len(ids) == 0 {
		return []Finding{skipped(check, "no listener speaks TLS")}
	}
	var list []Finding
	for _, id := range ids {
		list = append(list, judgeCertificate(check, id.Status(), time.Now()))
	}
	return list
}

func judgeCertificate(check string, s secure.Status, now time.Time) Finding {
	left := s.NotAfter.Sub(now)
	text := fmt.Sprintf("%s: %s, until %s", s.Listener, s.Subject, s.NotAfter.UTC().Format(time.RFC3339))
	switch {
	case s.Problem != "":
		return problem(check, "replace the file: a broker that runs takes it up by itself", "%s: %s", s.Listener, s.Problem)
	case left < 0:
		return problem(check, "replace the chain's file", "%s: a CA's certificate in its chain has expired", text)
	case left < certificateWarning:
		return warning(check, "replace the file: a broker that runs takes it up by itself", "%s", text)
	}
	return ok(check, "%s", text)
}

// peerTimeout bounds the look at one broker.
const peerTimeout = 3 * time.Second

// Peers looks whether the brokers of cluster.peers can be reached, and whether they speak TLS when this one does.
func Peers(ctx context.Context, cfg *config.Broker) []Finding {
	const check = "other brokers"
	var secured *tls.Config
	if ids, err := broker.Identities(cfg); err == nil { // what is wrong with them is another finding
		for _, id := range ids {
			if id.Status().Listener == config.ClusterListener {
				secured = id.PeerDialConfig()
			}
		}
	}
	others := cfg.Peers()
	answers := make(chan Finding, len(others))
	n := 0
	for _, p := range others {
		if int64(p.ID) == cfg.Int("node.id") {
			continue
		}
		n++
		go func() { answers <- lookAt(ctx, check, p, secured) }()
	}
	if n == 0 {
		return []Finding{skipped(check, "cluster.peers names none")}
	}
	list := make([]Finding, n)
	for i := range list {
		list[i] = <-answers
	}
	return list
}

func lookAt(ctx context.Context, check string, p config.Peer, secured *tls.Config) Finding {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	who := fmt.Sprintf("broker %d at %s", p.ID, p.Address)
	began := time.Now()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", p.Address)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return problem(check, "correct the name in cluster.peers, or the name server", "%s: %v", who, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return warning(check, "start it; if it runs, look at its cluster.listener", "%s: the port refuses: it is not running", who)
	case err != nil:
		return problem(check, "open the port between the brokers (security groups, firewalls), or start the machine", "%s: no answer: %v", who, err)
	}
	took := time.Since(began)
	defer func() { _ = nc.Close() }() // nothing was said on it
	if secured == nil {
		return ok(check, "%s: connected in %s", who, short(took))
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline) // a closed connection fails by itself
	}
	c := tls.Client(nc, secured)
	if err := c.Handshake(); err != nil {
		return problem(check, "the cause says what to do; security.inter.broker.protocol is to be the same on every broker", "%s: no TLS: %v", who, secure.Explain(err, secure.Dialer))
	}
	cert := c.ConnectionState().PeerCertificates[0]
	if err := secure.Admit(cert, p.ID, ""); err != nil {
		return problem(check, "give it a broker's certificate of its own", "%s: %v", who, err)
	}
	return ok(check, "%s: connected in %s, TLS with %s", who, short(took), secure.Subject(cert))
}
