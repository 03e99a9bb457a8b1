package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/integration/journey"
)

// The tests of fault*_test.go attack a broker while clients work. FAULTS_TIME (a duration) makes those that
// repeat go on for so long, FAULTS_SEED chooses what they do; both are what integration/scripts/faults sets.

// faultsTime is how long a repeated attack lasts.
func faultsTime(t *testing.T, otherwise time.Duration) time.Duration {
	t.Helper()
	s := os.Getenv("FAULTS_TIME")
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("FAULTS_TIME: %v", err)
	}
	return d
}

// seeded is a generator whose seed is printed, so that a failure can be tried again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("FAULTS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("FAULTS_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("FAULTS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// connect is a client of b that is closed with the test.
func connect(t *testing.T, b *harness.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Listen), kgo.MetadataMinAge(100 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond })}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// createTopic makes a topic; configs are key=value.
func createTopic(t *testing.T, b *harness.Broker, topic string, partitions int, configs ...string) {
	t.Helper()
	set := map[string]*string{}
	for _, c := range configs {
		k, v, _ := strings.Cut(c, "=")
		set[k] = &v
	}
	if _, err := kadm.NewClient(connect(t, b)).CreateTopic(within(t, 30*time.Second), int32(partitions), 1, set, topic); err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
}

// load is an idempotent producer at work, and the ledger of what it was promised.
type load struct {
	t          *testing.T
	topic      string
	partitions int
	ledger     *journey.Ledger
	cl         *kgo.Client
	rng        *rand.Rand
	number     uint64
	mu         sync.Mutex
	acked      int
	progress   chan struct{} // gets a token when records are acknowledged
	halt       context.CancelFunc
	done       chan struct{}
}

// newLoad prepares a load on an existing topic that nobody else writes to.
func newLoad(t *testing.T, b *harness.Broker, topic string, partitions int, seed uint64) *load {
	t.Helper()
	return &load{
		t: t, topic: topic, partitions: partitions, ledger: journey.NewLedger(partitions), rng: rand.New(rand.NewPCG(seed, 1)),
		cl: connect(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MaxBufferedRecords(512),
			kgo.ProducerLinger(time.Millisecond), kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression())),
		progress: make(chan struct{}, 1),
	}
}

// next is a record that begins with its number.
func (l *load) next() *kgo.Record {
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 4096), l.number)
	l.number++
	for n := l.rng.IntN(2048); n > 0; n-- {
		value = append(value, byte(l.rng.Uint32()))
	}
	return &kgo.Record{Key: []byte("key"), Value: value}
}

func (l *load) produced(r *kgo.Record, err error) {
	l.ledger.Produced(r, err)
	if err != nil {
		return
	}
	l.mu.Lock()
	l.acked++
	l.mu.Unlock()
	select {
	case l.progress <- struct{}{}:
	default:
	}
}

// start produces in the background until stop.
func (l *load) start() {
	ctx, halt := context.WithCancel(context.Background())
	l.halt, l.done = halt, make(chan struct{})
	l.t.Cleanup(halt)
	go func() {
		defer close(l.done)
		for ctx.Err() == nil {
			l.cl.Produce(context.Background(), l.next(), l.produced)
		}
	}()
}

// stop ends what start began and waits until every record has its answer.
func (l *load) stop() {
	l.t.Helper()
	l.halt()
	flush := l.cl.Flush(within(l.t, 2*time.Minute))
	<-l.done
	if err := errors.Join(flush, l.cl.Flush(within(l.t, 2*time.Minute))); err != nil {
		l.t.Fatalf("producer did not get its answers: %v", err)
	}
}

// send produces n records and waits for their answers.
func (l *load) send(n int) {
	l.t.Helper()
	for range n {
		l.cl.Produce(context.Background(), l.next(), l.produced)
	}
	if err := l.cl.Flush(within(l.t, 2*time.Minute)); err != nil {
		l.t.Fatalf("producer did not get its answers: %v", err)
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// more waits until n further records are acknowledged.
func (l *load) more(n int) {
	l.t.Helper()
	ctx, want := within(l.t, time.Minute), l.count()+n
	for l.count() < want {
		select {
		case <-l.progress:
		case <-ctx.Done():
			l.t.Fatalf("produce does not go on: %d records of %d", l.count()-(want-n), n)
		}
	}
}

// verify reads everything from the beginning and compares it with what was acknowledged.
func (l *load) verify(b *harness.Broker) {
	l.t.Helper()
	if err := l.read(within(l.t, 2*time.Minute+2*faultsTime(l.t, 0)), b); err != nil {
		l.t.Fatalf("read %s back: %v", l.topic, err)
	}
	if err := l.ledger.Verdict(); err != nil {
		l.t.Fatal(err)
	}
}

// read gives every record below the high watermarks of now to the ledger.
func (l *load) read(ctx context.Context, b *harness.Broker) error {
	l.ledger.Rewind()
	parts := map[int32]kgo.Offset{}
	for p := range l.partitions {
		parts[int32(p)] = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: parts}))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, l.topic)
	if err != nil {
		return err
	}
	if err := ends.Error(); err != nil {
		return err
	}
	left, at := int64(0), map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d records are still to come: %w", left, err)
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("partition %d: %w", e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			l.ledger.Consumed(r)
			end, _ := ends.Lookup(l.topic, r.Partition)
			if at[r.Partition] <= r.Offset && r.Offset < end.Offset {
				left -= r.Offset + 1 - at[r.Partition]
				at[r.Partition] = r.Offset + 1
			}
		})
	}
	return nil
}

// storage is what the broker tells of a topic.
type storage struct {
	TopicID    string `json:"topic_id"`
	Partitions []struct {
		Partition int32 `json:"partition"`
		LogStart  int64 `json:"log_start"`
		LogEnd    int64 `json:"log_end"`
		Hot, Cold struct {
			Start, End, Bytes int64
			Segments, Pages   int
		}
		Upload struct {
			PendingBytes int64  `json:"pending_bytes"`
			LastError    string `json:"last_error"`
		}
		Error string
	}
}

func storageOf(t *testing.T, b *harness.Broker, topic string) storage {
	t.Helper()
	var list []storage
	if err := b.Ask(within(t, 20*time.Second), "GET", "/v1/storage?topic="+topic, &list); err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// until waits for a condition that nothing but asking tells.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	if err := harness.Until(within(t, 90*time.Second), func() (bool, error) { return done(), nil }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// archived waits until nothing waits for the bucket.
func archived(t *testing.T, b *harness.Broker) {
	t.Helper()
	until(t, "the archive does not catch up", func() bool {
		var s struct {
			BacklogBytes int64 `json:"backlog_bytes"`
			Uploading    int
		}
		return b.Ask(t.Context(), "GET", "/v1/tier", &s) == nil && s.BacklogBytes == 0 && s.Uploading == 0
	})
}

// partitionDir is where a partition's files are.
func partitionDir(b *harness.Broker, id string, partition int) string {
	return filepath.Join(b.Dir, "partitions", id, fmt.Sprint(partition))
}

// segments are the paths of a partition's local segments, oldest first.
func segments(t *testing.T, b *harness.Broker, id string, partition int) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(partitionDir(b, id, partition), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// restart starts a stopped broker.
func restart(t *testing.T, b *harness.Broker) {
	t.Helper()
	if err := b.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// small are configs under which segments close all the time.
var small = []string{"segment.bytes=65536", "local.retention.bytes=131072"}
