package hot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// history is what a test has asked of a log and been told, with the file system operation before which each
// thing began and after which it was complete.
type history struct {
	ops    func() int
	events []event
}

// event: the log's whole content (from offset 0, released segments included) that was asked for from operation begun on.
type event struct {
	kind       string // "state", "cut", "ack", "release"
	begun, end int    // operation counts; end is only set when the call has returned
	batches    []batch.View
	at         kafka.Offset
}

func (h *history) add(e event) int {
	e.begun, e.end = h.ops(), 1<<30
	h.events = append(h.events, e)
	return len(h.events) - 1
}

func (h *history) complete(i int) { h.events[i].end = h.ops() }

// wanted is what must hold after a cut at operation k.
type wanted struct {
	states             [][]batch.View // the recovered log is a prefix of one of these
	minEnd             kafka.Offset
	minStart, maxStart kafka.Offset
}

func (h *history) at(k int) wanted {
	var w wanted
	for _, e := range h.events {
		if e.begun > k {
			break
		}
		switch e.kind {
		case "state":
			w.states = append(w.states, e.batches)
		case "cut":
			w.minEnd = min(w.minEnd, e.at)
			if e.end <= k {
				w.states = nil // what was cut must not come back
			}
			w.states = append(w.states, e.batches)
		case "ack":
			w.minEnd = max(w.minEnd, e.at)
		case "release":
			w.maxStart = max(w.maxStart, e.at)
			if e.end <= k {
				w.minStart = max(w.minStart, e.at)
			}
		}
	}
	return w
}

// workload drives a log with random operations and writes its history.
type workload struct {
	*world
	rng   *rand.Rand
	h     *history
	all   []batch.View // the log's content from offset 0, released included
	epoch kafka.LeaderEpoch
	cfg   Config
}

func (w *workload) record(kind string, at kafka.Offset) int {
	return w.h.add(event{kind: kind, batches: w.all[:len(w.all):len(w.all)], at: at})
}

func (w *workload) step() {
	w.act()
	w.record("ack", w.log.DurableEnd()) // what anybody could have read off the log by now
}

func (w *workload) act() {
	switch n := w.rng.IntN(100); {
	case n < 45:
		w.appendSome()
	case n < 70:
		w.flush()
	case n < 75:
		w.flusher.Checkpoint()
	case n < 78:
		if w.flusher.journal != nil {
			w.must(w.flusher.clean())
		}
	case n < 83:
		w.must(w.log.Roll())
	case n < 88:
		w.truncateSome()
	case n < 91:
		w.releaseSome()
	case n < 94:
		w.rewriteSome()
	case n < 96:
		w.must(w.log.Close())
		w.must(w.flusher.Close())
		w.reopen(true)
	default: // killed, files as they are
		durable := w.log.DurableEnd()
		w.reopen(false)
		w.losesLate(durable)
	}
}

// losesLate takes what the killed process had in memory only off the content: it was never durable, and comes back from nowhere.
func (w *workload) losesLate(durable kafka.Offset) {
	n := len(w.all)
	for n > 0 && w.all[n-1].NextOffset() > w.log.End() {
		n--
	}
	if w.log.End() < durable || n > 0 && w.all[n-1].NextOffset() != w.log.End() {
		w.t.Fatalf("killed with %d durable: the log ends at %d", durable, w.log.End())
	}
	if n < len(w.all) {
		w.all = w.all[:n:n]
		w.record("state", 0)
	}
}

func (w *workload) reopen(clean bool) {
	w.must(w.start(w.cfg, 0))
	if clean && !w.found.Clean || w.found.Damage != nil {
		w.t.Fatalf("reopened: %+v", w.found)
	}
	w.record("ack", w.log.DurableEnd())
}

func (w *workload) appendSome() {
	next := w.log.End()
	if w.rng.IntN(8) == 0 {
		w.epoch++
	}
	var batches []batch.View
	for range 1 + w.rng.IntN(4) {
		v := makeBatch(w.t, next, w.epoch, 1+w.rng.IntN(3), w.rng.Int64N(1000), randomFill(w.rng, w.rng.IntN(120)))
		batches = append(batches, v)
		next = v.NextOffset()
	}
	w.all = append(w.all[:len(w.all):len(w.all)], batches...)
	w.record("state", 0)
	w.must(w.log.Append(batches))
}

func (w *workload) truncateSome() {
	first := 0
	for first < len(w.all) && w.all[first].BaseOffset() < w.log.Start() {
		first++
	}
	if first == len(w.all) {
		return
	}
	i := first + w.rng.IntN(len(w.all)-first)
	at := w.all[i].BaseOffset()
	w.all = w.all[:i:i]
	e := w.record("cut", at)
	w.must(w.log.Truncate(at))
	w.h.complete(e)
	w.record("ack", at)
}

