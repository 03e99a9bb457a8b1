package command

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// An entry of the Raft log is one CBOR array, deterministically encoded
// (RFC 8949 §4.2): the envelope that its commands share, then the commands.
//
//	[format, broker, broker epoch, session, first request, time ms,
//	 [[kind, version, body], [kind, version, body], …]]
//
// A body is a map with integer keys. The n-th command (from 0) has the request
// number first request + n, or 0 when first request is 0.
const entryFormat = 1

// MaxBodyBytes bounds one encoded command. The largest that are needed, a
// topic of tens of thousands of partitions or a large group's state, stay well
// below it.
const MaxBodyBytes = 8 << 20

// maxElements bounds every array: more do not fit into a body anyway.
const maxElements = 1 << 18

// MaxEntryBytes bounds an entry that Decode reads; raft-wal takes no larger one.
const MaxEntryBytes = 64 << 20

var (
	// ErrUnknown says that an entry holds a kind, version, field or format
	// that this release does not know: the node must halt.
	ErrUnknown = errors.New("metadata command is not known to this release: start the newer one that the other brokers run")

	// ErrMalformed says that an entry is not one.
	ErrMalformed = errors.New("metadata entry is malformed")

	// ErrTooLarge says that a command cannot be proposed for its size.
	ErrTooLarge = errors.New("metadata command is too large")
)

// decoding is strict, so that every node reads the same or halts. Strings are
// taken as they come: clients may commit metadata that is no UTF-8.
var decoding = cbor.Limits{Depth: 8, Elements: maxElements, Pairs: 1 << 16, AnyText: true}.Decoding()

// Body is a command's encoding, ready to be joined with others.
type Body struct {
	kind  Kind
	bytes []byte
}

// Len is what the body adds to an entry, in bytes, at most.
func (b Body) Len() int { return len(b.bytes) + 6 }

// Kind is the command's.
func (b Body) Kind() Kind { return b.kind }

// EncodeBody encodes a command. What it returns can be decoded: a command
// beyond the decoder's limits is refused here, before it reaches any log.
func EncodeBody(c Command) (Body, error) {
	k := c.Kind()
	if _, ok := kinds[k]; !ok {
		return Body{}, fmt.Errorf("encode %s: %w", k, ErrUnknown)
	}
	if b := quickBody(c); b != nil && len(b) <= MaxBodyBytes {
		return Body{kind: k, bytes: b}, nil
	}
	b, err := cbor.Marshal(c)
	if err != nil {
		return Body{}, fmt.Errorf("encode %s: %w", k, err)
	}
	if len(b) > MaxBodyBytes {
		return Body{}, fmt.Errorf("encode %s: %w: %d bytes, at most %d", k, ErrTooLarge, len(b), MaxBodyBytes)
	}
	if err := decoding.Wellformed(b); err != nil {
		return Body{}, fmt.Errorf("encode %s: %w: %w", k, ErrTooLarge, err)
	}
	return Body{kind: k, bytes: b}, nil
}

// Join makes one Raft entry of an envelope and the bodies under it. env.Request is the first's.
func Join(env Envelope, bodies []Body) []byte {
	size := 64
	for _, b := range bodies {
		size += b.Len()
	}
	e := make([]byte, 0, size)
	e = appendHead(e, majorArray, 7)
	e = appendHead(e, majorUint, entryFormat)
	e = appendInt(e, int64(env.Broker))
	e = appendInt(e, int64(env.BrokerEpoch))
	e = appendHead(e, majorUint, env.Session)
	e = appendHead(e, majorUint, env.Request)
	e = appendInt(e, env.TimeMs)
	e = appendHead(e, majorArray, uint64(len(bodies)))
	for _, b := range bodies {
		e = appendHead(e, majorArray, 3)
		e = appendHead(e, majorUint, uint64(b.kind))
		e = appendHead(e, majorUint, uint64(kinds[b.kind].version))
		e = append(e, b.bytes...)
	}
	return e
}

