package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

//go:generate go run ./internal/schemagen -o schema_gen.go

// A guard walks a request before kmsg decodes it, because kmsg believes what it reads: an array's length becomes an
// allocation, a count of tags a loop. The walk costs no memory and time in proportion to the bytes, and afterwards it is
// certain that decoding does too:
//
//   - every array has at least as many bytes left as its elements need at least, every tag its two;
//   - every string, blob and tag lies within the body;
//   - elements and tags together are at most maxElements, so that decoded structs, which are larger than the smallest
//     bytes that ask for them, stay within some 100 MiB for the worst frame.
//
// It refuses nothing that Kafka's own parser accepts, but for the last rule. Bytes after the last field are ignored, as
// there.

// maxElements bounds the array elements and tags of one request, at all depths together.
const maxElements = 1 << 20

var (
	// ErrMalformed is a request that does not parse.
	ErrMalformed = errors.New("malformed request")
	// ErrUnknownAPI is a request with a key that is not in the table.
	ErrUnknownAPI = errors.New("unknown api key")
	// ErrUnsupportedVersion is a request in a version outside the table's range.
	ErrUnsupportedVersion = errors.New("unsupported api version")
)

type kind uint8

const (
	fixed        kind = iota // size bytes
	text                     // length, bytes; may not be null
	nullableText             //
	blob                     // length, bytes; kmsg takes null for empty
	nullableBlob             //
	array                    // count, then sub as often; null counts as empty
	optional                 // a byte, then sub unless it is -1
	tags                     // in flexible versions: count, then key, size, bytes of each (KIP-482)
)

// schema is the shape of a request in all its versions, as schema_gen.go has it.
type schema struct {
	flexible int16 // first version with compact lengths and tags
	fields   []field
}

// field is one field in versions [lo, hi].
type field struct {
	kind   kind
	lo, hi int16
	size   int
	sub    []field
	tags   []tagged
}

// tagged is a tag that kmsg knows and decodes.
type tagged struct {
	tag    uint32
	fields []field
}

// program is a schema in one version: only the fields that are there, with what their elements need at least.
type program struct {
	flexible bool
	blobs    bool // has blobs, which kmsg does not copy out of the frame
	steps    []step
}

type step struct {
	kind kind
	size int // of fixed; at least, of each element of an array
	sub  []step
	tags []taggedSteps
}

type taggedSteps struct {
	tag   uint32
	steps []step
}

// compile picks the version's fields.
func (s *schema) compile(version int16) *program {
	p := &program{flexible: version >= s.flexible}
	p.steps, _ = p.compile(s.fields, version)
	return p
}

// compile also tells how many bytes the steps read at least.
func (p *program) compile(fields []field, version int16) (steps []step, least int) {
	for i := range fields {
		f := &fields[i]
		if version < f.lo || version > f.hi || f.kind == tags && !p.flexible {
			continue
		}
		st := step{kind: f.kind, size: f.size}
		switch f.kind {
		case fixed:
			least += f.size
		case blob, nullableBlob:
			p.blobs = true
			least += p.lengthSize(4)
		case text, nullableText:
			least += p.lengthSize(2)
		case array:
			st.sub, st.size = p.compile(f.sub, version)
			least += p.lengthSize(4)
		case optional:
			st.sub, _ = p.compile(f.sub, version)
			least++
		case tags:
			for _, t := range f.tags {
				sub, _ := p.compile(t.fields, version)
				st.tags = append(st.tags, taggedSteps{t.tag, sub})
			}
			least++
		}
		steps = append(steps, st)
	}
	return steps, least
}

// lengthSize is the least a length takes: one byte when compact.
func (p *program) lengthSize(plain int) int {
	if p.flexible {
		return 1
	}
	return plain
}

// programs are compiled when a version is first seen.
const maxVersions = 32

var programs = func() map[int16]*[maxVersions]atomic.Pointer[program] {
	m := make(map[int16]*[maxVersions]atomic.Pointer[program], len(schemas))
	for key := range schemas {
		m[key] = new([maxVersions]atomic.Pointer[program])
	}
	return m
}()

// programOf returns nil when there is no schema for the key and version.
func programOf(key, version int16) *program {
	slots := programs[key]
	if slots == nil || version < 0 || version >= maxVersions {
		return nil
	}
	if p := slots[version].Load(); p != nil {
		return p
	}
	s := schemas[key]
	p := s.compile(version)
	slots[version].Store(p) // two may do it at once, alike
	return p
}

// check walks a request's body. Its error wraps ErrMalformed.
func (p *program) check(body []byte) error {
	_, err := p.measure(body)
	return err
}

// measure is check, and tells how much of the body was used.
func (p *program) measure(body []byte) (used int, err error) {
	g := guard{p: body, flexible: p.flexible}
	if !g.walk(p.steps) {
		return 0, fmt.Errorf("%w: %s at byte %d of %d", ErrMalformed, g.fault, len(body)-len(g.p), len(body))
	}
	return len(body) - len(g.p), nil
}

