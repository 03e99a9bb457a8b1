package archive

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// False if: total retention by age leaves expired data in either tier, or takes what is not expired.
func TestTotalRetentionByAge(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.policy.Retention.Age = time.Hour
		p.policy.LocalRetention.Bytes = 0
		_, stop := w.start(Config{})
		defer stop()
		for range 12 {
			p.log.segment(0)
			after(10 * time.Minute)
			w.check()
		}
		after(time.Minute)
		// Written 120, 110, … 10 minutes ago, and one minute.
		if m := p.Manifest(); m.Len() != 5 || p.Start() != m.Start() || m.Start() != 7*30 {
			t.Errorf("%d entries, log starts at %d, remote at %d", m.Len(), p.Start(), m.Start())
		}
		if n := len(w.objects()); n != 5 {
			t.Errorf("%d objects", n)
		}
	})
}

// False if: total retention by bytes does not count both tiers as one log.
func TestTotalRetentionByBytes(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(10, 0)
		p.policy.LocalRetention.Bytes = p.log.segments[0].Size * 3
		_, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		object := p.Manifest().At(0).Size
		p.set(func(p *fakePart) { p.policy.Retention.Bytes = 6 * object })
		after(time.Minute)
		w.check()
		if m := p.Manifest(); m.Len() != 6 || p.Start() != 4*30 {
			t.Errorf("%d entries, log starts at %d", m.Len(), p.Start())
		}
		if n := len(w.objects()); n != 6 {
			t.Errorf("%d objects", n)
		}
	})
}

// False if: with the bucket down the disk fills beyond what total retention
// allows, or the backlog cannot be seen, or uploads do not resume by themselves.
func TestRetentionWorksWhileTheBucketIsDown(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.policy.Retention.Age = time.Hour
		w.bucket.Add(object.Rule{Fault: object.Fault{Hang: true}})
		a, stop := w.start(Config{})
		defer stop()
		for range 30 {
			p.log.segment(0)
			after(10 * time.Minute)
			w.check()
			if n := len(p.log.Segments()); n > 9 {
				t.Fatalf("%d local segments", n)
			}
		}
		if s := a.Stats(); s.PendingBytes < 5*p.log.Segments()[0].Size || time.Since(s.PendingSince) < 50*time.Minute || time.Since(s.PendingSince) > 80*time.Minute {
			t.Errorf("backlog %d bytes since %v", s.PendingBytes, time.Since(s.PendingSince))
		}
		w.bucket.Clear()
		after(10 * time.Minute)
		w.check()
		if m := p.Manifest(); m.End() != 900 || m.Start() != p.Start() {
			t.Errorf("remote [%d, %d), log starts at %d", m.Start(), m.End(), p.Start())
		}
	})
}

// False if: retention of a topic that is not tiered deletes a segment before
// the log start has moved past it, or moves it past what stays.
func TestRetentionWithoutTiering(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.policy = Policy{Retention: Retention{Age: time.Hour, Bytes: -1}, LocalRetention: Retention{Age: 0, Bytes: 0}}
		for range 5 {
			p.log.segment(0)
			time.Sleep(20 * time.Minute)
		}
		w.quorum.failTrim = errors.New("no leader")
		_, stop := w.start(Config{})
		defer stop()
		after(time.Second)
		if n := len(p.log.Segments()); n != 6 {
			t.Fatalf("%d local segments with the log start at 0", n)
		}
		w.quorum.mu.Lock()
		w.quorum.failTrim = nil
		w.quorum.mu.Unlock()
		after(5 * time.Minute)
		w.check()
		if segs := p.log.Segments(); len(segs) != 3 || segs[0].Base != p.Start() || p.Start() != 90 {
			t.Errorf("%d local segments from %d, log starts at %d", len(segs), segs[0].Base, p.Start())
		}
		if len(w.objects()) != 0 {
			t.Error("uploaded")
		}
	})
}

