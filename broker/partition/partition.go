package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/producer"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/hot"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Env is what the partitions of one broker share.
type Env struct {
	Log tierlog.Env
	// Node is this broker.
	Node kafka.BrokerID
	// Clock is the wall clock: append times, timestamp bounds, producer expiry.
	Clock func() time.Time
	// Sealed is told when a closed segment has become durable and replicated, so that the archive looks at once.
	Sealed func(kafka.Partition)
	// Full tells that what is left of the volume is kept for the metadata and for making room: records are refused. May be nil.
	Full func() bool
	// Deadlines is what the timeouts of produces are kept by.
	Deadlines *Deadlines
	// ISR is told that Partition.ProposeISR may have something to propose. It must not block. May be nil.
	ISR func(*Partition)
	// ProducerExpiry is producer.id.expiration.ms.
	ProducerExpiry time.Duration
	// Traffic is where a topic's traffic is counted, always the same for a name. May be nil.
	Traffic func(topic string) *Traffic
	// Traced: who waits for acks=all is told when its batch was flushed here.
	Traced bool
	Logger *slog.Logger
}

// Spec is what opening a partition needs to know.
type Spec struct {
	Partition kafka.Partition
	Topic     string
	Dir       string
	Settings  *config.Topic
	Manifest  manifest.Manifest
	LogStart  kafka.Offset
	// Only: no other broker has a replica. What can be read of a damaged log is shown then, and nothing appended; others are fetched anew.
	Only bool
}

// Partition is safe for concurrent use.
type Partition struct {
	env      Env
	id       kafka.Partition
	topic    string
	traffic  *Traffic
	log      *tierlog.Log
	settings atomic.Pointer[config.Topic]
	// leaderEpoch is kafka.NoEpoch while this broker does not lead.
	leaderEpoch atomic.Int32

	// appendMu orders appends: it guards the producers, the log's end and the scratch below.
	appendMu  sync.Mutex
	producers *producer.State
	scratch   [1]batch.View

	// unstable and aborted are what readers have to know of transactions; both follow from the batches, as producers does.
	unstable unstable
	aborted  atomic.Pointer[[]AbortedTxn] // nil: none in the local log

	// followed is whom it follows; nil while it does not. Written under both mutexes.
	followed atomic.Pointer[following]
	fetched  []batch.View // scratch of AppendFetched
	// unfit says why the producers' state is not the log's, so that nothing may be appended until Tick has mended that; nil: it is.
	unfit error

	// ackMu guards the replicas and the waiters. Never held while one is called, nor with appendMu wanted.
	ackMu    sync.Mutex
	replicas []replica // while it leads: all there are
	waiters  waiters
	watched  bool // by env.Deadlines
	// tenure counts the leaderships that ended. Written under both mutexes, so either will do to read it.
	tenure         uint64
	partitionEpoch kafka.PartitionEpoch // of the newest Lead
	epochStart     kafka.Offset         // where the log ended when the leadership began
	elr            []kafka.BrokerID
	proposed       bool         // an ISR change is under way
	unsettled      bool         // an earlier one may yet happen
	lookAgain      bool         // ProposeISR was asked while one was under way
	leaderHW       kafka.Offset // while it follows: the leader's high watermark, as it last said
	// isrSize is how many replicas are in sync, for a look without the lock.
	isrSize atomic.Int32
	// assigned is how many replicas the partition has, in sync or not; 0 until told.
	assigned atomic.Int32
	// highWatermark: see the package. Written under ackMu.
	highWatermark atomic.Int64
	rolls         rolls

	listeners listeners // hear of what consumers may read
	appended  listeners // hear of what replicas may read
}

// Open opens the partition's log and rebuilds its producer state from the
// newest snapshot and the batches behind it. ctx bounds what must be fetched from the
// bucket. The partition takes no requests until Lead.
func Open(ctx context.Context, env Env, spec Spec) (*Partition, tierlog.Recovered, error) {
	p := &Partition{env: env, id: spec.Partition, topic: spec.Topic, producers: producer.New(), traffic: &Traffic{}}
	if env.Traffic != nil {
		p.traffic = env.Traffic(spec.Topic)
	}
	p.unstable.settle()
	p.leaderEpoch.Store(int32(kafka.NoEpoch))
	p.settings.Store(spec.Settings)
	log, rec, err := tierlog.Open(ctx, env.Log, tierlog.Spec{
		Partition: spec.Partition,
		Topic:     spec.Topic,
		Dir:       spec.Dir,
		Hot:       hotConfig(spec.Settings),
		Policy:    policy(spec.Settings),
		Manifest:  spec.Manifest,
		Start:     spec.LogStart,
	}, p.flushed)
	if err != nil {
		return nil, rec, err
	}
	p.log = log
	state, err := p.load(tierlog.State{Blob: rec.State, At: rec.StateAt})
	var unfit error
	if spec.Only && errors.Is(err, hot.ErrDamaged) { // state has what lies below the damage: a transaction that is open there stays open to readers
		unfit, err = fmt.Errorf("%w: rebuild producer state: %w", ErrStorage, err), nil
	}
	if err != nil {
		err = fmt.Errorf("rebuild producer state of %s-%d: %w", spec.Topic, spec.Partition.Index, err)
		return nil, rec, errors.Join(err, log.Close()) // it may be opened again
	}
	// What the quorum knows to be deleted or in the bucket was once below the high watermark.
	p.highWatermark.Store(int64(min(max(spec.LogStart, spec.Manifest.End()), log.DurableEnd())))
	p.recalled(state)
	p.unfit = unfit
	log.SetStable(p.LastStable())
	log.SetState(snapshotter{p}, &p.appendMu)
	return p, rec, nil
}

