// Package cbor is how Qanat writes and reads CBOR (RFC 8949), on disk, in the metadata log and between brokers: one encoding, which is
// deterministic, and decoders that differ in their limits only. Values are structs and arrays of plain types with integer keys.
//
// What must stay true: equal values encode to equal bytes, in every release; a decoder takes nothing of which it is not told that it may come.
package cbor

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// encoding is core deterministic (RFC 8949 §4.2.1). Bytes on disk and on the wire depend on it.
var encoding = must(cbor.CoreDetEncOptions().EncMode())

// Marshal encodes v.
func Marshal(v any) ([]byte, error) { return encoding.Marshal(v) }

// MustMarshal encodes a value whose fields are all of plain types: nothing can go wrong.
func MustMarshal(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cbor: encode %T: %v", v, err))
	}
	return b
}

type (
	// Decoder reads item after item.
	Decoder = cbor.Decoder

	// RawMessage is an encoded item.
	RawMessage = cbor.RawMessage

	// UnknownFieldError is a decoder's that was not told of Newer.
	UnknownFieldError = cbor.UnknownFieldError
)

// Limits say what a decoder takes. Keys that come twice and items of indefinite length never are taken: Qanat does not write them.
type Limits struct {
	Depth    int // of items in items; at least 4
	Elements int // of an array
	Pairs    int // of a map

	AnyText bool // text may be no UTF-8: clients choose it
	Newer   bool // fields that are not known are passed over: a later release has written them
	Tags    bool // tagged items may come
}

// Decoding is a decoder with these limits. Limits that the library does not know are a bug, and panic.
func (l Limits) Decoding() cbor.DecMode {
	o := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   l.Depth, MaxArrayElements: l.Elements, MaxMapPairs: l.Pairs,
	}
	if l.AnyText {
		o.UTF8 = cbor.UTF8DecodeInvalid
	}
	if l.Newer {
		o.ExtraReturnErrors = cbor.ExtraDecErrorNone
	}
	if l.Tags {
		o.TagsMd = cbor.TagsAllowed
	}
	return must(o.DecMode())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