// guard is a walk under way. Its methods return false after the first fault.
type guard struct {
	p        []byte // what is left
	flexible bool
	elements int64
	fault    string
}

func (g *guard) fail(fault string) bool {
	g.fault = fault
	return false
}

// walk passes over the fields of one struct. Schemas are no deeper than a few levels, so it may recurse.
func (g *guard) walk(steps []step) bool {
	for i := range steps {
		st := &steps[i]
		var ok bool
		switch st.kind {
		case fixed:
			ok = g.skip(int64(st.size))
		case text, nullableText:
			ok = g.text(st.kind == nullableText)
		case blob, nullableBlob:
			ok = g.blob()
		case array:
			ok = g.array(st)
		case optional:
			ok = g.optional(st)
		case tags:
			ok = g.tags(st)
		}
		if !ok {
			return false
		}
	}
	return true
}

func (g *guard) skip(n int64) bool {
	if n > int64(len(g.p)) {
		return g.fail("a field is cut short")
	}
	g.p = g.p[n:]
	return true
}

func (g *guard) text(nullable bool) bool {
	var n int64
	var ok bool
	if g.flexible {
		n, ok = g.compact()
	} else if ok = len(g.p) >= 2; ok {
		n = int64(int16(binary.BigEndian.Uint16(g.p)))
		g.p = g.p[2:]
	}
	if !ok {
		return g.fail("no length of a string")
	}
	if n < 0 {
		if nullable {
			return true // kmsg takes any negative length for null
		}
		return g.fail("a string is null")
	}
	return g.skip(n)
}

func (g *guard) blob() bool {
	n, ok := g.length()
	if !ok {
		return g.fail("no length of bytes")
	}
	if n < 0 {
		if n == -1 {
			return true
		}
		return g.fail("a negative length")
	}
	return g.skip(n)
}

func (g *guard) array(st *step) bool {
	n, ok := g.length()
	if !ok {
		return g.fail("no length of an array")
	}
	if n <= 0 {
		return true // null, as kmsg reads it
	}
	if n > int64(len(g.p)) || n*int64(st.size) > int64(len(g.p)) {
		return g.fail("an array is longer than the request")
	}
	if !g.count(n) {
		return false
	}
	if len(st.sub) == 1 && st.sub[0].kind == fixed {
		return g.skip(n * int64(st.size))
	}
	for range n {
		if !g.walk(st.sub) {
			return false
		}
	}
	return true
}

func (g *guard) optional(st *step) bool {
	if len(g.p) < 1 {
		return g.fail("a field is cut short")
	}
	present := int8(g.p[0]) != -1
	g.p = g.p[1:]
	return !present || g.walk(st.sub)
}

func (g *guard) tags(st *step) bool {
	n, ok := g.uvarint()
	if !ok {
		return g.fail("no number of tags")
	}
	if n == 0 {
		return true
	}
	if 2*int64(n) > int64(len(g.p)) {
		return g.fail("more tags than bytes")
	}
	if !g.count(int64(n)) {
		return false
	}
	for range n {
		if !g.tag(st) {
			return false
		}
	}
	return true
}

func (g *guard) tag(st *step) bool {
	key, ok1 := g.uvarint()
	size, ok2 := g.uvarint()
	if !ok1 || !ok2 || int64(size) > int64(len(g.p)) {
		return g.fail("a tag is cut short")
	}
	rest := g.p[size:]
	for i := range st.tags {
		if st.tags[i].tag != key {
			continue
		}
		g.p = g.p[:size]
		if !g.walk(st.tags[i].steps) {
			return false
		}
	}
	g.p = rest
	return true
}

// count adds to the elements seen.
func (g *guard) count(n int64) bool {
	if g.elements += n; g.elements > maxElements {
		return g.fail("too many elements")
	}
	return true
}

// length reads the length of an array or of bytes, -1 for null.
func (g *guard) length() (n int64, ok bool) {
	if g.flexible {
		return g.compact()
	}
	if len(g.p) < 4 {
		return 0, false
	}
	n = int64(int32(binary.BigEndian.Uint32(g.p)))
	g.p = g.p[4:]
	return n, true
}

// compact reads a length that is written plus one.
func (g *guard) compact() (n int64, ok bool) {
	u, ok := g.uvarint()
	return int64(u) - 1, ok
}

// uvarint reads an unsigned varint of at most 32 bits.
func (g *guard) uvarint() (uint32, bool) {
	var x uint32
	for i := range min(len(g.p), 5) {
		b := g.p[i]
		if i == 4 && b > 0x0f {
			return 0, false
		}
		x |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			g.p = g.p[i+1:]
			return x, true
		}
	}
	return 0, false
}