// False if: the last records of a partition that nobody writes to any more never expire.
func TestAnExpiredActiveSegmentIsRolledAndExpires(t *testing.T) {
	run(t, 2, func(t *testing.T, w *world) {
		for i, p := range w.parts {
			p.policy.Retention.Age = time.Hour
			p.policy.Remote = i == 0
			p.log.append(3, 10, 0)
		}
		w.parts[1].set(func(p *fakePart) { p.limit = 2 }) // not all below the high watermark
		_, stop := w.start(Config{})
		defer stop()
		after(50 * time.Minute)
		if w.parts[0].log.rolls != 0 {
			t.Error("rolled too early")
		}
		after(15 * time.Minute)
		if segs := w.parts[0].log.Segments(); len(segs) != 1 || segs[0].Base != 3 || w.parts[0].Start() != 3 {
			t.Errorf("segments %+v, log starts at %d", segs, w.parts[0].Start())
		}
		if w.parts[1].log.rolls != 0 || w.parts[1].Start() != 0 {
			t.Error("rolled above the high watermark")
		}
	})
}

// False if: DeleteRecords, which moves the log start from outside, leaves objects or local segments behind.
func TestWhatDeleteRecordsLeavesGoes(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(6, 0)
		p.policy.LocalRetention.Bytes = p.log.segments[0].Size * 2
		_, stop := w.start(Config{})
		defer stop()
		after(time.Second)
		if err := w.quorum.TrimSegments(t.Context(), p.id, 0, 155); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		w.check()
		if m := p.Manifest(); m.Len() != 1 || len(w.objects()) != 1 || p.log.Segments()[0].Base != 150 {
			t.Errorf("%d entries, %d objects, local from %d", m.Len(), len(w.objects()), p.log.Segments()[0].Base)
		}
	})
}

// False if: deletions are given up because the bucket was down for a while.
func TestDeletionsAreRetried(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(6, 0)
		a, stop := w.start(Config{})
		defer stop()
		after(time.Second)
		w.bucket.Add(object.Rule{Verb: object.Delete, Count: 7, Fault: object.Fault{Err: object.ErrThrottled}})
		if err := w.quorum.TrimSegments(t.Context(), p.id, 0, 180); err != nil {
			t.Fatal(err)
		}
		after(time.Second / 100)
		if len(w.objects()) == 0 || a.Stats().DeletesWaiting != 6 {
			t.Errorf("%d objects, %d waiting", len(w.objects()), a.Stats().DeletesWaiting)
		}
		after(20 * time.Minute)
		if s := a.Stats(); len(w.objects()) != 0 || s.Deletions != 6 || s.DeleteFailures != 7 || s.DeletesWaiting != 0 {
			t.Errorf("%d objects, stats %+v", len(w.objects()), s)
		}
	})
}

// undeletable is an object that the store will not delete, as one under a lock.
func undeletable(w *world, key string) {
	w.bucket.Add(object.Rule{Verb: object.Delete, Prefix: key, Fault: object.Fault{Err: object.ErrDenied}})
}

// False if: one object that cannot be deleted keeps those behind it in the bucket.
func TestAnUndeletableObjectKeepsNoOther(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(6, 0)
		a, stop := w.start(Config{})
		defer stop()
		after(time.Second)
		locked := p.Manifest().At(0).Key(cluster, p.id)
		undeletable(w, locked)
		if err := w.quorum.TrimSegments(t.Context(), p.id, 0, 180); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if left := w.objects(); len(left) != 1 || left[0] != locked || a.Stats().DeletesWaiting != 1 {
			t.Errorf("left: %v, %d waiting", left, a.Stats().DeletesWaiting)
		}
	})
}

// False if: an orphan that cannot be deleted ends every sweep where it lies, or is not told of.
func TestASweepPassesWhatItCannotDelete(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		a, stop := w.start(Config{})
		defer stop()
		var orphans []string
		for i := range 6 {
			e := manifest.Entry{Base: kafka.Offset(i), Next: kafka.Offset(i + 1)}
			orphans = append(orphans, e.Key(cluster, w.parts[0].id))
			w.put(orphans[i])
		}
		after(2 * time.Hour)
		undeletable(w, orphans[1])
		r, err := a.Sweep(t.Context(), time.Hour, false)
		if left := w.objects(); !errors.Is(err, object.ErrDenied) || r.Deleted != 5 || len(left) != 1 || left[0] != orphans[1] {
			t.Errorf("left: %v, %+v, %v", left, r, err)
		}
	})
}

