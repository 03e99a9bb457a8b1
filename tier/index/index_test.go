package index

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

var quiet = slog.New(slog.DiscardHandler)

func mustOpen(t testing.TB, dir string) *Index {
	t.Helper()
	x, err := Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func mustClose(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

// entriesFrom makes n plausible entries of a segment.
func entriesFrom(base kafka.Offset, n int) []segment.IndexEntry {
	out := make([]segment.IndexEntry, n)
	for i := range out {
		out[i] = segment.IndexEntry{
			Offset:       base + kafka.Offset(i*60),
			Pos:          int64(i) * 66_000,
			MaxTimestamp: 1_700_000_000_000 + int64(i/3)*40,
		}
	}
	if n > 0 {
		out[0].MaxTimestamp = segment.BeforeAll
	}
	return out
}

func partition(i int) kafka.Partition {
	return kafka.Partition{Topic: kafka.TopicID{byte(i % 3), 1}, Index: int32(i)}
}

// The index answers every lookup as a sorted slice per segment would, whatever
// the order of puts, drops, reopenings, and whether a change is still pending.
func TestLikeSortedSlices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "index")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		x, err := Open(dir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		model := map[segmentID][]segment.IndexEntry{}
		drawSegment := func(t *rapid.T) segmentID {
			return segmentID{partition(rapid.IntRange(0, 3).Draw(t, "partition")), kafka.Offset(rapid.IntRange(0, 3).Draw(t, "base") * 1000)}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				s := drawSegment(t)
				entries := drawEntries(t, s.base)
				model[s] = entries
				x.Put(s.partition, s.base, entries)
			},
			"drop": func(t *rapid.T) {
				s := drawSegment(t)
				delete(model, s)
				x.Drop(s.partition, s.base)
			},
			"drop partition": func(t *rapid.T) {
				p := drawSegment(t).partition
				for s := range model {
					if s.partition == p {
						delete(model, s)
					}
				}
				x.DropPartition(p)
			},
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "luck") > 0 {
					t.Skip("reopening is slow")
				}
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
				if x, err = Open(dir, quiet); err != nil {
					t.Fatal(err)
				}
			},
			"lookup": func(t *rapid.T) {
				s := drawSegment(t)
				offset := s.base + kafka.Offset(rapid.Int64Range(-5, 5000).Draw(t, "offset"))
				e, ok := x.Lookup(s.partition, s.base, offset)
				want := model[s]
				if known := len(want) > 0 && want[0].Offset <= offset; ok != known || ok && e != segment.Floor(want, offset) {
					t.Fatalf("lookup %d in %v: %+v, %t", offset, s, e, ok)
				}
			},
			"lookup time": func(t *rapid.T) {
				s := drawSegment(t)
				ts := rapid.Int64Range(-3, 3000).Draw(t, "ts")
				e, ok := x.LookupTime(s.partition, s.base, ts)
				if want := model[s]; ok != (len(want) > 0) || ok && e != segment.FloorTime(want, ts) {
					t.Fatalf("lookup time %d in %v: %+v, %t", ts, s, e, ok)
				}
			},
		})
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func drawEntries(t *rapid.T, base kafka.Offset) []segment.IndexEntry {
	n := rapid.IntRange(1, 200).Draw(t, "n")
	e := segment.IndexEntry{Offset: base, MaxTimestamp: segment.BeforeAll}
	var out []segment.IndexEntry
	for i := range n {
		out = append(out, e)
		e.Offset += kafka.Offset(rapid.IntRange(1, 60).Draw(t, "step"))
		e.Pos += int64(rapid.IntRange(1, 1<<20).Draw(t, "bytes"))
		if i == 0 {
			e.MaxTimestamp = 0
		}
		e.MaxTimestamp += int64(rapid.IntRange(0, 40).Draw(t, "ms"))
	}
	return out
}

// A directory that is deleted, or filled with rubbish, between two openings
// costs the entries and nothing else.
func TestDamagedDirectoryIsMadeAnew(t *testing.T) {
	p := partition(1)
	for name, damage := range map[string]func(dir string) error{
		"deleted": os.RemoveAll,
		"manifest overwritten": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "badger", "MANIFEST"), []byte("rubbish, long enough to be read"), 0o644)
		},
		"store is a file": func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "badger")), os.WriteFile(filepath.Join(dir, "badger"), nil, 0o644))
		},
		"died while opening": func(dir string) error { return os.WriteFile(filepath.Join(dir, "opening"), nil, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "index")
			x := mustOpen(t, dir)
			x.Put(p, 0, entriesFrom(0, 500))
			mustClose(t, x)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			x = mustOpen(t, dir)
			if _, ok := x.Lookup(p, 0, 5); ok {
				t.Fatal("entries outlived the damage")
			}
			x.Put(p, 0, entriesFrom(0, 500))
			mustClose(t, x)
			x = mustOpen(t, dir)
			defer mustClose(t, x)
			if e, ok := x.Lookup(p, 0, 60*300+7); !ok || e.Offset != 60*300 {
				t.Fatalf("%+v, %t", e, ok)
			}
		})
	}
}