func (w *workload) releaseSome() {
	segments := w.log.Segments()
	to := segments[w.rng.IntN(len(segments))].Base
	e := w.record("release", to)
	_, err := w.log.ReleaseBefore(to)
	w.must(err)
	w.h.complete(e)
}

// rewriteSome drops some batches of some neighbouring sealed segments.
func (w *workload) rewriteSome() {
	sealed := w.log.Segments()
	sealed = sealed[:len(sealed)-1]
	if len(sealed) == 0 {
		return
	}
	i := w.rng.IntN(len(sealed))
	j := i + 1 + w.rng.IntN(min(3, len(sealed)-i))
	from, next := sealed[i].Base, sealed[j-1].Next
	salt := w.rng.Uint64()
	dropped := func(v batch.View) bool {
		return v.IsGap() || rand.New(rand.NewPCG(salt, uint64(v.BaseOffset()))).IntN(3) > 0
	}
	was := w.all
	w.all = rewrittenAs(was, from, next, dropped)
	w.record("state", 0)
	_, err := w.log.Rewrite(context.Background(), from, next, func(v batch.View) (batch.View, error) {
		if dropped(v) {
			return nil, nil
		}
		return v, nil
	}, nil)
	if errors.Is(err, ErrOutOfRange) { // not flushed yet
		w.all = was
		w.record("state", 0)
		return
	}
	w.must(err)
	w.must(w.log.SetCleanedTo(next))
}

// rewrittenAs is what a log holds when the batches in [from, next) that are dropped have gone.
func rewrittenAs(all []batch.View, from, next kafka.Offset, dropped func(batch.View) bool) (out []batch.View) {
	gap := func(base, next kafka.Offset, epoch kafka.LeaderEpoch) {
		if n := len(out); n > 0 && out[n-1].IsGap() && out[n-1].BaseOffset() >= from && out[n-1].LeaderEpoch() == epoch {
			base, out = out[n-1].BaseOffset(), out[:n-1]
		}
		out = append(out, batch.Gap(nil, base, next, epoch))
	}
	for _, v := range all {
		if v.BaseOffset() >= from && v.BaseOffset() < next && dropped(v) {
			gap(v.BaseOffset(), v.NextOffset(), v.LeaderEpoch())
		} else {
			out = append(out, v)
		}
	}
	return out
}

var cuts = []vfs.Cut{
	{Data: vfs.Keep, Names: vfs.Keep}, // kill -9
	{Data: vfs.Lose, Names: vfs.Lose},
	{Data: vfs.Lose, Names: vfs.Keep},
	{Data: vfs.Keep, Names: vfs.Lose},
	{Data: vfs.Tear, Names: vfs.Tear},
	{Data: vfs.Shuffle, Names: vfs.Shuffle, Seed: 1},
	{Data: vfs.Shuffle, Names: vfs.Shuffle, Seed: 2},
}

// False if it failed: "whatever was acknowledged is there after a power cut at any operation, the rest is a prefix of what
// was written, byte for byte, and the log always opens".
func TestPowerCutAtEveryOperation(t *testing.T) {
	for _, volumeSync := range []bool{true, false} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("syncfs=%v/seed=%d", volumeSync, seed), func(t *testing.T) {
				t.Parallel()
				fsys := vfs.NewCrash()
				if !volumeSync {
					fsys.WithoutVolumeSync()
				}
				cutEverywhere(t, fsys, seed)
			})
		}
	}
}

func cutEverywhere(t *testing.T, fsys *vfs.Crash, seed uint64) {
	w := startWorkload(t, fsys, seed)
	for range 50 {
		w.step()
	}
	for k := 0; k <= fsys.Ops(); k++ {
		for _, cut := range cuts {
			checkRecovery(t, fsys, w, k, cut)
			if t.Failed() {
				return
			}
		}
	}
}

func startWorkload(t *testing.T, fsys *vfs.Crash, seed uint64) *workload {
	w := &workload{rng: rand.New(rand.NewPCG(seed, 1)), h: &history{ops: fsys.Ops}, cfg: Config{SegmentBytes: 700 + 5000*int64(seed%2)}} // often a new file, or mostly the journal
	if err := fsys.MkdirAll(testRoot); err != nil {
		t.Fatal(err)
	}
	if err := fsys.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	w.world = &world{t: t, fs: fsys, now: testTime}
	w.onGrowth = func(o kafka.Offset) { w.record("ack", o) }
	w.record("state", 0)
	w.h.events[0].begun = 0
	w.must(w.start(w.cfg, 0))
	return w
}

