package cbor

import (
	"encoding/hex"
	"testing"
)

type item struct {
	Text string         `cbor:"2,keyasint,omitempty"`
	List []int          `cbor:"1,keyasint,omitempty"`
	Map  map[int]string `cbor:"3,keyasint,omitempty"`
}

// Equal values would encode to different bytes, or to other bytes than before.
func TestBytesStayTheSame(t *testing.T) {
	v := item{Text: "x", List: []int{1, 300}, Map: map[int]string{10: "b", -1: "c", 2: "a"}}
	const want = "a301820119012c02617803a30261610a6162206163"
	for range 20 {
		if got := hex.EncodeToString(MustMarshal(v)); got != want {
			t.Fatalf("%s, not %s", got, want)
		}
	}
}

// A decoder would take what its limits do not say that it may.
func TestDecodersTakeWhatTheyAreToldOnly(t *testing.T) {
	strict := Limits{Depth: 4, Elements: 16, Pairs: 16}
	with := func(change func(*Limits)) Limits { l := strict; change(&l); return l }
	for _, c := range []struct {
		what, hex string
		allowing  *Limits // nil: none does
	}{
		{"key twice", "a2018101018101", nil},
		{"array of indefinite length", "a1019f01ff", nil},
		{"array too long", "a101910000000000000000000000000000000000", ptr(with(func(l *Limits) { l.Elements = 17 }))},
		{"text that is no UTF-8", "a10261ff", ptr(with(func(l *Limits) { l.AnyText = true }))},
		{"field of a later release", "a10901", ptr(with(func(l *Limits) { l.Newer = true }))},
		{"tag", "a10181d86401", ptr(with(func(l *Limits) { l.Tags = true }))},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		var v item
		if err := strict.Decoding().Unmarshal(b, &v); err == nil {
			t.Errorf("%s is taken", c.what)
		}
		if c.allowing != nil {
			if err := c.allowing.Decoding().Unmarshal(b, &v); err != nil {
				t.Errorf("%s is refused where it may come: %v", c.what, err)
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }
