package hot

import (
	"path/filepath"
	"testing"

	"github.com/qanat-io/qanat/tier/index"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// False if it failed: "reads of sealed segments are right with the index, with a lying index, with half an index and without one".
func TestIndexIsACache(t *testing.T) {
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), silent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}()
	w := newWorld(t, vfs.NewCrash(), Config{})
	w.log.env.Index = x
	all := w.append(400, 2000)
	w.must(w.log.Roll())
	all = append(all, w.append(1, 10)...)
	sealed := w.log.view.Load().segments[0]
	forget := func() {
		x.Flush()
		w.flusher.cache.forget(sealed)
		for i := range sealed.hints {
			sealed.hints[i].Store(nil)
		}
	}
	check := func(what string) {
		t.Helper()
		for from := kafka.Offset(399); from >= 0; from -= 57 {
			forget()
			run, err := w.log.Read(from, w.log.End(), 1)
			w.must(err)
			if run.Pos != int64(from)*int64(len(all[0])) || run.N != len(all[0]) {
				t.Errorf("%s: offset %d at %d+%d", what, from, run.Pos, run.N)
			}
			run.Release()
			forget()
			if offset, _, _, ok, err := w.log.FindTime(int64(from), 0, 401); err != nil || !ok || offset != from {
				t.Errorf("%s: time %d at offset %d %v %v", what, from, offset, ok, err)
			}
		}
		if w.log.Damage() != nil {
			t.Errorf("%s: %v", what, w.log.Damage())
		}
	}
	forget()
	if _, ok := x.Lookup(testPartition, 0, 200); !ok {
		t.Fatal("the sealed segment is not in the index")
	}
	check("as it was put")
	x.Put(testPartition, 0, []segment.IndexEntry{{Offset: 0, Pos: 5}, {Offset: 100, Pos: 100}})
	check("lying")
	x.Put(testPartition, 0, []segment.IndexEntry{{Offset: 0, Pos: 0, MaxTimestamp: noTimestamp}})
	check("half")
	x.Drop(testPartition, 0)
	check("dropped")
}