func checkRecovery(t *testing.T, fsys *vfs.Crash, w *workload, k int, cut vfs.Cut) {
	fail := func(format string, args ...any) {
		t.Helper()
		op := "the end"
		if k < fsys.Ops() {
			op = fsys.Op(k)
		}
		t.Fatalf("cut before operation %d (%s), %v: %s", k, op, cut, fmt.Sprintf(format, args...))
	}
	want := w.h.at(k)
	after := fsys.CutAt(k, cut)
	if err := after.MkdirAll(testRoot); err != nil {
		fail("mkdir: %v", err)
	}
	r := &world{t: t, fs: after, now: testTime}
	if err := r.start(w.cfg, 0); err != nil {
		fail("open: %v", err)
	}
	l := r.log
	switch {
	case r.found.Damage != nil:
		fail("damage: %v", r.found.Damage)
	case l.End() < want.minEnd:
		fail("recovered up to %d, acknowledged was %d", l.End(), want.minEnd)
	case l.DurableEnd() != l.End():
		fail("durable end %d, end %d", l.DurableEnd(), l.End())
	case l.Start() < want.minStart || l.Start() > want.maxStart:
		fail("start %d, want in [%d, %d]", l.Start(), want.minStart, want.maxStart)
	}
	got := content(t, l, 300)
	whole := prefixOf(want.states, got, l.Start(), l.End())
	if whole == nil {
		fail("the recovered [%d, %d) was never the log's content", l.Start(), l.End())
	}
	if err := checkEpochs(l, epochsOfBatches(whole)); err != nil {
		fail("%v", err)
	}
	if r.found.State != nil && string(r.found.State) != strconv.FormatInt(int64(r.found.StateAt), 10) {
		fail("state %q at %d", r.found.State, r.found.StateAt)
	}
	checkGoesOn(r, fail)
}

// prefixOf returns the recovered log from offset 0 if it is a prefix of one of the states, less what was released.
func prefixOf(states [][]batch.View, got []batch.View, start, end kafka.Offset) []batch.View {
	for _, s := range states {
		from, to := 0, 0
		for to < len(s) && s[to].NextOffset() <= end {
			if s[to].NextOffset() <= start {
				from = to + 1
			}
			to++
		}
		if sameBatches(s[from:to], got) {
			return append([]batch.View{}, s[:to]...)
		}
	}
	return nil
}

// checkEpochs compares the history with the truth; only what lies below Start may be coarser.
func checkEpochs(l *Log, truth []segment.EpochStart) error {
	above := func(h []segment.EpochStart) (n []segment.EpochStart, at kafka.LeaderEpoch) {
		at = kafka.NoEpoch
		for _, e := range h {
			if e.Start <= l.Start() {
				at = e.Epoch
			} else {
				n = append(n, e)
			}
		}
		return n, at
	}
	got, gotAt := above(l.Epochs())
	want, wantAt := above(truth)
	if fmt.Sprint(got) != fmt.Sprint(want) || gotAt != wantAt && l.End() > l.Start() {
		return fmt.Errorf("epochs %v, want %v (start %d)", l.Epochs(), truth, l.Start())
	}
	return nil
}

// checkGoesOn appends to a recovered log, closes it and opens it again.
func checkGoesOn(r *world, fail func(string, ...any)) {
	end := r.log.End()
	v := makeBatch(r.t, end, 1000, 1, 5, []byte("after"))
	if err := r.log.Append([]batch.View{v}); err != nil {
		fail("append after recovery: %v", err)
	}
	if err := r.flusher.Flush(); err != nil || r.log.DurableEnd() != end+1 {
		fail("flush after recovery: %v, durable end %d", err, r.log.DurableEnd())
	}
	if err := r.log.Close(); err != nil {
		fail("close after recovery: %v", err)
	}
	if err := r.start(Config{SegmentBytes: 700}, 0); err != nil {
		fail("second open: %v", err)
	}
	if !r.found.Clean || r.log.End() != end+1 {
		fail("second open: %+v, end %d", r.found, r.log.End())
	}
}

// False if it failed: "a log that loses power again and again, also while it recovers, never loses what it acknowledged".
func TestPowerCutAfterPowerCut(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			fsys := vfs.NewCrash()
			w := startWorkload(t, fsys, seed+100)
			for round := range 25 {
				for range 1 + w.rng.IntN(25) {
					w.step()
				}
				k := fsys.Ops() - w.rng.IntN(min(fsys.Ops(), 20)+1)
				cut := cuts[w.rng.IntN(len(cuts))]
				cut.Seed = uint64(round)
				checkRecovery(t, fsys, w, k, cut)
				want := w.h.at(k)
				fsys = fsys.CutAt(k, cut)
				w.fs, w.h = fsys, &history{ops: fsys.Ops}
				if err := fsys.MkdirAll(testRoot); err != nil {
					t.Fatal(err)
				}
				if err := w.start(w.cfg, 0); err != nil {
					t.Fatal(err)
				}
				w.all = prefixOf(want.states, content(t, w.log, 300), w.log.Start(), w.log.End())
				if w.all == nil {
					w.all = []batch.View{}
				}
				w.record("state", 0)
				e := w.record("release", w.log.Start())
				w.h.complete(e)
				w.record("ack", w.log.DurableEnd())
				// The recovery itself is not replayed: the history begins where it ended.
				w.h.events[0].begun, w.h.events[1].begun = 0, 0
			}
		})
	}
}
