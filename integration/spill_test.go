package integration

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A topic whose segment locations lie in pages in the bucket would lose, double or reorder something: after SIGKILL, after a sweep of all that
// is not named, behind a trim into a page; or leave something in the bucket when it is deleted.
func TestSpilledManifest(t *testing.T) {
	b := newBroker(t, "log.retention.check.interval.ms=200", "tier.cache.bytes=0", "tier.manifest.page.entries=3", "raft.snapshot.entries=32")
	b.Bucket = "dir:" + filepath.Join(t.TempDir(), "bucket")
	restart(t, b)
	createTopic(t, b, "data", 2, "segment.bytes=65536", "local.retention.bytes=0")
	l := newLoad(t, b, "data", 2, 1)
	for range 2 {
		l.send(1000)
		archived(t, b)
		until(t, "no page is spilled", func() bool {
			p := storageOf(t, b, "data").Partitions
			return p[0].Cold.Pages > 0 && p[1].Cold.Pages > 0
		})
		l.verify(b)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		restart(t, b)
		l.verify(b)
	}
	if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?grace=1ms", nil); err != nil {
		t.Fatal(err)
	}
	l.verify(b)

	p, before := storageOf(t, b, "data").Partitions[0], len(objects(t, b))
	var cut kadm.Offsets
	cut.AddOffset("data", 0, p.LogEnd/2, -1)
	if _, err := kadm.NewClient(connect(t, b)).DeleteRecords(within(t, 30*time.Second), cut); err != nil {
		t.Fatal(err)
	}
	until(t, "what lies below the trim stays in the bucket", func() bool { return len(objects(t, b)) < before-p.Cold.Segments/3 })
	if s := storageOf(t, b, "data").Partitions[0]; s.LogStart != p.LogEnd/2 || s.Cold.Pages == 0 || s.Cold.Pages >= p.Cold.Pages {
		t.Errorf("after the trim: from %d, %d pages of %d", s.LogStart, s.Cold.Pages, p.Cold.Pages)
	}
	cl := connect(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"data": {0: kgo.NewOffset().AtStart()}}))
	next := p.LogEnd / 2
	for ctx := within(t, time.Minute); next < p.LogEnd; {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset != next {
				t.Fatalf("offset %d, want %d", r.Offset, next)
			}
			next++
		})
	}
	if _, err := kadm.NewClient(connect(t, b)).DeleteTopics(within(t, 30*time.Second), "data"); err != nil {
		t.Fatal(err)
	}
	until(t, "objects of a deleted topic stay", func() bool { return len(objects(t, b)) == 0 })
}
