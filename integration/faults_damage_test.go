package integration

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/harness"
)

// stoppedWithData is a broker that has worked on topic "data" (two partitions, tiny segments) and was stopped or killed.
func stoppedWithData(t *testing.T, kill bool, configs ...string) (*harness.Broker, *load) {
	t.Helper()
	b := startBroker(t, "log.retention.check.interval.ms=200", "tier.cache.bytes=0", "raft.snapshot.entries=32")
	createTopic(t, b, "data", 2, append([]string{"segment.bytes=65536"}, configs...)...)
	l := newLoad(t, b, "data", 2, 1)
	l.send(1000)
	if len(configs) == 0 {
		archived(t, b)
	}
	end := b.Stop
	if kill {
		end = b.Kill
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return b, l
}

func damage(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("do the damage: %v", err)
	}
}

// flip turns one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	damage(t, err)
	raw[len(raw)/2] ^= 0x10
	damage(t, os.WriteFile(path, raw, 0o644))
}

// each does something to every file that matches.
func each(t *testing.T, b *harness.Broker, pattern string, do func(path string)) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(b.Dir, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	for _, path := range list {
		do(path)
	}
}

// What can be made anew from the segments would, when it is lost or damaged, cost a record or the start.
func TestDerivedFilesLost(t *testing.T) {
	remove := func(path string) { _ = os.RemoveAll(path) }
	for name, hurt := range map[string]func(t *testing.T, b *harness.Broker){
		"index removed": func(t *testing.T, b *harness.Broker) { each(t, b, "index", remove) },
		"index flipped": func(t *testing.T, b *harness.Broker) {
			each(t, b, "index/badger/*.vlog", func(p string) { flip(t, p) })
		},
		"index manifest cut": func(t *testing.T, b *harness.Broker) {
			each(t, b, "index/badger/MANIFEST", func(p string) { damage(t, os.Truncate(p, 7)) })
		},
		"state files removed": func(t *testing.T, b *harness.Broker) { each(t, b, "partitions/*/*/*.state", remove) },
		"state files flipped": func(t *testing.T, b *harness.Broker) {
			each(t, b, "partitions/*/*/*.state", func(p string) { flip(t, p) })
		},
		"recovery checkpoint removed": func(t *testing.T, b *harness.Broker) { each(t, b, "partitions/recovery", remove) },
		"recovery checkpoint flipped": func(t *testing.T, b *harness.Broker) {
			each(t, b, "partitions/recovery", func(p string) { flip(t, p) })
		},
		"recovery checkpoint cut": func(t *testing.T, b *harness.Broker) {
			each(t, b, "partitions/recovery", func(p string) { damage(t, os.Truncate(p, 20)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kill := range []bool{false, true} {
				b, l := stoppedWithData(t, kill)
				hurt(t, b)
				restart(t, b)
				l.verify(b)
				l.send(100)
				l.verify(b)
			}
		})
	}
}

// A damaged local segment that the bucket holds would be served damaged, or take its partition out of service.
func TestArchivedSegmentDamaged(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, segment string){
		"removed": func(t *testing.T, s string) { damage(t, os.Remove(s)) },
		"cut":     func(t *testing.T, s string) { damage(t, os.Truncate(s, 1000)) },
		"empty":   func(t *testing.T, s string) { damage(t, os.Truncate(s, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			b, l := stoppedWithData(t, false)
			restart(t, b)
			id := storageOf(t, b, "data").TopicID
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			list := segments(t, b, id, 0)
			hurt(t, list[len(list)/2])
			restart(t, b)
			l.verify(b)
			until(t, "the partition stays out of service", func() bool { return storageOf(t, b, "data").Partitions[0].Error == "" })
			l.send(100)
			l.verify(b)
		})
	}
}

// flipped flips a bit in the middle of a closed segment of a broker that runs, and returns the segment's base offset.
func flipped(t *testing.T, b *harness.Broker) (victim string, base int64) {
	t.Helper()
	list := segments(t, b, storageOf(t, b, "data").TopicID, 0)
	victim = list[len(list)/2]
	flip(t, victim)
	base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(victim), ".log"), 10, 64)
	damage(t, err)
	return victim, base
}

