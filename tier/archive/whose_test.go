package archive

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// hide takes all objects away, as a volume that is not mounted does, and returns what brings them back.
func (w *world) hide() (mount func()) {
	w.t.Helper()
	hidden := map[string]string{}
	for _, key := range w.objects() {
		body, err := w.mem.Get(w.t.Context(), key, 0, -1)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			w.t.Fatal(err)
		}
		hidden[key] = string(b)
		if err := w.mem.Delete(w.t.Context(), key); err != nil {
			w.t.Fatal(err)
		}
	}
	return func() {
		for key, b := range hidden {
			if err := w.mem.Put(w.t.Context(), key, strings.NewReader(b), int64(len(b))); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// tiered has each partition upload six segments, of which local retention wants to keep nothing but for now has to.
func (w *world) tiered() {
	for _, p := range w.parts {
		p.log.fill(6, 0)
	}
	_, stop := w.start(Config{})
	after(time.Minute)
	stop()
	for _, p := range w.parts {
		p.set(func(p *fakePart) { p.policy.LocalRetention = Retention{Age: 0, Bytes: 0} })
		p.log.fill(3, 0)
	}
}

// False if: anything is uploaded to, deleted or swept from a bucket that has nothing of what the manifests name, or local copies of it
// are deleted; if nobody is told; or if it does not all go on by itself when the bucket is the right one again.
func TestWrongBucketIsLeftAlone(t *testing.T) {
	for _, pages := range []int{0, 2} {
		run(t, 2, func(t *testing.T, w *world) {
			w.pageEntries = pages
			w.tiered()
			mount := w.hide()
			w.put(cluster + "/something/else")
			a, stop := w.start(Config{SweepInterval: time.Minute, OrphanGrace: time.Minute})
			defer stop()
			after(10 * time.Minute)
			if n := len(w.objects()); n != 1 {
				t.Errorf("%d objects in the wrong bucket, one is not the archive's", n)
			}
			for _, p := range w.parts {
				if n := len(p.log.Segments()); n != 10 {
					t.Errorf("%d local segments, want all 10", n)
				}
			}
			if _, err := a.Sweep(t.Context(), 0, false); !errors.Is(err, errWrongBucket) {
				t.Errorf("sweep: %v", err)
			}
			for _, st := range a.Status() {
				if !strings.Contains(st.LastError, "does not hold") || st.PendingBytes == 0 {
					t.Errorf("status %+v", st)
				}
			}
			if c := w.bucket.Counts(); c.Lists > 0 || c.Deletes > 0 {
				t.Errorf("the wrong bucket was asked for %+v", c)
			}

			mount()
			after(2 * askEvery)
			w.check()
			for _, p := range w.parts {
				if m := p.Manifest(); m.End() != 270 || len(p.log.Segments()) != 1 {
					t.Errorf("the right bucket has up to %d, %d local segments", m.End(), len(p.log.Segments()))
				}
			}
			if st := a.Status(); st[0].LastError != "" || a.Held() != nil {
				t.Errorf("status %+v, %v", st[0], a.Held())
			}
		})
	}
}

// False if: a bucket that becomes another one while the archive runs is used on once an object was found missing, or what was uploaded
// to it, and not yet committed, is named by a manifest.
func TestDoubtedBucket(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		w.tiered()
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		m := p.Manifest()
		refused := errors.New("no quorum")
		w.quorum.mu.Lock()
		w.quorum.fail = func(manifest.Entry) error { return refused }
		w.quorum.mu.Unlock()
		mount := w.hide()
		p.log.fill(2, 0)
		a.Poke(p.id)
		after(time.Second)
		if n := len(w.objects()); n == 0 {
			t.Fatal("nothing was uploaded to the wrong bucket: there is nothing to find out")
		}
		a.Doubt()
		after(time.Second)
		if a.Held() == nil {
			t.Error("the bucket is not found to be wrong")
		}
		w.hide()
		mount()
		w.quorum.mu.Lock()
		w.quorum.fail = nil
		w.quorum.mu.Unlock()
		after(10 * time.Minute)
		w.check() // of all that is named
		if got := p.Manifest(); got.Len() != m.Len()+2 {
			t.Errorf("%d entries, want two more than %d", got.Len(), m.Len())
		}
	})
}