// False if: a deleted topic's objects stay, or another's go, or its uploads go on.
func TestADeletedPartitionLeavesTheBucket(t *testing.T) {
	run(t, 12, func(t *testing.T, w *world) {
		for _, p := range w.parts {
			p.log.fill(3, 0)
		}
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		gone := w.parts[1] // partitions 10 and 11 begin with the same digit
		gone.log.segment(0)
		w.bucket.Add(object.Rule{Verb: object.List, Count: 3, Fault: object.Fault{Err: object.ErrThrottled}})
		a.RemovePartition(gone.id)
		after(20 * time.Minute)
		for _, key := range w.objects() {
			if partitionOf(key) == "1" {
				t.Errorf("left: %s", key)
			}
		}
		if n := len(w.objects()); n != 33 {
			t.Errorf("%d objects, want 33", n)
		}
		if _, ok := a.PartitionStatus(gone.id); ok {
			t.Error("still known")
		}
	})
}

// False if: deleting a topic that was never tiered costs a request.
func TestDeletingWhatWasNeverTieredCostsNothing(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.policy.Remote = false
		p.log.segment(0)
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		a.RemovePartition(p.id)
		after(time.Minute)
		if c := w.bucket.Counts(); c != (object.Counts{}) {
			t.Errorf("requests %+v", c)
		}
	})
}

// False if: a removed partition is uploaded further, or its objects are deleted.
func TestARemovedPartitionIsLeftAlone(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.segment(0)
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		p.log.segment(0)
		w.bucket.Add(object.Rule{Verb: object.Put, Fault: object.Fault{Hang: true}})
		a.Poke(p.id)
		synctest.Wait()
		a.Remove(p.id)
		after(time.Hour)
		if n, o := p.Manifest().Len(), len(w.objects()); n != 1 || o != 1 {
			t.Errorf("%d entries, %d objects", n, o)
		}
		w.bucket.Clear()
		a.Add(p)
		after(time.Minute)
		if n := p.Manifest().Len(); n != 2 {
			t.Errorf("%d entries after it came back", n)
		}
	})
}

// False if: a sweep deletes what a manifest names, what is younger than the
// grace, what is being uploaded, or what is no segment; or spares an orphan; or a dry run deletes.
func TestSweep(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(3, 0)
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		stale := p.Manifest().At(1)
		stale.UUID[0]++
		unknown := kafka.Partition{Topic: kafka.TopicID{9}, Index: 4}
		orphans := []string{stale.Key(cluster, p.id), stale.Key(cluster, unknown)}
		foreign := []string{cluster + "/README", cluster + "/" + p.id.String() + "/note", "other/" + stale.Key(cluster, p.id), stale.Key("cluster2", p.id), stale.Key(cluster, p.id) + ".bak"}
		for _, key := range append(foreign, orphans...) {
			w.put(key)
		}
		// An upload whose commit never gets through, for longer than the grace.
		w.quorum.mu.Lock()
		w.quorum.fail = func(manifest.Entry) error { return errors.New("no leader") }
		w.quorum.mu.Unlock()
		p.log.segment(0)
		a.Poke(p.id)
		after(2 * time.Hour)
		young := stale
		young.UUID[0]++
		w.put(young.Key(cluster, p.id))
		before := len(w.objects())

		slices.Sort(orphans)
		for _, dry := range []bool{true, false} {
			r, err := a.Sweep(t.Context(), time.Hour, dry)
			if err != nil {
				t.Fatal(err)
			}
			if r.Objects != 3+1+2+1 || r.Orphans != 2 || r.Young != 1 || r.Named != 3 || r.Missing != 0 || r.OrphanBytes != 2 || !slices.Equal(r.Keys, orphans) || (r.Deleted == 0) != dry {
				t.Errorf("dry %v: %+v", dry, r)
			}
			if dry && len(w.objects()) != before {
				t.Error("a dry run deleted")
			}
		}
		if n := len(w.objects()); n != before-2 {
			t.Errorf("%d objects, want %d", n, before-2)
		}
		w.quorum.mu.Lock()
		w.quorum.fail = nil
		w.quorum.mu.Unlock()
		after(10 * time.Minute)
		w.check()
		if n := p.Manifest().Len(); n != 4 {
			t.Errorf("%d entries", n)
		}
	})
}