// A bit that flipped in a closed local segment that the bucket holds would go on being served after a scrub, or lose something.
func TestFlippedBitArchived(t *testing.T) {
	b, l := stoppedWithData(t, false)
	restart(t, b)
	victim, base := flipped(t, b)
	var s scrubbed
	if err := b.Ask(within(t, time.Minute), "POST", "/v1/scrub?topic=data", &s); err != nil {
		t.Fatal(err)
	}
	if s.Damaged != 1 || len(s.Latest) != 1 || !s.Latest[0].Archived || s.Latest[0].Segment != base {
		t.Fatalf("the scrub found %+v", s)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(victim), "quarantine", filepath.Base(victim))); err != nil {
		t.Error(err)
	}
	l.verify(b)
	if p := storageOf(t, b, "data").Partitions[0]; p.Error != "" {
		t.Errorf("the partition is out of service: %s", p.Error)
	}
	l.send(100)
	l.verify(b)
}

// scrubbed is the answer of /v1/scrub.
type scrubbed struct {
	Segments, Suspicions, Damaged int64
	Latest                        []struct {
		Segment  int64
		Archived bool
	}
}

// A client that is sent damaged bytes, and asks for them again as its checksum tells it to, would be sent them for ever.
func TestFlippedBitSuspected(t *testing.T) {
	b, l := stoppedWithData(t, false)
	restart(t, b)
	_, base := flipped(t, b)
	until(t, "nobody looks at what is asked for again and again", func() bool {
		fetchAt(t, b, base)
		var s scrubbed
		damage(t, b.Ask(within(t, time.Minute), "GET", "/v1/scrub", &s))
		return s.Suspicions == 1 && s.Damaged == 1
	})
	l.verify(b)
}

// fetchAt asks for partition 0 of "data" once.
func fetchAt(t *testing.T, b *harness.Broker, offset int64) kmsg.FetchResponseTopicPartition {
	t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MaxBytes = 100, 1<<20
	rt := kmsg.NewFetchRequestTopic()
	raw, err := base64.RawURLEncoding.DecodeString(storageOf(t, b, "data").TopicID)
	damage(t, err)
	copy(rt.TopicID[:], raw)
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes = offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	cl := connect(t, b)
	defer cl.Close()
	resp, err := cl.Broker(1).Request(within(t, 10*time.Second), req)
	damage(t, err)
	topics := resp.(*kmsg.FetchResponse).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		t.Fatalf("fetched %+v", resp)
	}
	return topics[0].Partitions[0]
}

// A bit that flipped in the only copy would be served once it is known, or known no more after a restart.
func TestFlippedBitInTheOnlyCopy(t *testing.T) {
	b, _ := stoppedWithData(t, false, "remote.storage.enable=false")
	restart(t, b)
	_, base := flipped(t, b)
	var s scrubbed
	if err := b.Ask(within(t, time.Minute), "POST", "/v1/scrub", &s); err != nil || s.Damaged != 1 || s.Latest[0].Archived {
		t.Fatalf("the scrub found %+v, %v", s, err)
	}
	for range 2 {
		if p := storageOf(t, b, "data").Partitions; p[0].Error == "" || p[1].Error != "" {
			t.Errorf("partitions say %q and %q", p[0].Error, p[1].Error)
		}
		metrics, err := b.Scrape(within(t, 10*time.Second))
		damage(t, err)
		if n := metrics["qanat_partitions_damaged"]; n != 1 {
			t.Errorf("%v partitions are damaged, says the metric", n)
		}
		if p := fetchAt(t, b, base); p.ErrorCode != kerr.KafkaStorageError.Code || len(p.RecordBatches) > 0 {
			t.Errorf("fetched with code %d and %d bytes", p.ErrorCode, len(p.RecordBatches))
		}
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		restart(t, b)
	}
}

