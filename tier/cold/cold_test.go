package cold

import (
	"testing"

	"github.com/qanat-io/qanat/tier/object"
)

// A replay returns every batch, byte for byte, in order, across segments.
func TestReplay(t *testing.T) {
	b := object.NewMem(nil)
	w := build(t, b, 1, partition(0), shape{segments: 5, segmentBytes: 3 << 20, batchBytes: 50_000})
	r := start(t, b, Config{})
	if err := w.replay(r, "a", 0, 1<<20); err != nil {
		t.Fatal(err)
	}
}
