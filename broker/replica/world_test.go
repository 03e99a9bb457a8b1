package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// host is a broker's partitions on a disk in memory, as leader or as follower. It lives in a synctest bubble.
type host struct {
	t       *testing.T
	node    kafka.BrokerID
	bucket  object.Bucket
	flusher *hot.Flusher
	cold    *cold.Reader
	archive *archive.Archive
	fs      *vfs.Faulty
	parts   map[kafka.Partition]*partition.Partition
	told    []*partition.Partition // by env.ISR
	ctx     context.Context
	running sync.WaitGroup

	mu       sync.Mutex
	manifest manifest.Manifest // of the one tiered partition
	publish  []*partition.Partition
}

var quiet = slog.New(slog.DiscardHandler)

func newHost(t *testing.T, node kafka.BrokerID, bucket object.Bucket) *host {
	t.Helper()
	h := newStillHost(t, node, bucket)
	h.running.Go(func() { _ = h.flusher.Run(h.ctx) })
	return h
}

// newStillHost is a host on which nothing is flushed but by who asks for it.
func newStillHost(t *testing.T, node kafka.BrokerID, bucket object.Bucket) *host {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	h := &host{t: t, node: node, bucket: bucket, fs: vfs.NewFaulty(vfs.NewCrash()), parts: map[kafka.Partition]*partition.Partition{}, ctx: ctx}
	if err := errors.Join(h.fs.MkdirAll("/data"), h.fs.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.flusher, err = hot.NewFlusher(h.fs, "/data", journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, time.Now, quiet, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	h.cold = cold.NewReader(bucket, "c", cold.Config{}, quiet)
	h.archive = archive.New(bucket, h, nil, archive.Config{Cluster: "c"}, time.Now, quiet)
	for _, run := range []func(context.Context) error{h.cold.Run, h.archive.Run} {
		h.running.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		for id, p := range h.parts {
			h.archive.Remove(id)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		stop()
		h.running.Wait()
		if err := h.flusher.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// id is the partition with a number.
func id(i int32) kafka.Partition { return kafka.Partition{Topic: kafka.TopicID{1}, Index: i} }

func (h *host) open(id kafka.Partition, change func(*config.Topic)) *partition.Partition {
	h.t.Helper()
	settings := &config.Topic{
		SegmentBytes: 1 << 20, MaxMessageBytes: 1 << 20, Compression: "producer", MinISR: 1,
		RetentionAge: -1, RetentionBytes: -1, LocalRetentionAge: -1, LocalRetentionBytes: -1,
		TimestampBefore: math.MaxInt64, TimestampAfter: math.MaxInt64,
	}
	if change != nil {
		change(settings)
	}
	h.mu.Lock()
	m := h.manifest
	h.mu.Unlock()
	if !settings.RemoteStorage {
		m = manifest.Manifest{}
	}
	p, _, err := partition.Open(h.ctx, partition.Env{
		Log:  tierlog.Env{Hot: hot.Env{FS: h.fs, Flusher: h.flusher, Clock: time.Now, Log: quiet}, Cold: h.cold, Log: quiet},
		Node: h.node, Clock: time.Now, ProducerExpiry: 24 * time.Hour, Deadlines: partition.NewDeadlines(time.Now), Logger: quiet,
		ISR: func(p *partition.Partition) { h.told = append(h.told, p) }, Sealed: h.archive.Poke,
	}, partition.Spec{Partition: id, Topic: "t", Dir: hot.Dir("/data", id), Settings: settings, Manifest: m})
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	h.parts[id] = p
	h.mu.Unlock()
	if settings.RemoteStorage {
		h.archive.Add(p.Log())
		h.publish = append(h.publish, p)
	}
	return p
}

func (h *host) part(id kafka.Partition) *partition.Partition {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.parts[id]
}

// CommitSegment and TrimSegments stand in for the quorum.
func (h *host) CommitSegment(_ context.Context, id kafka.Partition, e manifest.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := h.manifest.Append(e, h.parts[id].LeaderEpoch())
	if err != nil {
		return err
	}
	h.manifest = m
	for _, p := range h.publish {
		p.Publish(m, 0)
	}
	return nil
}

func (h *host) TrimSegments(context.Context, kafka.Partition, kafka.LeaderEpoch, kafka.Offset) error {
	return nil
}

// lead has the host lead a partition with one follower, node 2, which is not in sync yet.
func (h *host) lead(p *partition.Partition, epoch kafka.LeaderEpoch) {
	p.Lead(partition.Leadership{Epoch: epoch, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{1}})
}

type answer chan partition.Produced

func (a answer) Produced(_ int, r partition.Produced) { a <- r }

// produce writes a batch of some size and waits until everything is at rest.
func (h *host) produce(p *partition.Partition, size int) {
	h.t.Helper()
	var b batch.Builder
	b.Add(time.Now().UnixMilli(), nil, make([]byte, size))
	v, err := b.Build()
	if err != nil {
		h.t.Fatal(err)
	}
	a := make(answer, 1)
	p.Produce(v, nil, 1, time.Minute, a, 0)
	if r := <-a; r.Err != nil {
		h.t.Fatal(r.Err)
	}
	synctest.Wait()
}

// counts is what a leader was asked.
type counts struct {
	requests int
	named    int // partitions, over all requests
	full     int // requests that began a session
}

// tiered keeps nothing on the disk that is in the bucket.
func tiered(c *config.Topic) {
	c.RemoteStorage, c.SegmentBytes, c.LocalRetentionBytes = true, 10_000, 0
}

// history leads a partition, most of which is in the bucket.
func (h *host) history(id kafka.Partition) *partition.Partition {
	h.t.Helper()
	p := h.open(id, tiered)
	h.lead(p, 2)
	for range 100 {
		h.produce(p, 1000)
	}
	h.archive.Poke(id)
	synctest.Wait()
	return p
}

// leader answers fetches as broker/api does, with sessions; a fetch that waits is answered when the session's next comes. That package has its own tests.
type leader struct {
	h *host

	mu       sync.Mutex
	down     bool
	sessions int32
	epoch    int32
	slots    map[kafka.Partition]*kmsg.FetchRequestTopicPartition
	counts   counts
	appended chan struct{}
	next     chan struct{} // closed when another request comes
}

func newLeader(h *host) *leader {
	return &leader{h: h, slots: map[kafka.Partition]*kmsg.FetchRequestTopicPartition{}, appended: make(chan struct{}, 1), next: make(chan struct{})}
}

func (l *leader) count() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// Advanced implements partition.Listener.
func (l *leader) Advanced(*partition.Partition) {
	select {
	case l.appended <- struct{}{}:
	default:
	}
}

func (l *leader) Request(ctx context.Context, node kafka.BrokerID, r kmsg.Request) (kmsg.Response, func(), error) {
	resp, err := l.answer(ctx, node, r)
	return resp, func() {}, err
}

func (l *leader) answer(ctx context.Context, node kafka.BrokerID, r kmsg.Request) (kmsg.Response, error) {
	req := r.(*kmsg.FetchRequest)
	if node != l.h.node {
		return nil, fmt.Errorf("asked node %d", node)
	}
	wait := time.NewTimer(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	defer wait.Stop()
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = req.Version
	next, err := l.take(req, resp)
	if err != nil || resp.ErrorCode != 0 || resp.SessionID == 0 {
		return resp, err
	}
	for {
		if l.read(req, resp); len(resp.Topics) > 0 {
			return resp, nil
		}
		select {
		case <-l.appended:
		case <-wait.C:
			return resp, nil
		case <-next:
			return resp, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take notes what a request says.
func (l *leader) take(req *kmsg.FetchRequest, resp *kmsg.FetchResponse) (next chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.next)
	l.next = make(chan struct{})
	if l.down {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	l.counts.requests++
	switch {
	case req.SessionEpoch == 0:
		l.counts.full++
		clear(l.slots)
		l.sessions++
		l.epoch = 0
	case req.SessionID != l.sessions || req.SessionEpoch != l.epoch+1:
		resp.ErrorCode = kerr.FetchSessionIDNotFound.Code
		return nil, nil
	default:
		l.epoch++
	}
	resp.SessionID = l.sessions
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			l.counts.named++
			key := kafka.Partition{Topic: t.TopicID, Index: p.Partition}
			l.slots[key] = p
			if part := l.h.part(key); part != nil {
				_, _ = part.ReplicaFetched(partition.Replica{ID: 2, Epoch: kafka.BrokerEpoch(req.ReplicaState.Epoch)}, kafka.LeaderEpoch(p.CurrentLeaderEpoch),
					partition.Position{From: kafka.Offset(p.FetchOffset), Last: kafka.LeaderEpoch(p.LastFetchedEpoch)})
				part.SubscribeAppends(l)
			}
		}
	}
	for i := range req.ForgottenTopics {
		for _, index := range req.ForgottenTopics[i].Partitions {
			delete(l.slots, kafka.Partition{Topic: req.ForgottenTopics[i].TopicID, Index: index})
		}
	}
	if len(l.slots) == 0 {
		resp.SessionID = 0 // nothing is left of it
	}
	return l.next, nil
}

// read answers with what there is.
func (l *leader) read(req *kmsg.FetchRequest, resp *kmsg.FetchResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, want := range l.slots {
		got := kmsg.NewFetchResponseTopicPartition()
		got.Partition = key.Index
		p := l.h.part(key)
		if p == nil {
			got.ErrorCode = kerr.UnknownTopicID.Code
		} else {
			res, err := p.Read(partition.ReadRequest{
				From: kafka.Offset(want.FetchOffset), CurrentEpoch: kafka.LeaderEpoch(want.CurrentLeaderEpoch),
				LastFetchedEpoch: kafka.LeaderEpoch(want.LastFetchedEpoch), MaxBytes: int(want.PartitionMaxBytes), Replica: true,
			})
			got.HighWatermark, got.LogStartOffset = int64(res.HighWatermark), int64(res.LogStart)
			got.ErrorCode = codeOf(err)
			if res.Diverging != nil {
				got.DivergingEpoch.Epoch, got.DivergingEpoch.EndOffset = int32(res.Diverging.Epoch), int64(res.Diverging.End)
			}
			if res.Run.Len() > 0 {
				got.RecordBatches = make([]byte, res.Run.Len())
				if _, err := res.Run.File.ReadAt(got.RecordBatches, res.Run.Pos); err != nil {
					l.h.t.Error(err)
				}
				res.Run.Release()
			}
			if err == nil && res.Diverging == nil && got.RecordBatches == nil {
				continue
			}
		}
		t := kmsg.NewFetchResponseTopic()
		t.TopicID, t.Partitions = key.Topic, []kmsg.FetchResponseTopicPartition{got}
		resp.Topics = append(resp.Topics, t)
	}
}

func codeOf(err error) int16 {
	for is, code := range map[error]*kerr.Error{
		partition.ErrNotLeader: kerr.NotLeaderForPartition, partition.ErrFencedEpoch: kerr.FencedLeaderEpoch,
		partition.ErrUnknownEpoch: kerr.UnknownLeaderEpoch, partition.ErrOutOfRange: kerr.OffsetOutOfRange,
		partition.ErrTiered: kerr.OffsetMovedToTieredStorage,
	} {
		if errors.Is(err, is) {
			return code.Code
		}
	}
	if err != nil {
		return kerr.KafkaStorageError.Code
	}
	return 0
}

// follow starts fetchers of a host.
func follow(t *testing.T, h *host, l Leaders) *Fetchers {
	f := New(Config{Node: h.node}, l, h.flusher, func() kafka.BrokerEpoch { return 7 }, quiet)
	run(t, f)
	return f
}

func run(t *testing.T, f *Fetchers) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
}

// logOf is all bytes of a local log.
func logOf(t *testing.T, p *partition.Partition) (all string) {
	t.Helper()
	log := p.Log().Hot()
	for from := log.Start(); from < log.End(); {
		run, err := log.Read(from, log.End(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, run.Len())
		if _, err := run.File.ReadAt(b, run.Pos); err != nil {
			t.Fatal(err)
		}
		run.Release()
		for len(b) > 0 {
			v, rest, err := batch.Next(b)
			if err != nil {
				break
			}
			all, from, b = all+string(v), v.NextOffset(), rest
		}
	}
	return all
}

type (
	kafkaID     = kafka.BrokerID
	kafkaOffset = kafka.Offset
)

// next is where a run, which begins with the batch that holds from, ends.
func next(t *testing.T, run batch.Run, from kafka.Offset) kafka.Offset {
	t.Helper()
	defer run.Release()
	b := run.Bytes
	if run.File != nil {
		b = make([]byte, run.Len())
		if _, err := run.File.ReadAt(b, run.Pos); err != nil {
			t.Fatal(err)
		}
	}
	for len(b) > 0 {
		v, rest, err := batch.Next(b)
		if err != nil {
			break
		}
		if v.BaseOffset() > from || v.CheckCRC() != nil {
			t.Fatalf("a batch at %d where %d was to be", v.BaseOffset(), from)
		}
		from, b = v.NextOffset(), rest
	}
	return from
}