// Encode is EncodeBody of each and Join.
func Encode(env Envelope, commands ...Command) ([]byte, error) {
	bodies := make([]Body, len(commands))
	for i, c := range commands {
		b, err := EncodeBody(c)
		if err != nil {
			return nil, err
		}
		bodies[i] = b
	}
	return Join(env, bodies), nil
}

// Proposal is a command with its own envelope.
type Proposal struct {
	Envelope Envelope
	Command  Command
}

// entry is the array that Join writes.
type entry struct {
	_           struct{} `cbor:",toarray"`
	Format      uint64
	Broker      kafka.BrokerID
	BrokerEpoch kafka.BrokerEpoch
	Session     uint64
	Request     uint64
	TimeMs      int64
	Items       []item
}

type item struct {
	_       struct{} `cbor:",toarray"`
	Kind    Kind
	Version uint8
	Body    cbor.RawMessage
}

// Decode reads an entry. Its error wraps ErrUnknown or ErrMalformed; in both
// cases nothing of the entry may be applied. The bytes are not kept.
func Decode(b []byte) ([]Proposal, error) {
	if len(b) > MaxEntryBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if err := checkFormat(b); err != nil {
		return nil, err
	}
	var e entry
	if !quickEntry(b, &e) {
		e = entry{}
		if err := decoding.Unmarshal(b, &e); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	proposals := make([]Proposal, len(e.Items))
	for i, it := range e.Items {
		c, err := it.command()
		if err != nil {
			return nil, err
		}
		env := Envelope{Broker: e.Broker, BrokerEpoch: e.BrokerEpoch, Session: e.Session, TimeMs: e.TimeMs}
		if e.Request != 0 {
			env.Request = e.Request + uint64(i)
			if env.Request < e.Request {
				return nil, fmt.Errorf("%w: request numbers wrap", ErrMalformed)
			}
		}
		proposals[i] = Proposal{Envelope: env, Command: c}
	}
	return proposals, nil
}

// checkFormat looks at the format number before anything else is believed, so
// that a later format is called unknown, not malformed.
func checkFormat(b []byte) error {
	if len(b) < 2 || b[0]>>5 != majorArray {
		return fmt.Errorf("%w: %d bytes that are no array", ErrMalformed, len(b))
	}
	if b[0] != majorArray<<5|7 || b[1] != entryFormat {
		return fmt.Errorf("%w: entry begins % x", ErrUnknown, b[:2])
	}
	return nil
}

func (it item) command() (Command, error) {
	k, ok := kinds[it.Kind]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, it.Kind)
	}
	if it.Version == 0 || it.Version > k.version {
		return nil, fmt.Errorf("%w: %s version %d, at most %d", ErrUnknown, it.Kind, it.Version, k.version)
	}
	c, err := k.decode(it.Body)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", it.Kind, err)
	}
	return c, nil
}

// decode reads a body of one kind. It is the only place where bytes become commands.
func decode[C Command](body []byte) (Command, error) {
	var c C
	if err := decoding.Unmarshal(body, &c); err != nil {
		var field *cbor.UnknownFieldError
		if errors.As(err, &field) {
			return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

// CBOR's major types, as far as Join writes them itself.
const (
	majorUint  = 0
	majorNeg   = 1
	majorArray = 4
)

func appendInt(b []byte, v int64) []byte {
	if v < 0 {
		return appendHead(b, majorNeg, uint64(-1-v))
	}
	return appendHead(b, majorUint, uint64(v))
}

// appendHead writes a head in the shortest form, as deterministic encoding asks.
func appendHead(b []byte, major byte, v uint64) []byte {
	major <<= 5
	switch {
	case v < 24:
		return append(b, major|byte(v))
	case v < 1<<8:
		return append(b, major|24, byte(v))
	case v < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(v))
	case v < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(v))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), v)
	}
}