// False if: objects that a manifest names and the bucket does not have go unnoticed, are taken for missing though retention has deleted
// them, or are still told of when they are back or nothing names them any more.
func TestSweepMissesObjects(t *testing.T) {
	for name, pageEntries := range map[string]int{"in memory": 0, "in pages": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				w.pageEntries = pageEntries
				for _, p := range w.parts {
					p.log.fill(6, 0)
				}
				a, stop := w.start(Config{})
				defer stop()
				after(10 * time.Minute)
				p := w.parts[1]
				named := len(w.objects())
				gone := w.entries(p)[:2]
				sweep := func(missing int) {
					t.Helper()
					for _, grace := range []time.Duration{24 * time.Hour, time.Second} { // all are younger, or none is
						r, err := a.Sweep(t.Context(), grace, true)
						if err != nil {
							t.Fatal(err)
						}
						if r.Named != named || r.Missing != missing || r.Orphans+r.Young != 0 {
							t.Errorf("grace %v: %+v: want %d of %d missing", grace, r, missing, named)
						}
						if lost := a.Lost(); missing > 0 && (len(lost) != 1 || lost[0].Partition != p.id || lost[0].Objects != missing) || missing == 0 && len(lost) > 0 {
							t.Errorf("grace %v: lost are %+v", grace, lost)
						}
					}
				}
				sweep(0)
				kept := w.mem
				for _, e := range gone {
					if err := kept.Delete(t.Context(), e.Key(cluster, p.id)); err != nil {
						t.Fatal(err)
					}
				}
				sweep(2)
				for _, e := range gone {
					w.put(e.Key(cluster, p.id))
				}
				sweep(0)
				for _, e := range gone {
					if err := kept.Delete(t.Context(), e.Key(cluster, p.id)); err != nil {
						t.Fatal(err)
					}
				}
				sweep(2)
				if err := w.quorum.TrimSegments(t.Context(), p.id, 0, p.Manifest().End()-1); err != nil { // the last one stays
					t.Fatal(err)
				}
				after(time.Hour)
				r, err := a.Sweep(t.Context(), time.Hour, false)
				if err != nil || r.Missing != 0 || len(a.Lost()) > 0 {
					t.Errorf("after a trim: %+v, %v", r, err)
				}
			})
		})
	}
}

// False if: an object that waited for its commit so long that another
// broker's sweep may take it is committed all the same.
func TestAnObjectThatMayBeSweptIsUploadedAnew(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.segment(0)
		var asked []manifest.Entry
		w.quorum.fail = func(e manifest.Entry) error { asked = append(asked, e); return errors.New("no leader") }
		_, stop := w.start(Config{OrphanGrace: time.Hour})
		defer stop()
		after(3 * time.Hour)
		w.quorum.mu.Lock()
		w.quorum.fail = nil
		oldest := time.UnixMilli(asked[0].Uploaded)
		w.quorum.mu.Unlock()
		after(10 * time.Minute)
		w.check()
		if m := p.Manifest(); m.Len() != 1 || time.UnixMilli(m.At(0).Uploaded).Sub(oldest) < 2*time.Hour {
			t.Errorf("entries %+v", m.Entries())
		}
	})
}

// False if: Run's own sweeps do not happen, or happen before the grace.
func TestRunSweeps(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		e := manifest.Entry{Base: 0, Next: 1}
		w.put(e.Key(cluster, w.parts[0].id))
		a, stop := w.start(Config{OrphanGrace: 24 * time.Hour, SweepInterval: time.Hour})
		defer stop()
		after(23 * time.Hour)
		if len(w.objects()) != 1 {
			t.Fatal("swept within the grace")
		}
		after(3 * time.Hour)
		if len(w.objects()) != 0 || a.Stats().Swept != 1 {
			t.Errorf("%v, swept %d", w.objects(), a.Stats().Swept)
		}
	})
}

