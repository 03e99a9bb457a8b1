package peer

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// handshakeTimeout bounds a handshake on both sides.
const handshakeTimeout = 5 * time.Second

// side is whose proof one is, so that neither can be sent back as the other.
type side string

const (
	dialerSide   side = "qanat dialer"
	acceptorSide side = "qanat acceptor"
)

// prove applies the token to all that both have said. Without a token it is nil.
func prove(token string, who side, helloBody, answererBody []byte) []byte {
	if token == "" {
		return nil
	}
	h := hmac.New(sha256.New, []byte(token))
	for _, part := range [][]byte{[]byte(who), helloBody, answererBody} {
		var size [8]byte
		for i, n := 0, len(part); i < len(size); i, n = i+1, n>>8 {
			size[i] = byte(n)
		}
		h.Write(size[:])
		h.Write(part)
	}
	return h.Sum(nil)
}

// accept is the acceptor's half. It returns who has dialed, and for what. The connection's deadline is the caller's to set.
// cert is what the dialer has shown, nil on a plain connection. Whoever is refused is told why.
func (h *Hub) accept(nc net.Conn, cert *x509.Certificate) (Kind, wire.Peer, error) {
	kind, remote, r, err := h.examine(nc, cert)
	if r != nil {
		err = r
		if b, encodeErr := encode(typeRefusal, refusal{r.Code, r.Text[:min(len(r.Text), maxText)]}); encodeErr == nil {
			if _, writeErr := nc.Write(b); writeErr != nil {
				err = errors.Join(r, writeErr)
			}
		}
	}
	if err != nil {
		return 0, wire.Peer{}, err
	}
	return kind, remote, send(nc, typeWelcome, welcome{})
}

// examine hears the dialer's hello, has it prove that it knows the token, and checks who it is.
func (h *Hub) examine(nc net.Conn, cert *x509.Certificate) (kind Kind, remote wire.Peer, r *Refusal, err error) {
	f, err := readFrame(nc)
	if errors.Is(err, errSpeaksTLS) { // it would not understand a refusal
		return 0, remote, nil, Refuse(CodeTLS, "somebody speaks TLS on this cluster.listener, which is plain: security.inter.broker.protocol is to be the same on every broker")
	}
	if err != nil {
		return 0, remote, nil, err
	}
	self := h.cfg.Self()
	if f.kind == typeHello && (f.version < oldest || f.version > version) {
		return 0, remote, Refuse(CodeVersion, "broker %d (release %s) speaks versions %d to %d of the protocol between brokers, the dialer %d: upgrade the older one, one release after the other",
			self.Node, self.Release, oldest, version, f.version), nil
	}
	var who hello
	if err := decode(f, typeHello, &who); err != nil {
		return 0, remote, Refuse(CodeMalformed, "%v", err), nil
	}
	if !who.Kind.known() {
		return 0, remote, Refuse(CodeUnsupported, "connections of kind %d are not known to release %s: upgrade broker %d", who.Kind, self.Release, self.Node), nil
	}
	if r, err := h.challenge(nc, self, f.body); r != nil || err != nil {
		return 0, remote, r, err
	}
	remote = wire.Peer{Node: who.Node, Cluster: who.Cluster, Release: who.Release, Directory: who.Directory, Admission: who.Admission}
	if r := admit(cert, remote, self.Cluster); r != nil {
		return 0, remote, r, nil
	}
	return who.Kind, remote, h.check(self, remote, who.Kind, who.Want), nil
}

// challenge proves that this broker knows the token, and has the dialer prove it.
func (h *Hub) challenge(nc net.Conn, self wire.Peer, helloBody []byte) (*Refusal, error) {
	mine, err := cbor.Marshal(answerer{
		Cluster: self.Cluster, Node: self.Node, Directory: self.Directory, Admission: self.Admission, Release: self.Release,
		Nonce: nonce(), Guarded: h.cfg.Token != "",
	})
	if err != nil {
		return nil, err
	}
	if err := send(nc, typeChallenge, challenge{Who: mine, Proof: prove(h.cfg.Token, acceptorSide, helloBody, mine)}); err != nil {
		return nil, err
	}
	answer, err := readFrame(nc)
	if err != nil {
		return nil, err
	}
	var p proof
	if err := decode(answer, typeProof, &p); err != nil {
		if r := (*Refusal)(nil); errors.As(err, &r) {
			return nil, err // the dialer's, who does not want us
		}
		return Refuse(CodeMalformed, "%v", err), nil
	}
	if !hmac.Equal(p.Proof, prove(h.cfg.Token, dialerSide, helloBody, mine)) {
		return tokenRefusal(self.Node, len(p.Proof) == 0, h.cfg.Token == ""), nil
	}
	return nil, nil
}

func tokenRefusal(node kafka.BrokerID, none, unwanted bool) *Refusal {
	switch {
	case unwanted:
		return Refuse(CodeToken, "broker %d has no cluster.join.token and was shown one: set the same token on every broker", node)
	case none:
		return Refuse(CodeToken, "broker %d asks for a cluster.join.token and was shown none: set the same token on every broker", node)
	}
	return Refuse(CodeToken, "broker %d has another cluster.join.token: set the same token on every broker", node)
}

