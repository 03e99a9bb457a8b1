package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

var quiet = slog.New(slog.DiscardHandler)

// fake is a log of sealed segments of 1 MiB and ten offsets each, and an active one.
type fake struct {
	id       kafka.Partition
	segments int
	bad      kafka.Offset // negative: none
	archived bool
	seen     *[]string
	damage   error
}

func (f *fake) Partition() kafka.Partition { return f.id }
func (f *fake) Topic() string              { return fmt.Sprint("t", f.id.Topic[0]) }
func (f *fake) Damage() error              { return f.damage }

func (f *fake) Segments() (list []hot.SegmentInfo) {
	for i := range f.segments + 1 {
		base := kafka.Offset(10 * i)
		list = append(list, hot.SegmentInfo{Base: base, Next: base + 10, Size: 1 << 20, Sealed: i < f.segments})
	}
	return list
}

func (f *fake) Check(ctx context.Context, base kafka.Offset, pace func(context.Context, int) error) (int64, error) {
	if pace != nil {
		if err := pace(ctx, 1<<20); err != nil {
			return 0, err
		}
	}
	*f.seen = append(*f.seen, fmt.Sprintf("%d/%d/%d", f.id.Topic[0], f.id.Index, base))
	if base != f.bad {
		return 1 << 20, nil
	}
	err := &hot.DamageError{Segment: base, Base: base, Next: base + 10, Reason: errors.New("bits flipped")}
	if !f.archived {
		f.damage = err
	}
	return 1 << 20, err
}

// world is a scrubber over a few logs, in a bubble.
type world struct {
	t    *testing.T
	fs   vfs.FS
	logs []*fake
	seen []string
	cfg  Config
	s    *Scrubber
	stop func()
}

func newWorld(t *testing.T, cfg Config) *world {
	w := &world{t: t, fs: vfs.NewCrash(), cfg: cfg}
	w.cfg.File = "/scrub.json"
	for i, n := range []int{3, 0, 2} {
		w.logs = append(w.logs, &fake{id: kafka.Partition{Topic: kafka.TopicID{byte(2 - i)}, Index: int32(i)}, segments: n, bad: -1, seen: &w.seen})
	}
	return w
}

func (w *world) start() {
	w.s = New(w.fs, func(yield func(Log)) {
		for _, l := range w.logs {
			yield(l)
		}
	}, w.cfg, time.Now, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.s.Run(ctx) })
	w.stop = func() { cancel(); running.Wait() }
}

var everything = []string{"0/2/0", "0/2/10", "2/0/0", "2/0/10", "2/0/20"}

// A round would miss a closed segment, read one twice, read faster than it may, or not come again; or a restart would begin it anew.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Interval: 24 * time.Hour, BytesPerSecond: 1 << 20 / 600}) // a segment takes ten minutes
		w.start()
		time.Sleep(35 * time.Minute)
		if s := w.s.Status(); !s.Running || s.Segments != 3 || !slices.Equal(w.seen, everything[:3]) {
			t.Fatalf("after 35 minutes: %v, %+v", w.seen, s)
		}
		w.stop()
		w.start()
		time.Sleep(time.Hour)
		began := w.s.Status().Began
		if s := w.s.Status(); s.Running || s.Segments != 2 || s.Whole != began || !s.Finished.After(began) || !slices.Equal(w.seen, everything) {
			t.Fatalf("after the restart: %v, %+v", w.seen, s)
		}
		w.stop()
		w.start()
		time.Sleep(22 * time.Hour)
		if !slices.Equal(w.seen, everything) {
			t.Fatalf("checked again before the time: %v", w.seen)
		}
		time.Sleep(4 * time.Hour)
		if s := w.s.Status(); !slices.Equal(w.seen, append(slices.Clone(everything), everything...)) || s.Whole.Sub(began).Round(time.Minute) != 24*time.Hour {
			t.Fatalf("a day later: %v, %+v", w.seen, s)
		}
		w.stop()
		overwrite(t, w.fs, "/scrub.json", "{broken")
		w.seen = nil
		w.start()
		time.Sleep(2 * time.Hour)
		if !slices.Equal(w.seen, everything) {
			t.Fatalf("without a place: %v", w.seen)
		}
		w.stop()
	})
}

func overwrite(t *testing.T, fsys vfs.FS, name, text string) {
	t.Helper()
	f, err := fsys.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Damage would not be counted and told; or whom many read at one place would be checked again and again, or not at all.
func TestDamageAndSuspicion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.logs[0].bad, w.logs[2].bad, w.logs[2].archived = 10, 0, true
		w.start()
		for range 100 {
			w.s.Suspect(w.logs[2].id, 10)
			w.s.Suspect(w.logs[0].id, 10)
			synctest.Wait()
		}
		if s := w.s.Status(); !slices.Equal(w.seen, []string{"0/2/10", "2/0/10"}) || s.Suspicions != 2 || s.Damaged != 1 {
			t.Fatalf("suspected: %v, %+v", w.seen, s)
		}
		time.Sleep(trust + time.Second)
		w.s.Suspect(w.logs[2].id, 10)
		synctest.Wait()
		if len(w.seen) != 3 {
			t.Fatalf("suspected later: %v", w.seen)
		}
		w.seen = nil
		r, err := w.s.Now(t.Context(), func(l Log) bool { return l.Topic() != "t1" })
		if err != nil || r.Segments != 5 || r.Bytes != 5<<20 || len(r.Damaged) != 2 || !slices.Equal(w.seen, everything) {
			t.Fatalf("now: %v, %+v %v", w.seen, r, err)
		}
		if a, b := r.Damaged[0], r.Damaged[1]; !a.Archived || a.Topic != "t0" || a.Segment != 0 || b.Archived || b.Segment != 10 {
			t.Errorf("damaged: %+v", r.Damaged)
		}
		if s := w.s.Status(); s.Damaged != 3 || len(s.Last) != 3 {
			t.Errorf("status: %+v", s)
		}
		w.stop()
	})
}