// False if: for any two tiers, high watermark, log start and limits, a
// decision moves the start backwards or past the high watermark, expires what
// must stay, releases what is nowhere else, or uploads what is not stable.
func TestDecisionsKeepTheInvariants(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t, now)
		start, roll := v.expire()
		if start < v.start || start > max(v.stable, v.start) {
			t.Fatalf("start %d, was %d, stable %d", start, v.start, v.stable)
		}
		if v.policy.Retention.Age < 0 && v.policy.Retention.Bytes < 0 && (start != v.start || roll) {
			t.Fatal("expired without limits")
		}
		var kept int64
		for _, e := range v.manifest.All() {
			if e.Next > start {
				kept += e.Size
			} else if e.Next > v.start && v.policy.Retention.Bytes < 0 && e.MaxTimestamp >= now.Add(-v.policy.Retention.Age).UnixMilli() {
				t.Fatalf("expired %+v too early", e)
			}
		}
		for _, s := range v.localOnly() {
			if s.Next > start {
				kept += s.Size
			}
		}
		if start > v.start && v.policy.Retention.Age < 0 && kept < v.policy.Retention.Bytes {
			t.Fatalf("kept %d of at least %d bytes", kept, v.policy.Retention.Bytes)
		}
		upto := v.releasable()
		for _, s := range v.segments {
			if s.Next <= upto && !(s.Sealed && (s.Next <= v.start || v.covered(s))) {
				t.Fatalf("released %+v, which is nowhere else", s)
			}
		}
		for _, s := range v.pending() {
			if !s.Sealed || !s.Durable || s.Next > v.stable || s.Next <= v.manifest.End() || s.Next <= v.start {
				t.Fatalf("uploads %+v", s)
			}
		}
	})
}

func drawView(t *rapid.T, now time.Time) *view {
	v := &view{now: now}
	small := rapid.Int64Range(1, 10)
	end := kafka.Offset(0)
	var entries []manifest.Entry
	for range rapid.IntRange(0, 5).Draw(t, "remote") {
		e := manifest.Entry{Base: end, Next: end + kafka.Offset(small.Draw(t, "offsets")), DataSize: 1, Size: small.Draw(t, "size")}
		e.MaxTimestamp = rapid.Int64Range(0, 1_000_000).Draw(t, "ts")
		end = e.Next
		entries = append(entries, e)
	}
	m, err := manifest.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	v.manifest = m
	base := kafka.Offset(rapid.Int64Range(0, int64(end)).Draw(t, "local base"))
	n := rapid.IntRange(0, 5).Draw(t, "local")
	for i := range n + 1 {
		s := hot.SegmentInfo{Base: base, Next: base + kafka.Offset(small.Draw(t, "offsets")), Size: small.Draw(t, "size")}
		s.MaxTimestamp = rapid.Int64Range(0, 1_000_000).Draw(t, "ts")
		s.Sealed = i < n
		s.Durable = s.Sealed && rapid.IntRange(0, 5).Draw(t, "durable") > 0
		base = s.Next
		v.segments = append(v.segments, s)
	}
	v.stable = kafka.Offset(rapid.Int64Range(int64(m.End()), max(int64(base), int64(m.End()))).Draw(t, "stable"))
	v.start = kafka.Offset(rapid.Int64Range(0, int64(v.stable)).Draw(t, "start"))
	limit := rapid.Custom(func(t *rapid.T) Retention {
		return Retention{
			Age:   time.Duration(rapid.Int64Range(-1, 1000).Draw(t, "age")) * time.Second,
			Bytes: rapid.Int64Range(-1, 60).Draw(t, "bytes"),
		}
	})
	v.policy = Policy{Remote: true, Retention: limit.Draw(t, "retention"), LocalRetention: limit.Draw(t, "local retention")}
	return v
}

// False if: a broker that has not heard of the latest commits, or cannot know whether it has, deletes what others have uploaded.
func TestSweepByAnOldImage(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(3, 0)
		w.quorum.setHold(true)
		_, stop := w.start(Config{})
		after(time.Minute)
		stop()
		after(48 * time.Hour)
		before := w.objects()
		if len(before) == 0 {
			t.Fatal("nothing was uploaded")
		}
		behind := New(w.bucket, w.quorum, w.quorum, Config{Cluster: cluster}, time.Now, slog.New(slog.DiscardHandler))
		cutOff := errors.New("no leader")
		w.quorum.current = func() error { return cutOff }
		if r, err := behind.Sweep(t.Context(), time.Hour, false); !errors.Is(err, cutOff) || r.Deleted > 0 {
			t.Errorf("cut off: %+v, %v", r, err)
		}
		w.quorum.current = func() error { w.quorum.setHold(false); return nil }
		if r, err := behind.Sweep(t.Context(), time.Hour, false); err != nil || r.Orphans > 0 {
			t.Errorf("behind: %+v, %v", r, err)
		}
		if got := w.objects(); len(got) != len(before) {
			t.Errorf("%d objects are left of %d", len(got), len(before))
		}
	})
}
