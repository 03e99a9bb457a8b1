package object

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// False if: an object of some size is not, byte for byte, what was put:
// because its end is no whole block, or its steps are many.
func TestDirWritesEverySize(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i, size := range []int{
		0, 1, dirBlock, dirStep - 1, dirStep, dirStep + 1, dirStep + dirBlock, 2*dirStep - 1,
		dirSyncEvery, dirSyncEvery + dirBlock + 7,
	} {
		data, key := noise(size), fmt.Sprintf("object-%d", i)
		if err := d.Put(t.Context(), key, bytes.NewReader(data), int64(size)); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, key)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read %d others, %v", size, len(got), err)
		}
	}
}

// False if: a file system that refuses direct writes, at the first one or at a
// later one, refuses objects or mixes up their bytes.
func TestDirWritesWithoutDirectWrites(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprint(direct), func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "file")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			data := noise(2*dirSyncEvery + 100)
			if _, err := f.Write(data[:1]); err != nil {
				t.Fatal(err)
			}
			if direct && setDirect(f, true) != nil {
				t.Skip("no direct writes here")
			}
			// At an odd place: no file system takes a direct write there.
			w := &dirFile{f: f, dir: &Dir{}, direct: direct, at: 1}
			for rest := data[1:]; len(rest) > 0; {
				n := min(dirStep, len(rest))
				if err := w.append(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if w.direct || w.unsynced >= dirSyncEvery {
				t.Errorf("direct %v, %d bytes may be dirty", w.direct, w.unsynced)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d other bytes, %v", len(got), err)
			}
		})
	}
}

// False if: uploads rest when nobody else wants the disk, take more than their share of one that keeps up, stop for ever on a share of
// nothing, or leave a disk that is slow by itself alone for longer each time.
func TestDirRests(t *testing.T) {
	for _, c := range []struct {
		took  time.Duration
		share float64
		want  time.Duration
	}{
		{time.Millisecond, 1, 0},
		{time.Millisecond, 0.5, time.Millisecond},
		{time.Millisecond, 0.25, 3 * time.Millisecond},
		{time.Second, 0.5, longestStep},
		{longestStep, 0, 99 * longestStep},
	} {
		if got := rest(c.took, c.share); got != c.want {
			t.Errorf("a write of %v, a share of %v: rests for %v, want %v", c.took, c.share, got, c.want)
		}
	}
}
