package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/console"
)

// adminBackend is a broker with two topics, one of which has trouble with its bucket.
type adminBackend struct {
	console.Backend
	noBucket bool
	swept    []string
}

func (b *adminBackend) Status() console.Status { return console.Status{} }

func (b *adminBackend) Storage(_ context.Context, topic string) ([]console.TopicStorage, error) {
	all := []console.TopicStorage{
		{Topic: "events", TopicID: "id", Partitions: []console.PartitionStorage{
			{Partition: 0, Leader: 1, LeaderEpoch: 2, LogStart: 0, HighWatermark: 90, LogEnd: 100, Hot: console.Extent{Start: 60, End: 100, Bytes: 5 << 20, Segments: 2},
				Cold: console.Extent{Start: 0, End: 80, Bytes: 10 << 30, Segments: 80, Pages: 1}, Upload: console.Upload{Enabled: true, PendingBytes: 1 << 20, PendingSeconds: 130, LastError: "SlowDown"}},
			{Partition: 1, Leader: 1, LogStart: 5, HighWatermark: 5, LogEnd: 5, Hot: console.Extent{Start: 5, End: 5}},
		}},
		{Topic: "orders", TopicID: "id2", Partitions: []console.PartitionStorage{{Partition: 0, Error: "disk is gone"}, {Partition: 1, Unreadable: "offsets [0, 10): object not found"}}},
	}
	if topic == "" {
		return all, nil
	}
	for _, t := range all {
		if t.Topic == topic {
			return []console.TopicStorage{t}, nil
		}
	}
	return nil, fmt.Errorf("topic %s: %w", topic, console.ErrNotFound)
}

func (b *adminBackend) Tier(context.Context) (console.Tier, error) {
	if b.noBucket {
		return console.Tier{}, console.ErrNoBucket
	}
	return console.Tier{Bucket: "s3://b/p", Since: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC), Puts: 80, Gets: 7, Lists: 1, BytesUp: 10 << 30, BytesDown: 56 << 20, BacklogBytes: 1 << 20, BacklogSeconds: 130,
		CacheBytes: 3 << 20, HotBytes: 5 << 20, ColdBytes: 10 << 30, Uploading: 1,
		Failing: []console.TierFailure{{Topic: "events", Partition: 0, PendingBytes: 1 << 20, Error: "SlowDown", At: time.Unix(1767225600, 0)}},
		Lost:    []console.TierLoss{{Topic: "events", Partition: 0, Objects: 2, Error: "offsets [0, 10): object not found", At: time.Unix(1767225600, 0)}}}, nil
}

func (b *adminBackend) Sweep(_ context.Context, how console.HowToSweep) (console.Sweep, error) {
	if b.noBucket {
		return console.Sweep{}, console.ErrNoBucket
	}
	b.swept = append(b.swept, fmt.Sprint(how.Grace, how.DryRun))
	return console.Sweep{DryRun: how.DryRun, Objects: 82, Orphans: 2, OrphanBytes: 256 << 20, Keys: []string{"c/t/0/a", "c/t/0/b"},
		GraceSeconds: max(how.Grace, 24*time.Hour).Seconds(), Young: 6, Named: 80, Missing: 6, Lost: []console.TierLoss{{Topic: "events", Partition: 0, Objects: 6}}}, nil
}

func (b *adminBackend) Scrub() console.Scrub {
	began, finished := time.Unix(1767225600, 0).UTC(), time.Unix(1767229200, 0).UTC()
	return console.Scrub{Began: &began, Finished: &finished, Segments: 820, Bytes: 100 << 30, Suspicions: 1, Damaged: 1, Latest: b.damaged()}
}

func (b *adminBackend) damaged() []console.DamagedRecord {
	return []console.DamagedRecord{{Topic: "events", Partition: 1, Segment: 4711, Found: time.Unix(1767225700, 0), Archived: true, Error: "CRC"}}
}

func (b *adminBackend) ScrubNow(_ context.Context, topic string) (console.Scrub, error) {
	switch topic {
	case "none":
		return console.Scrub{}, fmt.Errorf("topic %s: %w", topic, console.ErrNotFound)
	case "whole":
		return console.Scrub{Segments: 3, Bytes: 3 << 20, Latest: []console.DamagedRecord{}}, nil
	case "lost":
		d := b.damaged()
		d[0].Archived = false
		return console.Scrub{Segments: 3, Bytes: 3 << 20, Damaged: 1, Latest: d}, nil
	}
	return console.Scrub{Segments: 82, Bytes: 10 << 30, Damaged: 1, Latest: b.damaged()}, nil
}

func adminPort(t *testing.T) (*cli, *adminBackend) {
	t.Helper()
	b := &adminBackend{}
	s := httptest.NewServer(console.New(console.Config{}, b, nil, slog.New(slog.DiscardHandler)).Handler())
	t.Cleanup(s.Close)
	return &cli{t: t, admin: strings.TrimPrefix(s.URL, "http://")}, b
}

// Storage and tier are shown as the admin port tells of them, and its refusals keep their reason and code.
func TestStorageAndTier(t *testing.T) {
	c, b := adminPort(t)
	c.story("", "topic", "storage")
	c.story("", "topic", "storage", "-o", "wide")
	c.story("", "topic", "storage", "events")
	c.story("", "topic", "storage", "--partitions", "-o", "wide")
	c.story("", "topic", "storage", "orders", "-o", "yaml")
	c.story("", "topic", "storage", "nothing")
	c.story("", "tier", "status")
	c.story("", "tier", "status", "-o", "json")
	c.story("", "tier", "sweep", "--dry-run", "--grace", "2h")
	c.story("", "tier", "sweep", "--grace", "0s", "--yes") // not "as the configuration says"
	c.story("", "tier", "sweep")
	c.story("", "tier", "sweep", "--yes")
	if got := strings.Join(b.swept, "; "); got != "2h0m0s true; 0s false" {
		t.Errorf("swept %s", got)
	}
	b.noBucket = true
	c.story("", "tier", "status")
	c.story("", "tier", "sweep", "-y")
	c.story("", "tier", "scrub", "--status")
	for _, topic := range []string{"whole", "events", "lost", "none"} {
		c.story("", "tier", "scrub", "--topic", topic)
	}
	c.matches("storage")
}

// Something else that listens on the admin port's address is not mistaken for it.
func TestNotTheAdminPort(t *testing.T) {
	s := httptest.NewServer(nil)
	defer s.Close()
	c := &cli{t: t, admin: s.URL}
	if r := c.run("tier", "status"); r.code != exitFailed || !strings.Contains(r.errors, "is this Qanat's admin port?") {
		t.Errorf("%+v", r)
	}
}
