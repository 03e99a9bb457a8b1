package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
)

// spilled is a broker with a topic "data" of one partition, most of whose segment locations are in pages of three, written under three leader
// epochs, and killed in between.
func spilled(t *testing.T) (*harness.Broker, *load) {
	t.Helper()
	b := newBroker(t, "log.retention.check.interval.ms=200", "log.segment.delete.delay.ms=0", "tier.cache.bytes=0", "tier.manifest.page.entries=3", "raft.snapshot.entries=32")
	b.Bucket = "dir:" + filepath.Join(t.TempDir(), "bucket")
	restart(t, b)
	createTopic(t, b, "data", 1, "segment.bytes=65536", "local.retention.bytes=0")
	l := newLoad(t, b, "data", 1, 1)
	for round := range 3 {
		l.send(600)
		archived(t, b)
		until(t, "no page is spilled", func() bool { return storageOf(t, b, "data").Partitions[0].Cold.Pages > round })
		l.verify(b)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		restart(t, b)
		l.verify(b)
	}
	sweptTiled(t, b)
	return b, l
}

// sweptTiled is tiled after a SIGKILL, which may have come between an object's upload and its commit, or its expiry and its
// deletion: the sweep is for those.
func sweptTiled(t *testing.T, b *harness.Broker) {
	t.Helper()
	until(t, "the sweep leaves objects that are not in use", func() bool {
		var sweep struct{ Objects, Orphans int }
		if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?grace=1s", &sweep); err != nil {
			t.Fatal(err)
		}
		p := storageOf(t, b, "data").Partitions[0]
		return len(objects(t, b)) == p.Cold.Segments+p.Cold.Pages
	})
	tiled(t, b)
}

// tiled waits until the bucket holds what the broker says: so many segments and pages of the topic, and nothing else.
func tiled(t *testing.T, b *harness.Broker) {
	t.Helper()
	var segments, pages int
	until(t, "the bucket holds something else than the storage command tells", func() bool {
		p := storageOf(t, b, "data").Partitions[0]
		segments, pages = 0, 0
		for _, name := range objects(t, b) {
			if strings.Contains(name, ".page.") {
				pages++
			} else {
				segments++
			}
		}
		return p.Cold.Segments == segments && p.Cold.Pages == pages
	})
	t.Logf("%d segments, %d pages", segments, pages)
}

// records reads a partition from its start, without a gap.
func records(t *testing.T, b *harness.Broker, from, to int64) (list []*kgo.Record) {
	t.Helper()
	cl := connect(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"data": {0: kgo.NewOffset().AtStart()}}))
	for ctx := within(t, time.Minute); from < to; {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset != from {
				t.Fatalf("offset %d, want %d", r.Offset, from)
			}
			from++
			list = append(list, r)
		})
	}
	return list
}

// Of a history in pages a lookup by time or by leader epoch would answer another offset than the records have, or the last record in time be missed.
func TestLookupsOverPages(t *testing.T) {
	b, _ := spilled(t)
	end := storageOf(t, b, "data").Partitions[0].LogEnd
	deleteRecords(t, b, "data", 0, end/5)
	list := records(t, b, end/5, end)
	admin := kadm.NewClient(connect(t, b))
	latest := list[0]
	for i, r := range list {
		if r.Timestamp.After(latest.Timestamp) {
			latest = r
		}
		if i%37 != 0 {
			continue
		}
		want := i // the first at or after the time
		for j := range list {
			if !list[j].Timestamp.Before(r.Timestamp) {
				want = j
				break
			}
		}
		answers, err := admin.ListOffsetsAfterMilli(within(t, 30*time.Second), r.Timestamp.UnixMilli(), "data")
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := answers.Lookup("data", 0); o.Err != nil || o.Offset != list[want].Offset || o.Timestamp != r.Timestamp.UnixMilli() {
			t.Fatalf("%d is found at %d (%d, %v), want %d", r.Timestamp.UnixMilli(), o.Offset, o.Timestamp, o.Err, list[want].Offset)
		}
	}
	answers, err := admin.ListMaxTimestampOffsets(within(t, 30*time.Second), "data")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := answers.Lookup("data", 0); o.Err != nil || o.Offset != latest.Offset || o.Timestamp != latest.Timestamp.UnixMilli() {
		t.Errorf("the latest is found at %d (%d, %v), want %d (%d)", o.Offset, o.Timestamp, o.Err, latest.Offset, latest.Timestamp.UnixMilli())
	}
	for i, r := range list[:len(list)-1] {
		next := list[i+1]
		if r.LeaderEpoch == next.LeaderEpoch {
			continue
		}
		var q kadm.OffsetForLeaderEpochRequest
		q.Add("data", 0, r.LeaderEpoch)
		ends, err := admin.OffsetForLeaderEpoch(within(t, 30*time.Second), q)
		if err != nil {
			t.Fatal(err)
		}
		if e := ends["data"][0]; e.Err != nil || e.LeaderEpoch != r.LeaderEpoch || e.EndOffset != next.Offset {
			t.Errorf("epoch %d ends at %d of %d (%v), want %d", r.LeaderEpoch, e.EndOffset, e.LeaderEpoch, e.Err, next.Offset)
		}
	}
	if first, last := list[0].LeaderEpoch, list[len(list)-1].LeaderEpoch; first == last {
		t.Error("all records are of one epoch")
	}
}

