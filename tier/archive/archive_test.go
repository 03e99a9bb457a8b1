package archive

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// run runs a test in a bubble of fake time.
func run(t *testing.T, partitions int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, partitions)) })
}

// False if: closed segments do not reach the bucket whole, in order, one
// object each, each with a footer that describes it.
func TestClosedSegmentsAreUploadedInOrder(t *testing.T) {
	run(t, 3, func(t *testing.T, w *world) {
		for _, p := range w.parts {
			p.log.fill(10, 0)
			p.log.append(5, 10, 0) // the active segment stays
		}
		a, stop := w.start(Config{})
		defer stop()
		after(time.Second)
		w.check()
		for _, p := range w.parts {
			if m := p.Manifest(); m.Len() != 10 || m.Start() != 0 || m.End() != 300 {
				t.Errorf("partition %d: %d entries, [%d, %d)", p.id.Index, m.Len(), m.Start(), m.End())
			}
		}
		if n := len(w.objects()); n != 30 {
			t.Errorf("%d objects", n)
		}
		if s := a.Stats(); s.Uploads != 30 || s.Commits != 30 || s.PendingBytes != 0 || s.UploadFailures != 0 {
			t.Errorf("stats %+v", s)
		}
		// A new segment goes at once when the archive is poked.
		w.parts[0].log.segment(0)
		a.Poke(w.parts[0].id)
		synctest.Wait()
		if m := w.parts[0].Manifest(); m.Len() != 11 {
			t.Errorf("poked: %d entries", m.Len())
		}
	})
}

// False if: a segment that is not wholly below the high watermark, not
// durable, or not sealed is uploaded; or anything by a broker that does not lead, or for a topic that is not tiered.
func TestOnlyStableSegmentsOfTheLeaderAreUploaded(t *testing.T) {
	run(t, 4, func(t *testing.T, w *world) {
		for _, p := range w.parts {
			p.log.fill(3, 0)
		}
		w.parts[0].set(func(p *fakePart) { p.limit = 59 }) // in the last batch of the second segment
		w.parts[1].log.segments[1].Durable = false
		w.parts[2].set(func(p *fakePart) { p.epoch = kafka.NoEpoch })
		w.parts[3].set(func(p *fakePart) { p.policy.Remote = false })
		_, stop := w.start(Config{})
		defer stop()
		after(5 * time.Minute)
		for i, want := range []int{1, 1, 0, 0} {
			if n := w.parts[i].Manifest().Len(); n != want {
				t.Errorf("partition %d: %d entries, want %d", i, n, want)
			}
		}
	})
}

// False if: a local segment is deleted before the manifest that names it is published.
func TestNothingIsReleasedBeforePublication(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.policy.LocalRetention = Retention{Age: 0, Bytes: 0}
		p.log.fill(6, 0)
		w.quorum.setHold(true)
		a, stop := w.start(Config{})
		defer stop()
		after(10 * time.Minute)
		if n := len(w.quorum.commits); n != maxJobs {
			t.Errorf("%d commits before publication, want %d", n, maxJobs)
		}
		if n := len(p.log.Segments()); n != 7 {
			t.Errorf("%d local segments, want all 7", n)
		}
		w.quorum.setHold(false)
		after(time.Minute)
		w.check()
		if n := len(p.log.Segments()); n != 1 || p.Manifest().Len() != 6 {
			t.Errorf("%d local segments, %d remote", n, p.Manifest().Len())
		}
		if a.Stats().ReleasedBytes == 0 {
			t.Error("nothing released")
		}
	})
}

// False if: local retention deletes more or less than Kafka's rules say, or
// touches segments that are not uploaded.
func TestLocalRetention(t *testing.T) {
	run(t, 2, func(t *testing.T, w *world) {
		byAge, bySize := w.parts[0], w.parts[1]
		byAge.policy.LocalRetention = Retention{Age: time.Hour, Bytes: -1}
		bySize.policy.LocalRetention = Retention{Age: -1}
		for range 5 {
			byAge.log.segment(0)
			bySize.log.segment(0)
			time.Sleep(20 * time.Minute)
		}
		one := bySize.log.Segments()[0].Size
		bySize.policy.LocalRetention.Bytes = 2*one + 1 // three segments keep it, two do not
		_, stop := w.start(Config{})
		defer stop()
		after(time.Minute) // ages are 101, 81, 61, 41, 21 minutes
		w.check()
		if n := len(byAge.log.Segments()); n != 3 {
			t.Errorf("%d local segments by age, want 2 and the active", n)
		}
		if n := len(bySize.log.Segments()); n != 4 {
			t.Errorf("%d local segments by size, want 3 and the active", n)
		}
		after(20 * time.Minute)
		if n := len(byAge.log.Segments()); n != 2 {
			t.Errorf("%d local segments later, want 1 and the active", n)
		}
	})
}

