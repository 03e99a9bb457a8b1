package index

import (
	"encoding/binary"
	"testing"

	"github.com/qanat-io/qanat/tier/segment"
)

// decodePage neither panics nor accepts what is not a page; what it accepts is
// in order and is written back as the same.
func FuzzDecodePage(f *testing.F) {
	s := segmentID{partition(1), 60}
	for _, n := range []int{1, 2, pageEntries} {
		key := appendPageKey(nil, s, 60)
		f.Add(key, appendPage(nil, key, page{entriesFrom(60, n), lastPage}))
	}
	f.Add([]byte{}, []byte{pageVersion})
	f.Fuzz(func(t *testing.T, key, b []byte) {
		for range 2 {
			if p, err := decodePage(key, b); err == nil {
				if len(p.entries) == 0 || !p.holds(p.entries[0].Offset) {
					t.Fatalf("%+v", p)
				}
				back, err := decodePage(key, appendPage(nil, key, *p))
				if err != nil || len(back.entries) != len(p.entries) || back.next != p.next {
					t.Fatalf("%+v became %+v, %v", p, back, err)
				}
			}
			if len(b) < 5 {
				return
			}
			b = append([]byte(nil), b...) // once more with the checksum made right
			binary.BigEndian.PutUint32(b[1:], pageCRC(key, b[5:]))
		}
	})
}

func BenchmarkPut(b *testing.B) {
	x := mustOpen(b, b.TempDir())
	defer mustClose(b, x)
	entries := entriesFrom(0, 2048)
	i := 0
	for b.Loop() {
		x.Put(partition(i%100), 0, append([]segment.IndexEntry(nil), entries...))
		if i++; i%50 == 0 {
			x.Flush()
		}
	}
	x.Flush()
	b.ReportMetric(float64(x.Stats().Dropped), "dropped")
}

func BenchmarkLookup(b *testing.B) {
	x := mustOpen(b, b.TempDir())
	defer mustClose(b, x)
	for i := range 100 {
		x.Put(partition(i), 0, entriesFrom(0, 2048))
	}
	x.Flush()
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.Lookup(partition(1), 0, 50_000)
		}
	})
	b.Run("badger", func(b *testing.B) {
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			x.cache.Purge()
			i += 7919
			if _, ok := x.Lookup(partition(i%100), 0, 50_000); !ok {
				b.Fatal("lost")
			}
		}
	})
	b.Run("time", func(b *testing.B) {
		for b.Loop() {
			x.LookupTime(partition(1), 0, 1_700_000_010_000)
		}
	})
}