// A sweep would delete a page that is in use or what it names, or leave an orphaned one; or tier inspect not show what a page names.
func TestSweepOverPages(t *testing.T) {
	b, l := spilled(t)
	before, orphans := objects(t, b), 0
	for _, name := range before {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// The same under another name: neither the manifest nor a page has that UUID.
		dot := strings.LastIndexByte(name, '.')
		if err := os.WriteFile(name[:dot+1]+strings.Repeat("0f", 16), content, 0o600); err != nil {
			t.Fatal(err)
		}
		orphans++
		if strings.Contains(name, ".page.") {
			inspected(t, name)
		}
	}
	var sweep struct{ Objects, Orphans int }
	if err := b.Ask(within(t, time.Minute), "POST", "/v1/tier/sweep?grace=1ms", &sweep); err != nil {
		t.Fatal(err)
	}
	if sweep.Objects != 2*orphans || sweep.Orphans != orphans {
		t.Errorf("swept %+v, want %d orphans", sweep, orphans)
	}
	tiled(t, b)
	l.verify(b)
}

// inspected lets tier inspect show a page, and looks for the objects that it names beside it.
func inspected(t *testing.T, name string) {
	t.Helper()
	out, err := exec.CommandContext(within(t, time.Minute), qanat, "tier", "inspect", name, "-o", "json").Output()
	if err != nil {
		t.Fatalf("inspect %s: %v", name, err)
	}
	var page struct {
		Segments []struct{ UUID string }
	}
	if err := json.Unmarshal(out, &page); err != nil || len(page.Segments) != 3 {
		t.Fatalf("inspect %s: %v\n%s", name, err, out)
	}
	for _, s := range page.Segments {
		if list, _ := filepath.Glob(filepath.Join(filepath.Dir(name), "*."+s.UUID)); len(list) != 1 {
			t.Errorf("%s names segment %s: %d objects", name, s.UUID, len(list))
		}
	}
}

// A trim into a page, or retention over many, would leave objects in the bucket, or delete, hide or show a record too many; or a deleted topic leave pages.
func TestPagesExpire(t *testing.T) {
	b, _ := spilled(t)
	p := storageOf(t, b, "data").Partitions[0]
	deleteRecords(t, b, "data", 0, p.LogEnd/3)
	tiled(t, b)
	if s := storageOf(t, b, "data").Partitions[0]; s.LogStart != p.LogEnd/3 || s.Cold.Pages == 0 || s.Cold.Pages >= p.Cold.Pages || s.Cold.Bytes >= p.Cold.Bytes {
		t.Errorf("after the trim: from %d, %+v, before it %+v", s.LogStart, s.Cold, p.Cold)
	}
	records(t, b, p.LogEnd/3, p.LogEnd)

	alter(t, b, "data", "retention.bytes", "524288")
	until(t, "the log does not shrink to its limit", func() bool {
		s := storageOf(t, b, "data").Partitions[0]
		return s.LogStart > p.LogEnd/3 && s.Hot.Bytes+s.Cold.Bytes < 1<<19+3*65536
	})
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	sweptTiled(t, b)
	s := storageOf(t, b, "data").Partitions[0]
	if s.Cold.Bytes < 1<<19-3*65536 {
		t.Errorf("too much has expired: %+v", s)
	}
	records(t, b, s.LogStart, s.LogEnd)

	deleteTopic(t, b, "data")
	until(t, "objects of a deleted topic stay", func() bool { return len(objects(t, b)) == 0 })
}
