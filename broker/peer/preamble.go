package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A frame of the handshake:
//
//	"QANAT" │ type (1 byte) │ version (1 byte) │ length (2 bytes, big endian) │ body
//
// The first frame, the hello, and every refusal have this form in all versions; a refusal's body is the CBOR map {1: code,
// 2: text} in all versions. Other bodies are deterministic CBOR maps, read strictly: a version with other fields has another number.
const (
	magic      = "QANAT"
	version    = 1
	oldest     = 1 // the oldest version that is understood
	frameHead  = len(magic) + 4
	maxBody    = 2 << 10
	maxText    = 1 << 10
	nonceBytes = 16
)

// frameType is what a frame holds.
type frameType uint8

const (
	typeHello     frameType = 1
	typeChallenge frameType = 2
	typeProof     frameType = 3
	typeWelcome   frameType = 4
	typeRefusal   frameType = 5
)

// Kind is what a connection is for.
type Kind uint8

const (
	KindRaft  Kind = 1
	KindPeer  Kind = 2
	kindProbe Kind = 3 // closed after the handshake
)

func (k Kind) known() bool { return k >= KindRaft && k <= kindProbe }

var errNotQanat = errors.New("what came is no handshake between brokers")

// hello is who dials, and whom it means.
type hello struct {
	Kind      Kind           `cbor:"1,keyasint"`
	Cluster   string         `cbor:"2,keyasint"`
	Node      kafka.BrokerID `cbor:"3,keyasint"`
	Want      kafka.BrokerID `cbor:"4,keyasint"` // kafka.NoBroker: whoever answers
	Directory [16]byte       `cbor:"5,keyasint"`
	Admission uint64         `cbor:"6,keyasint"`
	Release   string         `cbor:"7,keyasint"`
	Nonce     [16]byte       `cbor:"8,keyasint"`
}

// challenge is who answers, and what it wants to see the token applied to.
type challenge struct {
	Who   []byte `cbor:"1,keyasint"` // an answerer, encoded: what both proofs are of
	Proof []byte `cbor:"2,keyasint"` // of the token; empty without one
}

type answerer struct {
	Cluster   string         `cbor:"1,keyasint"`
	Node      kafka.BrokerID `cbor:"2,keyasint"`
	Directory [16]byte       `cbor:"3,keyasint"`
	Admission uint64         `cbor:"4,keyasint"`
	Release   string         `cbor:"5,keyasint"`
	Nonce     [16]byte       `cbor:"6,keyasint"`
	Guarded   bool           `cbor:"7,keyasint"` // a token is asked for
}

type proof struct {
	Proof []byte `cbor:"1,keyasint"` // empty without a token
}

type welcome struct{}

type refusal struct {
	Code Code   `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint"`
}

var decoding = cbor.Limits{Depth: 4, Elements: maxBody, Pairs: 16}.Decoding()

// encode is a frame around v.
func encode(t frameType, v any) ([]byte, error) {
	body, err := cbor.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("handshake of %d bytes, at most %d", len(body), maxBody)
	}
	b := make([]byte, 0, frameHead+len(body))
	b = append(b, magic...)
	b = append(b, byte(t), version)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...), nil
}

// frame is one that was read.
type frame struct {
	kind    frameType
	version uint8
	body    []byte
}

// readFrame reads one frame and no byte more. Whoever does not begin like a broker is found out at the first bytes.
func readFrame(r io.Reader) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:len(magic)]); err != nil {
		return frame{}, err
	}
	if head[0] == 0x16 && head[1] == 3 {
		return frame{}, fmt.Errorf("%w: %w", errNotQanat, errSpeaksTLS)
	}
	if string(head[:len(magic)]) != magic {
		return frame{}, fmt.Errorf("%w: it begins with %q", errNotQanat, head[:len(magic)])
	}
	if _, err := io.ReadFull(r, head[len(magic):]); err != nil {
		return frame{}, err
	}
	f := frame{kind: frameType(head[len(magic)]), version: head[len(magic)+1]}
	n := binary.BigEndian.Uint16(head[len(magic)+2:])
	if n > maxBody {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", errNotQanat, n)
	}
	f.body = make([]byte, n)
	_, err := io.ReadFull(r, f.body)
	return f, err
}

// decode reads the body of a frame that must be of the given type. A refusal in its place is the error.
func decode(f frame, t frameType, into any) error {
	if f.kind == typeRefusal && t != typeRefusal {
		var r refusal
		if err := decode(f, typeRefusal, &r); err != nil {
			return err
		}
		return &Refusal{Code: r.Code, Text: r.Text[:min(len(r.Text), maxText)]}
	}
	if f.kind != t {
		return fmt.Errorf("%w: frame %d in place of %d", errNotQanat, f.kind, t)
	}
	if err := decoding.Unmarshal(f.body, into); err != nil {
		return fmt.Errorf("%w: %w", errNotQanat, err)
	}
	return nil
}