// False if: failed uploads are given up, tried without back-off, or tried
// under a name that was used before; or they leave more than orphans.
func TestFailedUploadsAreRetriedUnderNewNames(t *testing.T) {
	for name, fault := range map[string]object.Fault{
		"error":       {Err: errors.New("connection reset")},
		"throttled":   {Err: object.ErrThrottled},
		"lost answer": {After: errors.New("connection reset")},
		"broken":      {Break: true, Bytes: 2000},
		"hanging":     {Hang: true},
		"stalled":     {Stall: true, Bytes: 2000},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, func(t *testing.T, w *world) {
				for _, p := range w.parts {
					p.log.fill(4, 0)
				}
				used := map[string]bool{}
				w.bucket.Add(object.Rule{Verb: object.Put, Fault: fault, Count: 20, Match: func(key string) bool {
					if used[key] {
						t.Errorf("name %s used twice", key)
					}
					used[key] = true
					return true
				}})
				a, stop := w.start(Config{})
				defer stop()
				after(time.Hour)
				w.check()
				for _, p := range w.parts {
					if p.Manifest().Len() != 4 {
						t.Errorf("partition %d: %d entries", p.id.Index, p.Manifest().Len())
					}
				}
				s := a.Stats()
				if s.UploadFailures != 20 || s.Uploads != 8 || s.PendingBytes != 0 {
					t.Errorf("stats %+v", s)
				}
				if name == "throttled" && s.Throttled != 20 {
					t.Errorf("%d throttled", s.Throttled)
				}
				// What failed attempts left was deleted as soon as that was safe.
				if n := len(w.objects()); n != 8 {
					t.Errorf("%d objects: %v", n, w.objects())
				}
			})
		})
	}
}