// False if: the loss of some objects, the newest ones or all but the oldest, is taken for another bucket; or a reader of what is lost
// costs more than a request in five seconds.
func TestSomeObjectsAreMissing(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		w.tiered()
		m := p.Manifest()
		for i := 1; i < m.Len(); i++ {
			if err := w.mem.Delete(t.Context(), m.At(i).Key(cluster, p.id)); err != nil {
				t.Fatal(err)
			}
		}
		before := w.bucket.Counts().Heads
		a, stop := w.start(Config{})
		defer stop()
		after(time.Second)
		if got := p.Manifest(); got.Len() != m.Len()+3 || a.Held() != nil {
			t.Errorf("%d entries, want three more than %d; %v", got.Len(), m.Len(), a.Held())
		}
		if heads := w.bucket.Counts().Heads - before; heads != 2 {
			t.Errorf("%d HEADs at the start, want one for the newest and one for the oldest", heads)
		}
		before = w.bucket.Counts().Heads
		for range 600 {
			a.Doubt()
			after(100 * time.Millisecond)
		}
		if heads := w.bucket.Counts().Heads - before; heads == 0 || heads > int64(time.Minute/askEvery)+1 {
			t.Errorf("%d HEADs in a minute of doubts", heads)
		}
	})
}

// False if: a bucket whose objects are lost for good is never used again, although no manifest names any of them; or the first upload of a
// new cluster, or a restart with a bucket that is right, costs more than a HEAD.
func TestNothingIsNamed(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		w.tiered()
		if heads := w.bucket.Counts().Heads; heads != 0 {
			t.Errorf("a new cluster: %d HEADs", heads)
		}
		_, stop := w.start(Config{})
		after(time.Hour)
		stop()
		if heads := w.bucket.Counts().Heads; heads != 1 {
			t.Errorf("a restart: %d HEADs", heads)
		}
		w.hide()
		p.log.fill(3, 0)
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		if a.Held() == nil {
			t.Fatal("an empty bucket is used")
		}
		away := w.bucket.Add(object.Rule{Verb: object.Head, Fault: object.Fault{Err: object.ErrNoBucket}})
		after(time.Minute)
		if !errors.Is(a.Held(), errWrongBucket) {
			t.Errorf("no bucket: %v", a.Held())
		}
		away()
		end := p.Manifest().End() // trim to behind what is lost
		if err := w.quorum.TrimSegments(t.Context(), p.id, 0, end); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		w.check()
		if m := p.Manifest(); m.Start() != end || m.End() != end+90 || a.Held() != nil {
			t.Errorf("the bucket has [%d, %d), want [%d, %d); %v", m.Start(), m.End(), end, end+90, a.Held())
		}
	})
}

// False if: a bucket that is deleted while the archive runs, and made again, is used before it has what the manifests name.
func TestBucketMadeAnew(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		w.tiered()
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		end := w.parts[0].Manifest().End()
		w.hide()
		away := w.bucket.Add(object.Rule{Fault: object.Fault{Err: object.ErrNoBucket}, Verb: object.Head})
		a.Doubt()
		after(time.Second)
		away()
		w.parts[0].log.fill(3, 0)
		after(time.Minute)
		if got := w.parts[0].Manifest().End(); got != end || len(w.objects()) != 0 || a.Held() == nil {
			t.Errorf("uploaded from %d to %d; %v", end, got, a.Held())
		}
	})
}

// False if: a bucket that does not answer is taken for another one.
func TestSilentBucket(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		w.tiered()
		w.bucket.Add(object.Rule{Verb: object.Head, Fault: object.Fault{Err: errors.New("no route to host")}})
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		if p := w.parts[0]; p.Manifest().End() != kafka.Offset(270) || len(p.log.Segments()) != 1 || a.Held() != nil {
			t.Errorf("uploaded up to %d, %d local segments; %v", p.Manifest().End(), len(p.log.Segments()), a.Held())
		}
	})
}
