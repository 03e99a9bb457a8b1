package api

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

// A produce would not be linked to the trace that its first record names, to one that a value or another record names, or be the end of the
// broker that looks at nonsense.
func TestTraceparent(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	header := batch.Header{Key: "traceparent", Value: []byte(parent)}
	other := batch.Header{Key: "other", Value: bytes.Repeat([]byte("x"), 1000)}
	for name, c := range map[string]struct {
		value   []byte
		headers []batch.Header
		linked  bool
	}{
		"none":                 {[]byte("v"), nil, false},
		"the only one":         {[]byte("v"), []batch.Header{header}, true},
		"behind a large value": {make([]byte, 1<<20), []batch.Header{other, header, other}, true},
		"in the value":         {[]byte("traceparent " + parent), nil, false},
		"too short":            {[]byte("v"), []batch.Header{{Key: "traceparent", Value: []byte("00")}}, false},
		"an older one as well": {[]byte("v"), []batch.Header{{Key: "traceparent", Value: []byte("00")}, header}, true},
	} {
		var b batch.Builder
		b.Add(1, nil, c.value, c.headers...)
		b.Add(1, nil, nil, header)
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		var got [wire.TraceparentLen]byte
		if linked := traceparent(&got, v); linked != c.linked || linked && string(got[:]) != parent {
			t.Errorf("%s: linked is %t, to %q", name, linked, got)
		}
		for _, length := range []int64{-1, 0, 1, int64(len(v)), 1 << 40} {
			bad := append(bytes.Clone(v[:batch.HeaderLen]), binary.AppendVarint(nil, length)...)
			traceparent(&got, append(bad, v[batch.HeaderLen:]...))
			traceparent(&got, bad)
		}
		for cut := range min(len(v), 200) {
			traceparent(&got, v[:cut])
		}
	}
}
