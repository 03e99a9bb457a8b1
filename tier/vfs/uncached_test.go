package vfs

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Reads past the page cache would bring other bytes than reads through it, wherever they begin and end.
func TestUncachedReadsAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	name := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, Alignment - 1, Alignment, Alignment + 1, 3<<20 + 77} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenUncached(OS{}, name)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			off := rng.Int64N(int64(size) + 10)
			p := make([]byte, rng.IntN(min(size, 3<<19)+10))
			n, err := f.ReadAt(p, off)
			rest := want[min(off, int64(size)):]
			if n != min(len(p), len(rest)) || !bytes.Equal(p[:n], rest[:n]) || (err == io.EOF) != (n < len(p)) || err != nil && err != io.EOF {
				t.Fatalf("%d of %d bytes at %d of %d: %v", n, len(p), off, size, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
