package hot

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// sealedWorld is a log of n sealed segments of three batches each.
func sealedWorld(t *testing.T, n int) *world {
	w := newWorld(t, vfs.NewCrash(), Config{})
	for range n {
		w.append(3, 50)
		w.must(w.log.Roll())
	}
	w.flush()
	return w
}

func dropAll(batch.View) (batch.View, error) { return nil, nil }

// False if it failed: "a run that was handed out before its segment was rewritten can be sent, and reads that begin afterwards see the new one".
func TestReadersOfARewrittenSegment(t *testing.T) {
	w := sealedWorld(t, 3)
	run, err := w.log.Read(0, 3, 1000)
	w.must(err)
	defer run.Release()
	r, err := w.log.Rewrite(t.Context(), 0, 6, dropAll, nil)
	w.must(err)
	if r.After != 2*batch.HeaderLen && r.After != batch.HeaderLen || r.Before <= r.After {
		t.Errorf("%+v", r)
	}
	p := make([]byte, run.N)
	w.must(readFull(run.File, p, run.Pos))
	if n, err := batch.Check(p); n != 3 || err != nil {
		t.Errorf("the old run has %d batches, %v", n, err)
	}
	all := content(t, w.log, 300)
	if len(all) != 4 || !all[0].IsGap() || all[0].NextOffset() != 6 {
		t.Errorf("the log has %d batches", len(all))
	}
}

// False if it failed: "what is not sealed, not flushed, gone or not whole segments is not rewritten".
func TestRewriteRefuses(t *testing.T) {
	w := sealedWorld(t, 2)
	w.append(1, 10)
	for _, c := range []struct{ from, next kafka.Offset }{{1, 3}, {0, 2}, {0, 7}, {6, 7}, {9, 12}, {3, 3}} {
		if _, err := w.log.Rewrite(t.Context(), c.from, c.next, dropAll, nil); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("[%d, %d): %v", c.from, c.next, err)
		}
	}
	w.must(w.log.Roll())
	if _, err := w.log.Rewrite(t.Context(), 6, 7, dropAll, nil); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("not flushed: %v", err)
	}
	_, err := w.log.ReleaseBefore(3)
	w.must(err)
	if _, err := w.log.Rewrite(t.Context(), 0, 3, dropAll, nil); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("released: %v", err)
	}
}

// False if it failed: "a segment that is released, or cut, while it is rewritten stays as that left it".
func TestLogChangesShapeWhileItIsRewritten(t *testing.T) {
	for _, change := range []struct {
		name string
		do   func(w *world)
	}{
		{"release", func(w *world) { _, err := w.log.ReleaseBefore(3); w.must(err) }},
		{"truncate", func(w *world) { w.must(w.log.Truncate(1)) }},
		{"reset", func(w *world) { w.must(w.log.Reset(50, nil)) }},
	} {
		w := sealedWorld(t, 3)
		once := false
		_, err := w.log.Rewrite(t.Context(), 0, 6, func(batch.View) (batch.View, error) {
			if !once {
				once = true
				change.do(w)
			}
			return nil, nil
		}, nil)
		if !errors.Is(err, ErrOutOfRange) {
			t.Errorf("%s: %v", change.name, err)
		}
		before := content(t, w.log, 300)
		w.must(w.log.Close())
		w.must(w.flusher.Close())
		w.restart(Config{})
		if w.found.Damage != nil || !sameBatches(before, content(t, w.log, 300)) {
			t.Errorf("%s: reopened with %v, other batches", change.name, w.found.Damage)
		}
	}
}

