package manifest

import (
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"

	"github.com/qanat-io/qanat/wire/kafka"
)

// A manifest in a snapshot is CBOR tag 24 (an encoded item within a byte
// string, RFC 8949 §3.4.5.1) around an array of entries, each a map with
// integer keys. The wrapping keeps the limits that a surrounding decoder sets
// on arrays from applying to a long history. With pages the array stands in a map, beside them.
const tagEncodedItem = 24

// decoding admits any length: what bounds it is the byte string it stands in.
var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxArrayElements: math.MaxInt32, MaxMapPairs: 1 << 10, MaxNestedLevels: 8}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// spilled is what stands in the array's place when the manifest has pages.
type spilled struct {
	Entries []Entry      `cbor:"1,keyasint"`
	Pages   []Page       `cbor:"2,keyasint"`
	Trimmed kafka.Offset `cbor:"3,keyasint"`
}

// MarshalCBOR encodes the entries. Equal manifests encode to equal bytes.
func (m Manifest) MarshalCBOR() ([]byte, error) {
	entries := m.Entries()
	if entries == nil {
		entries = []Entry{} // an empty array, not null
	}
	var content any = entries
	if len(m.pages) > 0 {
		content = spilled{entries, m.pages, m.trimmed}
	}
	inner, err := cbor.Marshal(content)
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
	const pair = 5 // the major type of maps, RFC 8949 §3.1
	var s spilled
	var err error
	if len(inner) > 0 && inner[0]>>5 == pair {
		err = decoding.Unmarshal(inner, &s)
	} else {
		err = decoding.Unmarshal(inner, &s.Entries)
	}
	if err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	decoded, err := New(s.Entries)
	if err == nil {
		err = decoded.setPages(s.Pages, s.Trimmed)
	}
	if err != nil {
		return fmt.Errorf("decode manifest: %w", err)
	}
	*m = decoded
	return nil
}

// setPages puts pages before the entries, checking every invariant.
func (m *Manifest) setPages(pages []Page, trimmed kafka.Offset) error {
	if len(pages) == 0 {
		return nil
	}
	if len(m.slots) == 0 || trimmed < 0 || trimmed >= pages[0].Next || trimmed > 0 && trimmed <= pages[0].Base {
		return fmt.Errorf("%w: %d entries behind pages, trimmed to %d", ErrInvalid, len(m.slots), trimmed)
	}
	for i, p := range pages {
		next := m.Recent()
		if i+1 < len(pages) {
			next = pages[i+1].Base
		}
		if p.Base < 0 || p.Base >= p.Next || p.Next != next || p.Count < 1 || p.Count > MaxPageEntries || p.Bytes < 1 {
			return fmt.Errorf("%w: page [%d, %d) of %d entries, %d bytes, before %d", ErrInvalid, p.Base, p.Next, p.Count, p.Bytes, next)
		}
		m.bytes += p.Bytes
	}
	m.pages, m.trimmed = pages, trimmed
	return nil
}
