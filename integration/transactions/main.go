// Transactions measures transactions: many producers, each with a transactional id of its own, write a few records and commit, one transaction after the other.
//
//	make bench-cluster                           three nodes of each system on this machine; this program comes last
//	go run ./integration/transactions -brokers HOST:PORT,… -seconds 8 -producers 1,64,512
//
// One producer shows what a transaction takes, many show how many a cluster does. With -offsets each transaction also commits an offset of a group of its
// own, as a program does that reads, transforms and writes. One JSON line for each number of producers; in "requests" is what a broker took to answer, by
// the request's name, in milliseconds: the median and the 99th percentile.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

type options struct {
	brokers    string
	label      string
	seconds    int
	producers  string
	records    int
	partitions int
	offsets    bool
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "addresses, comma separated")
	flag.StringVar(&o.label, "label", "qanat", "who is measured")
	flag.IntVar(&o.seconds, "seconds", 8, "of each measurement")
	flag.StringVar(&o.producers, "producers", "1,64,512", "how many at once, comma separated: a measurement for each")
	flag.IntVar(&o.records, "records", 10, "in each transaction, of 100 bytes, to one partition")
	flag.IntVar(&o.partitions, "partitions", 12, "of the topic")
	flag.BoolVar(&o.offsets, "offsets", false, "commit an offset of a group within each transaction")
	flag.Parse()
	if err := run(context.Background(), &o); err != nil {
		fmt.Fprintln(os.Stderr, "transactions:", err)
		os.Exit(1)
	}
}

const topic = "transactions"

func run(ctx context.Context, o *options) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := createTopic(ctx, kadm.NewClient(cl), o); err != nil {
		return err
	}
	for _, field := range strings.Split(o.producers, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		m, err := measure(ctx, o, n)
		if err != nil {
			return fmt.Errorf("%d producers: %w", n, err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(m.told(o, n)); err != nil {
			return err
		}
	}
	return nil
}

// createTopic makes the topic, replicated as far as the cluster goes, and acknowledged by a majority.
func createTopic(ctx context.Context, adm *kadm.Client, o *options) error {
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		return err
	}
	replicas := min(len(brokers), 3)
	inSync := strconv.Itoa(replicas/2 + 1)
	_, err = adm.CreateTopic(ctx, int32(o.partitions), int16(replicas), map[string]*string{"min.insync.replicas": &inSync}, topic)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

// measured is what was seen while it counted.
type measured struct {
	mu       sync.Mutex
	counts   bool // the producers are warm
	took     []time.Duration
	requests map[int16][]time.Duration
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (m *measured) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts && e.Err() == nil {
		m.requests[key] = append(m.requests[key], e.DurationE2E())
	}
}

func (m *measured) transaction(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts {
		m.took = append(m.took, took)
	}
}

func (m *measured) count(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = on
}

func (m *measured) told(o *options, producers int) map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	requests := map[string][2]float64{}
	for key, took := range maps.All(m.requests) {
		requests[kmsg.NameForKey(key)] = [2]float64{at(took, 0.5), at(took, 0.99)}
	}
	return map[string]any{
		"label": o.label, "producers": producers, "records": o.records, "offsets": o.offsets, "transactions_s": len(m.took) / o.seconds,
		"p50_ms": at(m.took, 0.5), "p99_ms": at(m.took, 0.99), "requests": requests,
	}
}

func at(took []time.Duration, q float64) float64 {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return float64(took[min(int(q*float64(len(took))), len(took)-1)].Microseconds()) / 1000
}

// measure has n producers at work, and looks on once all of them have been through a transaction and a second has passed.
func measure(ctx context.Context, o *options, n int) (*measured, error) {
	m := &measured{requests: map[int16][]time.Duration{}}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	working, failed := errgroup.WithContext(ctx)
	var warm sync.WaitGroup
	warm.Add(n)
	for i := range n {
		working.Go(func() error { return produce(failed, o, m, i, sync.OnceFunc(warm.Done)) })
	}
	ready := make(chan struct{})
	go func() { warm.Wait(); close(ready) }()
	select {
	case <-ready:
		wait(failed, time.Second)
		m.count(true)
		wait(failed, time.Duration(o.seconds)*time.Second)
		m.count(false)
	case <-failed.Done():
	}
	stop()
	return m, working.Wait()
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// produce is the life of producer i, until ctx ends. warm is called after its first transaction.
func produce(ctx context.Context, o *options, m *measured, i int, warm func()) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(o.brokers, ",")...), kgo.TransactionalID(fmt.Sprintf("transactions-%d", i)), kgo.WithHooks(m),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.Dialer((&net.Dialer{}).DialContext),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	value := make([]byte, 100)
	for ctx.Err() == nil {
		begun := time.Now()
		err := transaction(ctx, cl, o, i, value)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		m.transaction(time.Since(begun))
		warm()
	}
	return nil
}

func transaction(ctx context.Context, cl *kgo.Client, o *options, i int, value []byte) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	records := make([]*kgo.Record, o.records)
	for j := range records {
		records[j] = &kgo.Record{Topic: topic, Partition: int32(i % o.partitions), Value: value}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	if o.offsets {
		if err := commitOffset(ctx, cl, i); err != nil {
			return err
		}
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}

// commitOffset commits an offset of a group that belongs to producer i alone.
func commitOffset(ctx context.Context, cl *kgo.Client, i int) error {
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.Generation = fmt.Sprintf("transactions-%d", i), fmt.Sprintf("transactions-%d", i), -1
	req.ProducerID, req.ProducerEpoch = id, epoch
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = 1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}