// False if it failed: "a rewriting that its caller ends, or whose edit fails, leaves the log and its directory as they were".
func TestRewriteThatFails(t *testing.T) {
	w := sealedWorld(t, 2)
	before := content(t, w.log, 300)
	boom := errors.New("boom")
	if _, err := w.log.Rewrite(t.Context(), 0, 3, func(batch.View) (batch.View, error) { return nil, boom }, nil); !errors.Is(err, boom) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.log.Rewrite(ctx, 0, 3, dropAll, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unchanged := func(v batch.View) (batch.View, error) { return v, nil }
	if r, err := w.log.Rewrite(t.Context(), 0, 3, unchanged, nil); err != nil || r.Before != r.After {
		t.Error(r, err)
	}
	names, err := w.fs.ReadDir(testDir)
	w.must(err)
	if l := parseNames(names); len(l.cleaned)+len(l.swaps) > 0 || len(l.logs) != 3 || !sameBatches(before, content(t, w.log, 300)) {
		t.Errorf("left behind: %v", names)
	}
}

// False if it failed: "a cut amid a gap takes the gap".
func TestBorderBelow(t *testing.T) {
	w := sealedWorld(t, 2)
	_, err := w.log.Rewrite(t.Context(), 0, 3, dropAll, nil)
	w.must(err)
	for at, want := range map[kafka.Offset]kafka.Offset{0: 0, 2: 0, 3: 3, 4: 4, 6: 6, 9: 6} {
		if got, err := w.log.BorderBelow(at); got != want || err != nil {
			t.Errorf("%d: %d, %v", at, got, err)
		}
	}
	at, err := w.log.BorderBelow(2)
	w.must(err)
	w.must(w.log.SetCleanedTo(3))
	w.must(w.log.Truncate(at))
	if w.log.CleanedTo() != 0 || w.log.End() != 0 {
		t.Errorf("cleaned to %d, end %d", w.log.CleanedTo(), w.log.End())
	}
}

// False if it failed: "how far a log is compacted survives a restart, and a damaged note of it costs no more than a pass".
func TestCleanedToIsKept(t *testing.T) {
	w := sealedWorld(t, 2)
	w.must(w.log.SetCleanedTo(3))
	w.must(w.log.Close())
	w.must(w.flusher.Close())
	w.restart(Config{})
	if got := w.log.CleanedTo(); got != 3 {
		t.Errorf("cleaned to %d", got)
	}
	f, err := w.fs.OpenRW(testDir + "/" + cleanedName)
	w.must(err)
	_, err = f.WriteAt([]byte{1}, 15)
	w.must(errors.Join(err, f.Close(), w.log.Close(), w.flusher.Close()))
	w.restart(Config{})
	if got := w.log.CleanedTo(); got != 0 {
		t.Errorf("cleaned to %d, of a damaged note", got)
	}
}

// False if it failed: "a rewriting that the disk has no room for says so, and leaves the log as it was, which goes on".
func TestRewriteWithoutRoom(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{})
	w.append(3, 3<<20)
	w.must(w.log.Roll())
	w.flush()
	before := content(t, w.log, 300)
	fsys.SetCapacity(12 << 20)
	keep := func(v batch.View) (batch.View, error) {
		if v.BaseOffset() == 0 {
			return nil, nil
		}
		return v, nil
	}
	if _, err := w.log.Rewrite(t.Context(), 0, 3, keep, nil); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	fsys.SetCapacity(0)
	if !sameBatches(before, content(t, w.log, 300)) {
		t.Error("other batches")
	}
	if r, err := w.log.Rewrite(t.Context(), 0, 3, keep, nil); err != nil || r.After >= r.Before {
		t.Error(r, err)
	}
}

// False if it failed: "a segment of which nothing changes is read and not written; one whose end changes has the same bytes before that".
func TestRewriteWritesWhatChanges(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{})
	batches := w.append(6, 50)
	w.must(w.log.Roll())
	w.flush()
	before := fsys.Ops()
	if _, err := w.log.Rewrite(t.Context(), 0, 6, func(v batch.View) (batch.View, error) { return v, nil }, nil); err != nil {
		t.Fatal(err)
	}
	for i := before; i < fsys.Ops(); i++ {
		if op := fsys.Op(i); strings.Contains(op, "cleaned") {
			t.Errorf("nothing changed: %s", op)
		}
	}
	drop := func(at kafka.Offset) Edit {
		return func(v batch.View) (batch.View, error) {
			if v.IsGap() || v.BaseOffset() >= at {
				return nil, nil
			}
			return v, nil
		}
	}
	for at := kafka.Offset(5); at >= 3; at-- { // the gap grows
		_, err := w.log.Rewrite(t.Context(), 0, 6, drop(at), nil)
		w.must(err)
		want := append(append([]batch.View{}, batches[:at]...), batch.Gap(nil, at, 6, 1))
		if got := content(t, w.log, 300); !sameBatches(got, want) {
			t.Fatalf("%d batches, want %d", len(got), len(want))
		}
	}
	before = fsys.Ops()
	_, err := w.log.Rewrite(t.Context(), 0, 6, drop(3), nil)
	w.must(err)
	for i := before; i < fsys.Ops(); i++ {
		if op := fsys.Op(i); strings.Contains(op, "cleaned") {
			t.Errorf("the gap is the same: %s", op)
		}
	}
}
