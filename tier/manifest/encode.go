package manifest

import (
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"
)

// A manifest in a snapshot is CBOR tag 24 (an encoded item within a byte
// string, RFC 8949 §3.4.5.1) around an array of entries, each a map with
// integer keys. The wrapping keeps the limits that a surrounding decoder sets
// on arrays from applying to a long history.
const tagEncodedItem = 24

// decoding admits any length: what bounds it is the byte string it stands in.
var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxArrayElements: math.MaxInt32, MaxMapPairs: 1 << 10, MaxNestedLevels: 8}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// MarshalCBOR encodes the entries. Equal manifests encode to equal bytes.
func (m Manifest) MarshalCBOR() ([]byte, error) {
	entries := m.Entries()
	if entries == nil {
		entries = []Entry{} // an empty array, not null
	}
	inner, err := cbor.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	b, err := cbor.Marshal(cbor.Tag{Number: tagEncodedItem, Content: inner})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b, nil
}

// UnmarshalCBOR decodes what MarshalCBOR made and checks every invariant of
// the package; on error m keeps its value.
func (m *Manifest) UnmarshalCBOR(b []byte) error {
	var tag cbor.RawTag
	if err := decoding.Unmarshal(b, &tag); err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	if tag.Number != tagEncodedItem {
		return fmt.Errorf("decode manifest: tag %d, want %d", tag.Number, tagEncodedItem)
	}
	var inner []byte
	if err := decoding.Unmarshal(tag.Content, &inner); err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	var entries []Entry
	if err := decoding.Unmarshal(inner, &entries); err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	decoded, err := New(entries)
	if err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	*m = decoded
	return nil
}