// A second process's directory is not removed: opening it fails and the first goes on.
func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	x := mustOpen(t, dir)
	defer mustClose(t, x)
	x.Put(partition(1), 0, entriesFrom(0, 10))
	if y, err := Open(dir, quiet); err == nil {
		t.Fatal("opened twice", y.Close())
	}
	if _, ok := x.Lookup(partition(1), 0, 5); !ok {
		t.Fatal("lost by the second opening")
	}
}

// On a full volume nothing is written and nothing fails; when there is space
// again the index works.
func TestFullVolume(t *testing.T) {
	free := int64(0)
	x, err := open(t.TempDir(), quiet, func(string) (int64, error) { return free, nil })
	if err != nil {
		t.Fatal(err)
	}
	p := partition(2)
	x.Put(p, 0, entriesFrom(0, 100))
	x.Flush()
	if _, ok := x.Lookup(p, 0, 70); ok || x.Stats().Failed != 1 {
		t.Fatalf("kept without space: %+v", x.Stats())
	}
	free = math.MaxInt64
	x.Put(p, 0, entriesFrom(0, 100))
	x.Flush()
	if e, ok := x.Lookup(p, 0, 70); !ok || e.Offset != 60 {
		t.Fatal("not kept with space")
	}
	mustClose(t, x)
}

// Put drops, and counts it, when more waits than the bound allows; what is
// dropped is unknown, not old.
func TestPutIsBounded(t *testing.T) {
	x := mustOpen(t, t.TempDir())
	defer mustClose(t, x)
	p := partition(1)
	x.Put(p, 0, entriesFrom(0, 10))
	x.Flush()
	x.Put(p, 0, entriesFrom(0, maxPendingEntries+1))
	if _, ok := x.Lookup(p, 0, 5); ok {
		t.Fatal("old entries answer for the new segment")
	}
	if s := x.Stats(); s.Dropped != 1 || s.Puts != 2 {
		t.Fatalf("%+v", s)
	}
}

// A missing page is a miss, not a lower floor.
func TestMissingPageIsAMiss(t *testing.T) {
	dir := t.TempDir()
	x := mustOpen(t, dir)
	defer mustClose(t, x)
	s := segmentID{partition(1), 0}
	entries := entriesFrom(0, 3*pageEntries)
	x.Put(s.partition, s.base, entries)
	x.Flush()
	batch := x.db.Load().NewWriteBatch()
	if err := batch.Delete(appendPageKey(nil, s, entries[pageEntries].Offset)); err != nil {
		t.Fatal(err)
	}
	if err := batch.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		got, ok := x.Lookup(s.partition, s.base, e.Offset+1)
		if missing := i/pageEntries == 1; ok == missing || ok && got != e {
			t.Fatalf("entry %d: %+v, %t", i, got, ok)
		}
	}
	if _, ok := x.LookupTime(s.partition, s.base, entries[5].MaxTimestamp); ok {
		t.Fatal("time found across a missing page")
	}
}

// Sequential lookups in a segment ask Badger once a page.
func TestSequentialLookupsRarelyReadBadger(t *testing.T) {
	x := mustOpen(t, t.TempDir())
	defer mustClose(t, x)
	p := partition(1)
	x.Put(p, 0, entriesFrom(0, 10*pageEntries))
	x.Flush()
	for o := range kafka.Offset(10 * pageEntries * 60) {
		if _, ok := x.Lookup(p, 0, o); !ok {
			t.Fatal(o)
		}
	}
	if s := x.Stats(); s.Reads != 10 || s.Misses != 0 {
		t.Fatalf("%+v", s)
	}
}

// A page decodes to what was encoded, below Badger's value threshold, and no
// changed bit goes unnoticed.
func TestPageRoundTrip(t *testing.T) {
	s := segmentID{partition(1), 77}
	wild := []segment.IndexEntry{{Offset: 77, Pos: 0, MaxTimestamp: segment.BeforeAll}}
	for i := range 100 {
		wild = append(wild, segment.IndexEntry{Offset: wild[i].Offset + 1<<55, Pos: wild[i].Pos + 1<<55, MaxTimestamp: math.MaxInt64 - 100 + int64(i)})
	}
	for _, entries := range [][]segment.IndexEntry{entriesFrom(77, 1), entriesFrom(77, 64), wild} {
		n := cutPage(entries)
		in := page{entries[:n], lastPage}
		key := appendPageKey(nil, s, 77)
		b := appendPage(nil, key, in)
		if len(b) > 1024 {
			t.Fatalf("%d bytes", len(b))
		}
		out, err := decodePage(key, b)
		if err != nil || len(out.entries) != n || out.entries[n-1] != entries[n-1] || out.next != lastPage {
			t.Fatalf("%v: %+v", err, out)
		}
		for bit := range len(b) * 8 {
			b[bit/8] ^= 1 << (bit % 8)
			if _, err := decodePage(key, b); err == nil {
				t.Fatalf("bit %d flipped", bit)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}
