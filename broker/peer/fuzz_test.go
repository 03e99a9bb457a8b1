package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
)

// script is a connection whose other end has said all that it will say.
type script struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func frames(t testing.TB, list ...any) []byte {
	var b []byte
	for i := 0; i < len(list); i += 2 {
		f, err := encode(list[i].(frameType), list[i+1])
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, f...)
	}
	return b
}

// Bytes of a dialer's could make the acceptor panic, read without bound, or let in one who has not shown the token.
func FuzzAccept(f *testing.F) {
	h := hello{Kind: KindPeer, Cluster: "c", Node: 2, Want: 1, Release: "r"}
	f.Add(frames(f, typeHello, h, typeProof, proof{}))
	f.Add(frames(f, typeHello, h, typeProof, proof{Proof: make([]byte, 32)}))
	f.Add(frames(f, typeHello, h, typeRefusal, refusal{CodeStale, "no"}))
	f.Add(frames(f, typeRefusal, refusal{CodeStale, "no"}))
	f.Add([]byte("QANAT\x01\x02\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x10\x00\x12\x00\x04"))
	f.Fuzz(func(t *testing.T, in []byte) {
		hub := &Hub{cfg: Config{Self: func() wire.Peer { return who(1) }, Token: "secret"}}
		s := &script{in: bytes.NewReader(in)}
		if _, remote, err := hub.accept(s, nil); err == nil {
			t.Errorf("%+v was let in", remote)
		}
		if s.out.Len() > 4*maxBody {
			t.Errorf("answered with %d bytes", s.out.Len())
		}
	})
}

// Bytes of an acceptor's could make the dialer panic, or believe one who has not shown the token.
func FuzzIntroduce(f *testing.F) {
	a, err := cbor.Marshal(answerer{Cluster: "c", Node: 1, Guarded: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frames(f, typeChallenge, challenge{Who: a}, typeWelcome, welcome{}))
	f.Add(frames(f, typeChallenge, challenge{Who: a, Proof: make([]byte, 32)}, typeWelcome, welcome{}))
	f.Add(frames(f, typeChallenge, challenge{Who: []byte{0xff}}, typeWelcome, welcome{}))
	f.Add(frames(f, typeRefusal, refusal{CodeVersion, "later"}))
	f.Fuzz(func(t *testing.T, in []byte) {
		hub := &Hub{cfg: Config{Self: func() wire.Peer { return who(2) }, Token: "secret"}}
		if remote, err := hub.introduce(&script{in: bytes.NewReader(in)}, KindPeer, 1, nil); err == nil {
			t.Errorf("%+v was believed", remote)
		}
	})
}

// Bytes of a broker's could make the client panic, allocate what a size says alone, or answer what was never asked.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0, 0, 0, 6, 0, 0, 0, 0, 0, statusOK})
	f.Add([]byte{0, 0, 0, 5, 0, 0, 0, 9, 0})
	f.Add([]byte{0x0f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		l := newLink(&Conn{Conn: &script{in: bytes.NewReader(in)}}, "c")
		c := &call{flexible: true, done: make(chan struct{})}
		l.waiting[0], l.next = c, 1
		l.run(func() {})
		<-c.done
		if c.err == nil {
			_, err := answerTo(KeyHello, c.body)
			_ = err // whatever it says
			c.frame.Release()
		}
		if l.err == nil || errors.Is(l.err, io.ErrNoProgress) {
			t.Errorf("ended with %v", l.err)
		}
	})
}
