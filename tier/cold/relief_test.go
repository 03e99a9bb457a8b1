package cold

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/batch"
)

// sipper is a client that takes what it was sent at a rate of its own, until it is cut off.
type sipper struct {
	name      string
	perSecond int64
	cut       atomic.Bool
	gone      chan struct{}
}

func newSipper(name string, perSecond int64) *sipper {
	return &sipper{name: name, perSecond: perSecond, gone: make(chan struct{})}
}

func (s *sipper) TakesSlowly() (int64, bool) { return s.perSecond, s.perSecond < 1<<20 }

func (s *sipper) CutOff() {
	if s.cut.CompareAndSwap(false, true) {
		close(s.gone)
	}
}

// takes reads from the partition until what it has fills most bytes, and keeps all of it until it is cut off.
func (s *sipper) takes(t *testing.T, r *Reader, i int, m manifest.Manifest, most int) {
	var runs []batch.Run
	at := m.Start()
	for held := 0; held < most; {
		ready := make(chan struct{})
		run, err := r.Read(partition(i), m, s, at, most-held, func() { close(ready) })
		if err == ErrLoading {
			select {
			case <-ready:
				continue
			case <-s.gone:
			}
			break
		}
		if err != nil {
			t.Error(err)
			break
		}
		runs, held = append(runs, run), held+run.N
		if at, err = follow(run, at); err != nil {
			t.Error(err)
		}
	}
	<-s.gone
	r.Forget(s)
	for _, run := range runs {
		run.Release()
	}
}

// Clients that take their answers slowly keep all memory, and another one replays at a crawl; or one of them is cut off though it keeps less than half
// of it, or takes more than those that stay.
func TestSlowTakersLeaveRoom(t *testing.T) {
	const mib = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		s := &paced{synthetic: newSynthetic(t, 256<<10), first: 20 * time.Millisecond, perGet: 90 * mib, perLine: 500 * mib}
		m := s.partition(t, partition(0), 1, 64*mib)
		for i := range 10 {
			s.segments[m.At(0).Key(cluster, partition(i))] = s.segments[m.At(0).Key(cluster, partition(0))]
		}
		r := start(t, s, Config{MaxInFlight: 48 * mib})
		var all []*sipper
		for i := range 8 {
			p := newSipper("slow", int64(i)*1000)
			all = append(all, p)
			go p.takes(t, r, i, m, 6*mib)
		}
		time.Sleep(time.Minute)
		for _, p := range all {
			if p.cut.Load() {
				t.Fatal("one is cut off though nobody waits")
			}
		}
		if kept := lent(r); kept < 40*mib {
			t.Fatalf("they keep only %d bytes: the test does not show anything", kept)
		}
		began := time.Now()
		if err := s.replay(r, partition(9), m, newSipper("quick", 100*mib), mib); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("64 MiB took %v", took)
		}
		for i, p := range all {
			if i > 0 && p.cut.Load() && !all[i-1].cut.Load() {
				t.Errorf("who takes %d bytes a second was cut off before who takes %d", p.perSecond, all[i-1].perSecond)
			}
		}
		if kept := lent(r); kept < 16*mib {
			t.Errorf("those that are left keep %d of %d bytes: half was not to be taken away", kept, 48*mib)
		}
		for _, p := range all {
			p.CutOff()
		}
		synctest.Wait()
		if kept := lent(r); kept != 0 {
			t.Errorf("%d bytes are lent to nobody", kept)
		}
	})
}

// Clients that take fast enough are cut off because others wait.
func TestQuickTakersStay(t *testing.T) {
	const mib = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		s := &paced{synthetic: newSynthetic(t, 256<<10), first: 20 * time.Millisecond, perGet: 90 * mib, perLine: 500 * mib}
		m := s.partition(t, partition(0), 1, 64*mib)
		for i := range 10 {
			s.segments[m.At(0).Key(cluster, partition(i))] = s.segments[m.At(0).Key(cluster, partition(0))]
		}
		r := start(t, s, Config{MaxInFlight: 48 * mib})
		var all []*sipper
		var wg sync.WaitGroup
		for i := range 8 {
			p := newSipper("2 MiB/s", 2*mib)
			all = append(all, p)
			wg.Go(func() {
				c := consumer{key: p, rate: 2 * mib, parts: []consumed{{partition(i), m, 0}}}
				if err := c.run(r); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		if err := s.replay(r, partition(9), m, newSipper("quick", 100*mib), mib); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		for _, p := range all {
			if p.cut.Load() {
				t.Error("one is cut off")
			}
		}
	})
}

// lent is the bytes that are being sent.
func lent(r *Reader) (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[*slab]bool{}
	for _, c := range r.clients {
		for sl := range c.lent {
			if !seen[sl] {
				seen[sl] = true
				n += sl.size
			}
		}
	}
	return n
}