// False if: an upload that makes progress, however slow, is taken for a hanging one.
func TestSlowUploadsAreNotStalled(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		w.parts[0].log.append(1, 300_000, 0)
		if err := w.parts[0].log.Roll(); err != nil {
			t.Fatal(err)
		}
		a, stop := w.start(Config{BytesPerSecond: func() int64 { return 1000 }, StallTimeout: 10 * time.Second})
		defer stop()
		after(299 * time.Second)
		if n := w.parts[0].Manifest().Len(); n != 0 {
			t.Error("faster than the budget")
		}
		after(30 * time.Second)
		if s := a.Stats(); s.Uploads != 1 || s.UploadFailures != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// False if: one partition whose uploads fail or hang holds up the others for longer than a stall.
func TestAFailingPartitionDoesNotBlockOthers(t *testing.T) {
	run(t, 8, func(t *testing.T, w *world) {
		for _, p := range w.parts {
			p.log.fill(3, 0)
		}
		bad := w.parts[0].id
		w.bucket.Add(object.Rule{Verb: object.Put, Prefix: manifest.Prefix(cluster, bad), Fault: object.Fault{Hang: true}})
		a, stop := w.start(Config{StallTimeout: 30 * time.Second})
		defer stop()
		after(35 * time.Second)
		for _, p := range w.parts[1:] {
			if p.Manifest().Len() != 3 {
				t.Errorf("partition %d: %d entries", p.id.Index, p.Manifest().Len())
			}
		}
		s, ok := a.PartitionStatus(bad)
		if !ok || s.PendingBytes == 0 || s.PendingSince.IsZero() || !strings.Contains(s.LastError, errStalled.Error()) {
			t.Errorf("status %+v", s)
		}
		w.bucket.Clear()
		after(10 * time.Minute)
		if s, _ := a.PartitionStatus(bad); s.PendingBytes != 0 || !s.PendingSince.IsZero() || s.Uploading {
			t.Errorf("status after %+v", s)
		}
	})
}

// False if: a partition whose uploads fail, each of them, is not told of after a while, is told of after a short outage or a failure that the next
// attempt mends, or is still told of when one went well.
func TestWhoseUploadsHaveFailedForLong(t *testing.T) {
	run(t, 2, func(t *testing.T, w *world) {
		bad, good := w.parts[0], w.parts[1]
		a, stop := w.start(Config{})
		defer stop()
		failing := func(what string, want int) {
			t.Helper()
			list := a.Failing(time.Minute)
			if len(list) != want || want > 0 && (list[0].Partition != bad.id || list[0].LastError == "" || time.Since(list[0].FailingSince) < time.Minute) {
				t.Errorf("%s: failing are %+v", what, list)
			}
		}
		sums := func(what string, partitions int, least time.Duration) {
			t.Helper()
			if s := a.Stats(); s.Failing != partitions || s.FailingSince.IsZero() != (partitions == 0) || partitions > 0 && time.Since(s.FailingSince) < least {
				t.Errorf("%s: the sums are %d since %v", what, s.Failing, s.FailingSince)
			}
		}
		w.bucket.Add(object.Rule{Verb: object.Put, Prefix: manifest.Prefix(cluster, bad.id), Fault: object.Fault{Err: errors.New("no route to host")}})
		for _, p := range []*fakePart{bad, good} {
			p.log.fill(3, 0)
			a.Poke(p.id)
		}
		after(50 * time.Second)
		failing("for less than a minute", 0)
		sums("for less than a minute", 1, 45*time.Second)
		after(time.Minute)
		failing("for more", 1)
		sums("for more", 1, time.Minute)
		w.bucket.Clear()
		after(10 * time.Minute)
		failing("when they went through", 0)
		sums("when they went through", 0, 0)
		w.bucket.Add(object.Rule{Verb: object.Put, Count: 1, Fault: object.Fault{Err: object.ErrThrottled}})
		bad.log.fill(3, 0)
		a.Poke(bad.id)
		after(10 * time.Minute)
		failing("after a failure that was mended", 0)
	})
}

// False if: a refused upload stays in the bucket, or stops what can go on.
func TestRefusedCommitsDeleteTheirObject(t *testing.T) {
	for name, refusal := range map[string]error{"stale epoch": manifest.ErrStaleEpoch, "not contiguous": manifest.ErrNotContiguous} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, func(t *testing.T, w *world) {
				p := w.parts[0]
				p.log.fill(6, 0)
				refused := 0
				w.quorum.fail = func(e manifest.Entry) error {
					if refused++; refused <= 2 {
						return fmt.Errorf("commit: %w", refusal)
					}
					return nil
				}
				a, stop := w.start(Config{})
				defer stop()
				after(10 * time.Minute)
				w.check()
				if n, o := p.Manifest().Len(), len(w.objects()); n != 6 || o != 6 {
					t.Errorf("%d entries, %d objects", n, o)
				}
				if s := a.Stats(); s.Refused != 2 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// False if: an upload of a deposed leader is committed, or its later uploads carry the old epoch.
func TestANewEpochBeginsAnew(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(3, 0)
		// The quorum has moved on; this broker learns of it only later.
		w.quorum.mu.Lock()
		p.committedEpoch = 5
		w.quorum.mu.Unlock()
		a, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		if n := p.Manifest().Len(); n != 0 {
			t.Fatalf("%d entries by a deposed leader", n)
		}
		w.quorum.lead(p, 7)
		a.Poke(p.id)
		after(10 * time.Minute)
		w.check()
		for _, e := range p.Manifest().All() {
			if e.Epoch != 7 {
				t.Errorf("entry of epoch %d", e.Epoch)
			}
		}
		if n, o := p.Manifest().Len(), len(w.objects()); n != 3 || o != 3 {
			t.Errorf("%d entries, %d objects", n, o)
		}
	})
}

// False if: a commit whose answer was lost is proposed as another entry, or its object is deleted.
func TestACommitWithALostAnswerIsAskedAgain(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(3, 0)
		w.quorum.hold = true
		lost := 0
		w.quorum.lose = func(manifest.Entry) error {
			if lost++; lost <= 4 {
				return errors.New("no answer from the leader")
			}
			return nil
		}
		a, stop := w.start(Config{})
		defer stop()
		after(10 * time.Minute)
		w.quorum.setHold(false)
		after(time.Minute)
		w.check()
		if n, o := p.Manifest().Len(), len(w.objects()); n != 3 || o != 3 {
			t.Errorf("%d entries, %d objects", n, o)
		}
		if s := a.Stats(); s.Uploads != 3 || s.Deletions != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// False if: a partition that is removed while its segment's commit is under way, and a worker happens to have the segment too,
// loses the object that the commit names.
func TestACommitUnderWayKeepsItsObject(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(1, 0)
		w.put("named")
		a := New(w.bucket, w.quorum, w.quorum, Config{Cluster: cluster}, time.Now, slog.New(slog.DiscardHandler))
		a.Add(p)
		part := a.parts[p.id]
		j := &job{part: part, state: uploaded, key: "named", committing: true, running: true}
		part.jobs, part.committing, a.named["named"] = []*job{j}, true, struct{}{}
		a.Remove(p.id)
		a.work(t.Context(), j)
		if _, named := a.named["named"]; len(a.deletes.queue) != 0 || !named {
			t.Errorf("to be deleted: %v; safe from sweeps: %v", a.deletes.queue, named)
		}
		a.mu.Lock()
		j.committing = false
		a.committedOr(part, j, j.entry, nil, false)
		a.mu.Unlock()
		if _, named := a.named["named"]; len(a.deletes.queue) != 0 || named {
			t.Errorf("after the commit: to be deleted %v, still held %v", a.deletes.queue, named)
		}
	})
}