// snapshotter is the log's source of producer snapshots. The log calls it when it rolls: within an append, from Tick, or
// for the archive, each time under appendMu.
type snapshotter struct{ p *Partition }

func (s snapshotter) Snapshot() []byte {
	end := s.p.log.End()
	s.p.rolls.add(end)
	return s.p.producers.Snapshot(end)
}

func hotConfig(t *config.Topic) hot.Config {
	return hot.Config{
		SegmentBytes:  t.SegmentBytes,
		SegmentAge:    t.SegmentAge,
		SegmentJitter: t.SegmentJitter,
		Async:         t.Async,
		Preallocate:   t.Preallocate,
	}
}

func policy(t *config.Topic) archive.Policy {
	return archive.Policy{
		Remote:         t.RemoteStorage && !t.RemoteCopyDisable,
		LocalRetention: archive.Retention{Age: t.LocalRetentionAge, Bytes: t.LocalRetentionBytes},
		Retention:      archive.Retention{Age: t.RetentionAge, Bytes: t.RetentionBytes},
	}
}

// SetSettings changes the topic's settings; they hold from the next request on.
func (p *Partition) SetSettings(t *config.Topic) {
	p.settings.Store(t)
	p.log.SetConfig(hotConfig(t), policy(t))
	p.advance() // a smaller min.insync.replicas may have been all that it waited for
	p.tellISR() // or the eligible leader replicas have to go first
}

// Publish shows the partition what the quorum has committed of its tiers.
func (p *Partition) Publish(m manifest.Manifest, start kafka.Offset) {
	moved := start > p.log.Start()
	p.log.Publish(m, start)
	if moved {
		p.listeners.notify(p)
	}
}

// Tick does what time asks for: rolls by age, forgets producers. About once a second, by one goroutine.
func (p *Partition) Tick(now time.Time) error {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	// Rolled by time, with nothing behind it that would move the high watermark: under appendMu no roll is half done.
	p.sealed(min(p.log.DurableEnd(), p.LastStable()))
	p.producers.Expire(now.Add(-p.env.ProducerExpiry).UnixMilli())
	p.producers.Forget(p.decidedFrom())
	p.showAborted()
	return errors.Join(p.refit(), p.log.Tick(now))
}

// ID is the partition's identity.
func (p *Partition) ID() kafka.Partition { return p.id }

// Topic is the topic's name.
func (p *Partition) Topic() string { return p.topic }

// Log is the partition's log, for the archive and for status.
func (p *Partition) Log() *tierlog.Log { return p.log }

// Settings are the topic's effective settings.
func (p *Partition) Settings() *config.Topic { return p.settings.Load() }

// LeaderEpoch is kafka.NoEpoch while this broker does not lead.
func (p *Partition) LeaderEpoch() kafka.LeaderEpoch { return kafka.LeaderEpoch(p.leaderEpoch.Load()) }

// LogStart is the first readable offset.
func (p *Partition) LogStart() kafka.Offset { return p.log.Start() }

// LocalEnd is the log end offset.
func (p *Partition) LocalEnd() kafka.Offset { return p.log.End() }

// Sizes are the bytes on the local disk and in the bucket.
func (p *Partition) Sizes() (local, remote int64) { return p.log.Sizes() }

// Damage is why the partition takes no records although it is open, or nil; see tierlog.Log.Damage.
func (p *Partition) Damage() error { return p.log.Damage() }

// ProducerInfo is one producer's state as DescribeProducers tells it.
type ProducerInfo struct {
	ID               kafka.ProducerID
	Epoch            kafka.ProducerEpoch
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch kafka.CoordinatorEpoch // -1: no marker yet
	TxnStart         kafka.Offset           // -1: no open transaction
}

// Producers lists the live producer states.
func (p *Partition) Producers() []ProducerInfo {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	list := make([]ProducerInfo, 0, p.producers.Len())
	p.producers.Each(func(s *producer.Producer) {
		list = append(list, ProducerInfo{
			ID: s.ID, Epoch: s.Epoch, LastSequence: s.LastSequence(), LastTimestamp: s.LastSeen,
			CoordinatorEpoch: s.Coordinator, TxnStart: s.TxnFirst,
		})
	})
	return list
}

// Close resigns and closes the log cleanly; Delete removes what is local for good.
func (p *Partition) Close() error {
	p.Resign()
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	return p.log.Close()
}

// Delete is described at Close.
func (p *Partition) Delete() error {
	p.Resign()
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	return p.log.Delete()
}