// A damaged local segment that nobody else holds would be passed over in silence, or take other partitions with it.
func TestOnlyCopyDamaged(t *testing.T) {
	b, _ := stoppedWithData(t, false, "remote.storage.enable=false")
	restart(t, b)
	id := storageOf(t, b, "data").TopicID
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	list := segments(t, b, id, 0)
	victim := list[len(list)/2]
	damage(t, os.Truncate(victim, 1000))
	restart(t, b)
	until(t, "storage does not say so", func() bool {
		s := storageOf(t, b, "data")
		return s.Partitions[0].Error != "" && s.Partitions[1].Error == ""
	})
	var status struct {
		Offline []struct {
			Topic     string
			Partition int32
			Error     string
		}
	}
	if err := b.Ask(within(t, 10*time.Second), "GET", "/v1/status", &status); err != nil || len(status.Offline) != 1 || status.Offline[0].Topic != "data" {
		t.Errorf("status says %+v (%v)", status, err)
	}
	produce := func(partition int32) error {
		impatient := connect(t, b, kgo.DefaultProduceTopic("data"), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(),
			kgo.MaxProduceRequestsInflightPerBroker(1), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		return impatient.ProduceSync(within(t, 20*time.Second), &kgo.Record{Partition: partition, Value: []byte("12345678")}).FirstErr()
	}
	if err := produce(0); err == nil {
		t.Error("a damaged partition takes records")
	}
	if err := produce(1); err != nil {
		t.Errorf("the other partition does not: %v", err)
	}
	// What docs/operations.md says to do: the damaged segment and all older ones are moved away, and the partition begins behind them.
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		if path <= victim {
			damage(t, os.Rename(path, filepath.Join(t.TempDir(), filepath.Base(path))))
		}
	}
	restart(t, b)
	if s := storageOf(t, b, "data"); s.Partitions[0].Error != "" {
		t.Errorf("after the damaged segments were moved away: %s", s.Partitions[0].Error)
	}
	if err := produce(0); err != nil {
		t.Errorf("after the damaged segments were moved away: %v", err)
	}
}

// A broker that has lost its metadata would begin anew in silence, and its topics be gone.
func TestMetadataLost(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, b *harness.Broker){
		"directory removed": func(t *testing.T, b *harness.Broker) { damage(t, os.RemoveAll(filepath.Join(b.Dir, "metadata"))) },
		"directory emptied": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/*", func(p string) { damage(t, os.RemoveAll(p)) })
		},
		"log and snapshots removed": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/log/*", func(p string) { damage(t, os.Remove(p)) })
			each(t, b, "metadata/snapshots/*", func(p string) { damage(t, os.RemoveAll(p)) })
		},
		"log removed": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/log/*", func(p string) { damage(t, os.Remove(p)) })
		},
		"log files removed": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/log/*.wal", func(p string) { damage(t, os.Remove(p)) })
		},
		"log files cut": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/log/*.wal", func(p string) { damage(t, os.Truncate(p, 100)) })
		},
		"snapshots removed": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/snapshots/*", func(p string) { damage(t, os.RemoveAll(p)) })
		},
		"snapshots flipped": func(t *testing.T, b *harness.Broker) {
			each(t, b, "metadata/snapshots/*/state.bin", func(p string) { flip(t, p) })
		},
		"identity removed": func(t *testing.T, b *harness.Broker) { damage(t, os.Remove(filepath.Join(b.Dir, "broker.json"))) },
	} {
		t.Run(name, func(t *testing.T) {
			b, l := stoppedWithData(t, false)
			restart(t, b)
			adm := kadm.NewClient(connect(t, b))
			for i := range int64(100) { // so that there are snapshots
				var offsets kadm.Offsets
				offsets.AddOffset("data", 0, i, -1)
				if err := adm.CommitAllOffsets(within(t, 20*time.Second), "g", offsets); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			hurt(t, b)
			err := b.Start(within(t, 30*time.Second))
			if err == nil { // nothing was needed of what is gone: then all of it is there
				l.verify(b)
				got, err := adm.FetchOffsets(within(t, 30*time.Second), "g")
				if o, _ := got.Lookup("data", 0); err != nil || o.At != 99 {
					t.Errorf("committed offset is %d (%v), 99 was answered", o.At, err)
				}
				return
			}
			t.Logf("refused: %s", b.Tail(1))
			if said := err.Error(); strings.Contains(said, "goroutine ") || strings.Contains(said, "not ready in time") {
				t.Errorf("no clear refusal: %v", err)
			}
		})
	}
}

// A directory that may only be read would be a riddle, or be written to all the same.
func TestReadOnlyDirectory(t *testing.T) {
	b := smallVolume(t)
	restart(t, b)
	roundTrip(t, b, "before", 10)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	remount(t, b.Dir, true)
	if err := b.Start(within(t, 30*time.Second)); err == nil {
		t.Fatal("the broker runs on a directory that it cannot write")
	}
	mustSay(t, b.Tail(1), "read-only file system", b.Dir)
	remount(t, b.Dir, false)
	restart(t, b)
	roundTrip(t, b, "before", 10)
}
