package integration

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qanat-io/qanat/integration/harness"
)

// objects are the segments in a broker's bucket directory.
func objects(t *testing.T, b *harness.Broker) (list []string) {
	t.Helper()
	err := filepath.WalkDir(strings.TrimPrefix(b.Bucket, "dir:"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			list = append(list, path)
		}
		return nil //nolint:nilerr // what is deleted while it is listed is gone, as it should be
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// localSegments counts the segments of a topic on disk.
func localSegments(b *harness.Broker, id string) int {
	list, _ := filepath.Glob(filepath.Join(b.Dir, "partitions", id, "*", "*.log"))
	return len(list)
}

func deleting(t *testing.T, configs ...string) (*harness.Broker, *load) {
	t.Helper()
	b := newBroker(t, "log.retention.check.interval.ms=200", "log.segment.delete.delay.ms=0", "tier.cache.bytes=0")
	b.Bucket = "dir:" + filepath.Join(t.TempDir(), "bucket")
	restart(t, b)
	createTopic(t, b, "gone", 2, append(configs, "segment.bytes=65536", "local.retention.bytes=131072")...)
	l := newLoad(t, b, "gone", 2, 1)
	l.send(1000)
	archived(t, b)
	if len(objects(t, b)) == 0 {
		t.Fatal("nothing is in the bucket")
	}
	return b, l
}

// The data of a deleted topic would stay on disk or in the bucket, or be served by a topic of the same name.
func TestDeletedTopicIsGone(t *testing.T) {
	for _, kill := range []bool{false, true} {
		b, _ := deleting(t)
		id := storageOf(t, b, "gone").TopicID
		deleteTopic(t, b, "gone")
		if kill {
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
			restart(t, b)
			if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?grace=1ms", nil); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "local segments stay", func() bool { return localSegments(b, id) == 0 })
		until(t, "objects stay", func() bool { return len(objects(t, b)) == 0 })
		createTopic(t, b, "gone", 2, small...)
		anew := newLoad(t, b, "gone", 2, 7)
		anew.send(200)
		anew.verify(b)
		if anew.ledger.Read != 200 {
			t.Errorf("the new topic has %d records, 200 were sent", anew.ledger.Read)
		}
		if storageOf(t, b, "gone").TopicID == id {
			t.Error("the new topic has the old one's id")
		}
	}
}

// What retention or DeleteRecords has ended would stay on disk or in the bucket, or be served.
func TestExpiredDataIsGone(t *testing.T) {
	for name, expire := range map[string]func(t *testing.T, b *harness.Broker){
		"retention.bytes": func(t *testing.T, b *harness.Broker) { alter(t, b, "gone", "retention.bytes", "131072") },
		"retention.ms":    func(t *testing.T, b *harness.Broker) { alter(t, b, "gone", "retention.ms", "1") },
		"DeleteRecords": func(t *testing.T, b *harness.Broker) {
			for i, p := range storageOf(t, b, "gone").Partitions {
				deleteRecords(t, b, "gone", int32(i), p.LogEnd)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, l := deleting(t)
			id := storageOf(t, b, "gone").TopicID
			expire(t, b)
			until(t, "log start does not move", func() bool {
				for _, p := range storageOf(t, b, "gone").Partitions {
					if p.LogStart == 0 {
						return false
					}
				}
				return true
			})
			// What a partition may keep: two segments by its limit, one that retention leaves whole, and the one that is written to.
			until(t, "local segments stay", func() bool { return localSegments(b, id) <= 2*4 })
			until(t, "objects stay", func() bool { return len(objects(t, b)) <= 2*4 })
			starts := storageOf(t, b, "gone")
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
			restart(t, b)
			for i, p := range storageOf(t, b, "gone").Partitions {
				if p.LogStart < starts.Partitions[i].LogStart {
					t.Errorf("partition %d starts at %d after a restart, it had at %d", p.Partition, p.LogStart, starts.Partitions[i].LogStart)
				}
			}
			l.send(100)
		})
	}
}

// deleteRecords moves a partition's log start.
func deleteRecords(t *testing.T, b *harness.Broker, topic string, partition int32, before int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(topic, partition, before, -1)
	answers, err := kadm.NewClient(connect(t, b)).DeleteRecords(within(t, 30*time.Second), offsets)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatalf("delete the records of %s-%d before %d: %v", topic, partition, before, err)
	}
}

func deleteTopic(t *testing.T, b *harness.Broker, topic string) {
	t.Helper()
	if _, err := kadm.NewClient(connect(t, b)).DeleteTopic(within(t, 30*time.Second), topic); err != nil {
		t.Fatalf("delete topic %s: %v", topic, err)
	}
}

func alter(t *testing.T, b *harness.Broker, topic, key, value string) {
	t.Helper()
	answers, err := kadm.NewClient(connect(t, b)).AlterTopicConfigs(within(t, 30*time.Second), []kadm.AlterConfig{{Name: key, Value: &value}}, topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if a.Err != nil {
			t.Fatalf("set %s=%s: %v %s", key, value, a.Err, a.ErrMessage)
		}
	}
}