// False if: a damaged segment is uploaded, or its damage is not reported.
func TestADamagedSegmentIsNotUploaded(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		p.log.fill(3, 0)
		s := p.log.segments[1]
		s.data[len(s.data)/2] ^= 1
		a, stop := w.start(Config{})
		defer stop()
		after(time.Hour)
		if n, o := p.Manifest().Len(), len(w.objects()); n != 1 || o != 2 {
			t.Errorf("%d entries, %d objects", n, o) // the third is uploaded and waits
		}
		if len(p.damaged) == 0 || p.damaged[0] != 30 {
			t.Errorf("reported: %v", p.damaged)
		}
		if st := a.Status(); !strings.Contains(st[0].LastError, "damaged") || st[0].PendingBytes == 0 {
			t.Errorf("status %+v", st)
		}
	})
}

// False if: a new leader, whose segments have other borders, cannot go on where the old one stopped.
func TestUploadsGoOnInTheMiddleOfASegment(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		for range 3 {
			p.log.segment(0) // three batches of ten offsets each
		}
		// Another leader's segments: [0, 10) and [10, 40).
		e := manifest.Entry{Base: 0, Next: 10, Size: 2, DataSize: 1}
		m, err := manifest.New([]manifest.Entry{e, {Base: 10, Next: 40, Size: 2, DataSize: 1}})
		if err != nil {
			t.Fatal(err)
		}
		p.committed, p.manifest = m, m
		w.put(e.Key(cluster, p.id))
		_, stop := w.start(Config{})
		defer stop()
		after(time.Minute)
		m = p.Manifest()
		if m.Len() != 4 || m.At(2).Base != 40 || m.At(2).Next != 60 || m.End() != 90 {
			t.Fatalf("manifest %+v", m.Entries())
		}
		w.checkObject(p, m.At(2))
		w.checkObject(p, m.At(3))
	})
}

// False if: a partition costs a goroutine or a timer, or looks cost requests.
func TestIdlePartitionsCostNothing(t *testing.T) {
	run(t, 10_000, func(t *testing.T, w *world) {
		before := runtime.NumGoroutine()
		a, stop := w.start(Config{})
		defer stop()
		after(3 * time.Minute)
		if n := runtime.NumGoroutine() - before; n > 2 {
			t.Errorf("%d goroutines more", n)
		}
		if c := w.bucket.Counts(); c != (object.Counts{}) {
			t.Errorf("requests %+v", c)
		}
		p := w.parts[1234]
		p.log.segment(0)
		a.Poke(p.id)
		synctest.Wait()
		if p.Manifest().Len() != 1 {
			t.Error("poked partition was not looked at")
		}
	})
}

// False if: a GiB in segments of 128 MiB costs more than nine requests that
// are billed as PUT (PUT and LIST), with an hour of idling, retention and a sweep included.
func TestRequestsPerGiB(t *testing.T) {
	run(t, 1, func(t *testing.T, w *world) {
		p := w.parts[0]
		const segments = 8 // of 128 MiB; smaller here, which no request depends on
		for range segments {
			p.log.segment(0)
		}
		a, stop := w.start(Config{SweepInterval: 6 * time.Hour})
		defer stop()
		after(time.Hour)
		if _, err := a.Sweep(t.Context(), time.Minute, false); err != nil {
			t.Fatal(err)
		}
		c := w.bucket.Counts()
		if billed := c.Puts + c.Lists; billed > 9 || c.Puts != segments || c.Gets+c.Heads+c.Deletes != 0 {
			t.Errorf("%d requests for %d segments: %+v", billed, segments, c)
		}
	})
}