// check is the acceptor's decision about who dials.
func (h *Hub) check(self, remote wire.Peer, kind Kind, want kafka.BrokerID) *Refusal {
	switch {
	case want != kafka.NoBroker && want != self.Node:
		return Refuse(CodeWrongNode, "broker %d answers where broker %d was expected: correct cluster.peers or cluster.advertised", self.Node, want)
	case remote.Cluster != "" && self.Cluster != "" && remote.Cluster != self.Cluster:
		return Refuse(CodeCluster, "broker %d is of cluster %s, broker %d of cluster %s: correct cluster.peers, or move the data directory away that belongs elsewhere",
			self.Node, self.Cluster, remote.Node, remote.Cluster)
	case remote.Node == self.Node:
		return Refuse(CodeDuplicate, "two brokers have node id %d: give each its own node.id", self.Node)
	case kind == KindRaft && (remote.Cluster == "" || self.Cluster == ""):
		return Refuse(CodeNotReady, "broker %d or %d is not part of a cluster yet", self.Node, remote.Node)
	}
	return h.vet(remote)
}

// vet asks Config.Check.
func (h *Hub) vet(remote wire.Peer) *Refusal {
	if h.cfg.Check == nil {
		return nil
	}
	err := h.cfg.Check(remote)
	if err == nil {
		return nil
	}
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r
	}
	return Refuse(CodeFailed, "%v", err)
}

// introduce is the dialer's half. It returns who has answered.
// cert is what the acceptor has shown.
func (h *Hub) introduce(nc net.Conn, kind Kind, want kafka.BrokerID, cert *x509.Certificate) (wire.Peer, error) {
	self := h.cfg.Self()
	first, err := encode(typeHello, hello{
		Kind: kind, Cluster: self.Cluster, Node: self.Node, Want: want, Directory: self.Directory, Admission: self.Admission,
		Release: self.Release, Nonce: nonce(),
	})
	if err != nil {
		return wire.Peer{}, err
	}
	if _, err := nc.Write(first); err != nil {
		return wire.Peer{}, err
	}
	f, err := readFrame(nc)
	if err != nil {
		return wire.Peer{}, noBroker(err)
	}
	var c challenge
	if err := decode(f, typeChallenge, &c); err != nil {
		return wire.Peer{}, err
	}
	var a answerer
	if err := decoding.Unmarshal(c.Who, &a); err != nil {
		return wire.Peer{}, fmt.Errorf("%w: %w", errNotQanat, err)
	}
	remote := wire.Peer{Node: a.Node, Cluster: a.Cluster, Release: a.Release, Directory: a.Directory, Admission: a.Admission}
	if r := admit(cert, remote, self.Cluster); r != nil {
		return remote, errors.Join(r, send(nc, typeRefusal, refusal{r.Code, r.Text}))
	}
	helloBody := first[frameHead:]
	// Without a token an acceptor's proof is not looked at: it will refuse, and says so better.
	if h.cfg.Token != "" && !hmac.Equal(c.Proof, prove(h.cfg.Token, acceptorSide, helloBody, c.Who)) {
		r := tokenRefusal(self.Node, len(c.Proof) == 0, false)
		return remote, errors.Join(r, send(nc, typeRefusal, refusal{r.Code, r.Text}))
	}
	if kind != kindProbe { // a probe wants to know who is there, whoever it is
		if r := h.vet(remote); r != nil {
			return remote, errors.Join(r, send(nc, typeRefusal, refusal{r.Code, r.Text}))
		}
	}
	if err := send(nc, typeProof, proof{prove(h.cfg.Token, dialerSide, helloBody, c.Who)}); err != nil {
		return remote, err
	}
	if f, err = readFrame(nc); err != nil {
		return remote, noBroker(err)
	}
	return remote, decode(f, typeWelcome, &welcome{})
}

// noBroker says what it means when the other end hangs up in mid-handshake, or says nothing. The latter may be a broker that hangs: it is not
// errNotQanat.
func noBroker(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer to the handshake: is this the cluster.listener of a broker, and does that broker not hang? (%w)", os.ErrDeadlineExceeded)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w: the other end hung up; is this the cluster.listener of a broker? (It may speak TLS: security.inter.broker.protocol is to be the same on all)", errNotQanat)
	}
	return err
}

func send(nc net.Conn, t frameType, v any) error {
	b, err := encode(t, v)
	if err != nil {
		return err
	}
	_, err = nc.Write(b)
	return err
}

func nonce() (n [nonceBytes]byte) {
	_, _ = rand.Read(n[:]) // never fails
	return n
}

// within sets the connection's deadline for a handshake under ctx, and lets ctx's end break it off. done gives the deadline back.
func within(ctx context.Context, nc net.Conn, timeout time.Duration) (done func() error, err error) {
	until := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	if err := nc.SetDeadline(until); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) // a connection that is closed already has ended too
	return func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return nc.SetDeadline(time.Time{})
	}, nil
}
