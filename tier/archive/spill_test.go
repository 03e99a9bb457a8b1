package archive

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// False if: a partition whose manifest spills its entries keeps, expires or deletes anything else than one whose does not, by age, by
// bytes, or when its start is moved from outside.
func TestSpillingChangesNoRetention(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var want, got []string
			synctest.Test(t, func(t *testing.T) { want = lifeOfAPartition(t, seed, 0) })
			for _, n := range []int{1, 2, 3} {
				synctest.Test(t, func(t *testing.T) { got = lifeOfAPartition(t, seed, n) })
				if !slices.Equal(got, want) {
					t.Fatalf("with pages of %d:\n%s\nwithout:\n%s", n, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

// lifeOfAPartition tells where the log starts and which segments are in the bucket, hour by hour.
func lifeOfAPartition(t *testing.T, seed uint64, pageEntries int) (story []string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 1)
	w.pageEntries = pageEntries
	p := w.parts[0]
	p.policy.LocalRetention.Bytes = int64(rng.IntN(2)*20_000) - 1
	switch rng.IntN(3) {
	case 0:
		p.policy.Retention.Age = time.Duration(1+rng.IntN(8)) * time.Hour
	case 1:
		p.policy.Retention.Bytes = int64(rng.IntN(40_000))
	}
	_, stop := w.start(Config{})
	pages := 0
	for hour := range 14 {
		for range rng.IntN(4) {
			p.log.segment(0)
			after(5 * time.Minute)
		}
		if rng.IntN(4) == 0 {
			start := p.Start() + kafka.Offset(rng.Int64N(int64(p.log.end()-p.Start())+1))
			if err := w.quorum.TrimSegments(t.Context(), p.id, 0, start); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(5) == 0 { // another process
			after(10 * time.Minute)
			stop()
			_, stop = w.start(Config{})
		}
		after(40 * time.Minute)
		w.check()
		var objects []string
		for _, key := range w.objects() {
			if _, e, err := manifest.ParseKey(cluster, key); err == nil {
				objects = append(objects, fmt.Sprintf("[%d, %d)", e.Base, e.Next))
			} else {
				pages++
			}
		}
		story = append(story, fmt.Sprintf("hour %d: from %d, %v", hour, p.Start(), objects))
	}
	stop()
	if pageEntries == 1 && pages == 0 && p.Manifest().Len() > 2 {
		t.Error("nothing was ever spilled")
	}
	return story
}

// False if: a page whose upload or commit fails is lost, is put again and again, or makes the manifest grow for ever; or what could not be read
// of a page is deleted.
func TestSpillingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.pageEntries = 2
		p := w.parts[0]
		a, stop := w.start(Config{OrphanGrace: 2 * time.Hour, Interval: time.Minute})
		defer stop()
		p.log.fill(3, 0)
		after(10 * time.Minute)
		w.bucket.Add(object.Rule{Verb: object.Put, Fault: object.Fault{Err: object.ErrThrottled}})
		p.log.segment(0) // waits, and with it the page
		after(30 * time.Minute)
		w.bucket.Clear()
		after(10 * time.Minute)
		for range 3 {
			p.log.segment(0)
			after(10 * time.Minute)
		}
		if m := p.Manifest(); m.Count() != 7 || len(m.Pages()) != 2 || m.Len() != 3 {
			t.Fatalf("%d entries, %d pages, %d in memory", m.Count(), len(m.Pages()), m.Len())
		}
		// A sweep that cannot read the pages must not judge what they may name.
		after(5 * time.Hour)
		w.bucket.Add(object.Rule{Verb: object.Get, Fault: object.Fault{Err: object.ErrThrottled}})
		r, err := a.Sweep(t.Context(), 2*time.Hour, false)
		if err == nil || r.Deleted > 0 {
			t.Fatalf("swept %+v, %v", r, err)
		}
		w.bucket.Clear()
		if r, err = a.Sweep(t.Context(), 2*time.Hour, false); err != nil || r.Deleted > 0 || r.Objects != 9 {
			t.Fatalf("swept %+v, %v", r, err)
		}
		w.check()
		// An orphan between live ones, and an orphaned page, go.
		e := w.entries(p)[1]
		e.UUID[0] ^= 1
		page := p.Manifest().Pages()[0]
		page.UUID[0] ^= 1
		for _, key := range []string{e.Key(cluster, p.id), page.Key(cluster, p.id)} {
			w.put(key)
		}
		after(3 * time.Hour)
		if r, err = a.Sweep(t.Context(), 2*time.Hour, false); err != nil || r.Deleted != 2 {
			t.Fatalf("swept %+v, %v", r, err)
		}
		w.check()
	})
}

// False if: with a bucket that nobody reaches, retention ends at the first page instead of moving over all that has expired, so that the disk fills.
func TestPagesExpireWithoutTheBucket(t *testing.T) {
	for name, policy := range map[string]Retention{"age": {Age: 3 * time.Hour, Bytes: -1}, "bytes": {Age: -1, Bytes: 10}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				w.pageEntries = 2
				p := w.parts[0]
				_, stop := w.start(Config{})
				p.log.fill(6, 0)
				after(10 * time.Minute)
				stop()
				if pages := p.Manifest().Pages(); len(pages) == 0 {
					t.Fatal("nothing is spilled")
				}
				for _, verb := range []object.Verb{object.Put, object.Get, object.List, object.Delete} {
					w.bucket.Add(object.Rule{Verb: verb, Fault: object.Fault{Err: object.ErrThrottled}})
				}
				p.log.fill(3, 0)
				last := p.log.Segments()[8]
				p.policy.Retention = policy
				_, stop = w.start(Config{})
				defer stop()
				after(5 * time.Hour)
				if want := map[string]kafka.Offset{"age": last.Next, "bytes": last.Base}[name]; p.Start() != want {
					t.Fatalf("the log starts at %d, want %d", p.Start(), want)
				}
			})
		})
	}
}

// False if: a page that is damaged for good keeps orphans of others in the bucket for ever.
func TestSweepPassesADamagedPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.pageEntries = 2
		a, stop := w.start(Config{})
		defer stop()
		for _, p := range w.parts {
			p.log.fill(6, 0)
		}
		after(10 * time.Minute)
		damaged, orphan := w.parts[0], w.entries(w.parts[1])[0]
		orphan.UUID[0] ^= 1
		for _, key := range []string{damaged.Manifest().Pages()[0].Key(cluster, damaged.id), orphan.Key(cluster, w.parts[1].id)} {
			w.put(key)
		}
		after(3 * time.Hour)
		before := len(w.objects())
		r, err := a.Sweep(t.Context(), time.Hour, false)
		if !errors.Is(err, manifest.ErrBadPage) || r.Deleted != 1 || len(w.objects()) != before-1 {
			t.Fatalf("swept %+v, %v", r, err)
		}
	})
}
