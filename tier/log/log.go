package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrOutOfRange says that an offset is below Start or above the limit.
var ErrOutOfRange = errors.New("offset is outside of the log")

// ErrLoading says that the bytes are on their way from the bucket.
var ErrLoading = cold.ErrLoading

// Env is what the logs of one broker share.
type Env struct {
	Hot  hot.Env
	Cold *cold.Reader
	Log  *slog.Logger
}

// Spec is what opening a log needs to know of its partition.
type Spec struct {
	Partition kafka.Partition
	Topic     string // the name, which objects carry for people and for recovery
	Dir       string
	Hot       hot.Config
	Policy    archive.Policy
	Manifest  manifest.Manifest
	Start     kafka.Offset // log start offset that the quorum has decided
}

// Log is safe for concurrent use; Append is for one goroutine at a time.
type Log struct {
	spec Spec
	hot  *hot.Log
	cold *cold.Reader
	log  *slog.Logger
	fs   vfs.FS

	local archive.Local // hot, with appends held while it rolls
	// appends is held by whoever appends. Set before the first append.
	appends sync.Locker

	// history are the epochs of offsets that the local log no longer knows
	// of, from the last remote footer at the time of opening, or of the last Rebase.
	history atomic.Pointer[[]segment.EpochStart]
	// base is the state that the footer gave, which no file beside a segment repeats. nil when there was none.
	base atomic.Pointer[State]

	manifest atomic.Pointer[manifest.Manifest]
	policy   atomic.Pointer[archive.Policy]
	start    atomic.Int64 // Invariant: only grows
	stable   atomic.Int64 // last stable offset; segments wholly below it may be uploaded
	aborted  func(base, next kafka.Offset) []segment.AbortedTxn
	leads    atomic.Pointer[leadership] // nil while this broker does not lead
}

// Recovered is what opening found, for the layer above.
type Recovered struct {
	hot.Recovered
	// State and StateAt (of the embedded value) come from the bucket when the
	// local disk had none; the batches from StateAt on are to be replayed.
	FromBucket bool
}

// Open opens the local log and, where that is behind the bucket or has lost
// its state, takes both from the last remote segment's footer (ctx bounds
// that). onDurable is hot.Open's.
func Open(ctx context.Context, env Env, spec Spec, onDurable func(kafka.Offset)) (*Log, Recovered, error) {
	l := &Log{spec: spec, cold: env.Cold, log: env.Log, fs: env.Hot.FS}
	l.start.Store(int64(spec.Start))
	l.manifest.Store(&spec.Manifest)
	l.policy.Store(&spec.Policy)

	m := spec.Manifest
	h, found, err := hot.Open(env.Hot, spec.Dir, spec.Partition, spec.Hot, max(spec.Start, m.End()), onDurable)
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("open local log of %s-%d: %w", spec.Topic, spec.Partition.Index, err)
	}
	l.hot, l.local = h, local{h, l}
	if err := errors.Join(l.heal(), l.dropAcceptance()); err != nil {
		return nil, Recovered{}, errors.Join(err, h.Close())
	}
	l.tell()
	rec := Recovered{Recovered: found}
	if err := l.reconcile(ctx, &rec); err != nil {
		return nil, rec, errors.Join(err, h.Close())
	}
	return l, rec, nil
}

// reconcile brings a freshly opened local log in line with the bucket. Only
// damage or a person's hand makes them differ: a local log that ends before
// the bucket does, or whose snapshots are gone.
func (l *Log) reconcile(ctx context.Context, rec *Recovered) error {
	if rec.Damage != nil && l.well() {
		rec.State, rec.StateAt = nil, l.hot.Start() // what was set aside held the snapshots
	}
	m := l.Manifest()
	behind := l.hot.End() < m.End()
	stateless := rec.State == nil && m.Len() > 0 && m.End() >= l.hot.Start()
	if !behind && !stateless {
		if m.Len() > 0 && l.hot.Start() > m.End() {
			l.log.Error("local segments are missing that the bucket does not hold: reads skip the gap",
				"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "from", m.End(), "to", l.hot.Start())
		}
		return nil
	}
	last := m.At(m.Len() - 1)
	footer, err := l.cold.Footer(ctx, l.spec.Partition, last)
	if err != nil {
		return fmt.Errorf("read the state of %s-%d from the bucket: %w", l.spec.Topic, l.spec.Partition.Index, err)
	}
	l.history.Store(&footer.Epochs)
	if behind {
		l.log.Warn("local log ends before the bucket does: it begins anew behind it",
			"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "local_end", l.hot.End(), "remote_end", m.End())
		if err := l.hot.Reset(m.End(), footer.Epochs); err != nil {
			return fmt.Errorf("reset local log of %s-%d: %w", l.spec.Topic, l.spec.Partition.Index, err)
		}
	}
	rec.State, rec.StateAt, rec.FromBucket = footer.State, max(m.End(), l.hot.Start()), true
	l.base.Store(&State{rec.State, rec.StateAt})
	return nil
}

// Writers is what the layer above knows of the log's writers.
type Writers interface {
	hot.State
	// Aborted: see archive.Source.
	Aborted(base, next kafka.Offset) []segment.AbortedTxn
}

// SetState installs the source of snapshots (see hot.Log.SetState) and the lock under which appends are made: whoever
// rolls the log from outside takes it first, or a snapshot could be taken between an append and its entry in the state.
func (l *Log) SetState(s Writers, appends sync.Locker) {
	l.appends, l.aborted = appends, s.Aborted
	l.hot.SetState(s)
}

// local is the local log as the archive may use it.
type local struct {
	*hot.Log
	of *Log
}

// Roll closes the active segment, between two appends.
func (l local) Roll() error {
	if l.of.appends != nil {
		l.of.appends.Lock()
		defer l.of.appends.Unlock()
	}
	return l.Log.Roll()
}

// Replay calls f with every local batch header from the offset on.
func (l *Log) Replay(from kafka.Offset, f func(batch.View) error) error { return l.hot.Replay(from, f) }

// Append writes stamped batches that begin at End; see hot.Log.Append.
func (l *Log) Append(batches []batch.View) error { return l.hot.Append(batches) }

// Written is hot.Log's.
func (l *Log) Written() error { return l.hot.Written() }

// Start is the first offset that may be read. It only grows.
func (l *Log) Start() kafka.Offset { return kafka.Offset(l.start.Load()) }

// End is the offset that the next batch receives.
func (l *Log) End() kafka.Offset { return l.hot.End() }

// DurableEnd is the end of what survives a power cut.
func (l *Log) DurableEnd() kafka.Offset { return l.hot.DurableEnd() }

// LocalStart is the first offset on the local disk, not below Start.
func (l *Log) LocalStart() kafka.Offset { return max(l.hot.Start(), l.Start()) }

// Read is one look for data at an offset.
type Read struct {
	From  kafka.Offset
	Limit kafka.Offset // exclusive, on a batch border: the high watermark or last stable offset
	Max   int          // bytes; the first batch is whole all the same
	// Stream identifies the reader for readahead; Ready is called once, from another
	// goroutine, when Read returned ErrLoading and another try is worth it.
	Stream any
	Ready  func()
	// Aborted receives the aborted transactions that overlap the run, by first offset, when the bucket answers; of what is on
	// the local disk the layer above knows them. May be nil.
	Aborted *[]segment.AbortedTxn
}

// Read returns a run of batches that begins with the one holding r.From, or
// an empty one at the limit. It never blocks: ErrLoading says that the bucket
// has been asked. remote tells which tier answered.
func (l *Log) Read(r Read) (run batch.Run, remote bool, err error) {
	if r.From < l.Start() || r.From > r.Limit {
		return batch.Run{}, false, ErrOutOfRange
	}
	if r.From == r.Limit {
		return batch.Run{}, false, nil
	}
	for {
		local := l.hot.Start()
		if r.From >= local {
			run, err := l.hot.Read(r.From, r.Limit, r.Max)
			if errors.Is(err, hot.ErrOutOfRange) && l.hot.Start() > local {
				continue // released meanwhile: the bucket has it
			}
			if errors.Is(err, hot.ErrDamaged) && l.well() && l.hot.Start() > local {
				continue // set aside: the bucket has it
			}
			if m := l.Manifest(); errors.Is(err, hot.ErrDamaged) && archived(m, r.From) { // until heal has set the segment aside
				run, err := l.readCold(m, r)
				return run, true, err
			}
			return run, false, err
		}
		m := l.Manifest()
		if !m.Has(r.From) {
			if l.hot.Start() != local {
				continue
			}
			// A gap that reconcile reported, or the part of an old segment
			// that retention released: what follows is the next there is.
			run, err := l.hot.Read(local, r.Limit, r.Max)
			return run, false, err
		}
		run, err := l.readCold(m, r)
		return run, true, err
	}
}

func (l *Log) readCold(m manifest.Manifest, r Read) (batch.Run, error) {
	run, aborted, err := l.cold.ReadCommitted(l.spec.Partition, m, r.Stream, r.From, r.Max, r.Ready)
	if r.Aborted != nil {
		*r.Aborted = aborted
	}
	return run, err
}

// Forget drops a stream's interest in the bucket.
func (l *Log) Forget(stream any) { l.cold.Forget(stream) }

// Epochs is the partition's epoch history, oldest first.
func (l *Log) Epochs() []segment.EpochStart {
	local := l.hot.Epochs()
	history := l.history.Load()
	if history == nil || len(*history) == 0 {
		return local
	}
	merged := make([]segment.EpochStart, 0, len(*history)+len(local))
	for _, e := range *history {
		if len(local) > 0 && e.Epoch >= local[0].Epoch {
			break
		}
		merged = append(merged, e)
	}
	return append(merged, local...)
}

// SetConfig changes the local log's and the tiers' settings.
func (l *Log) SetConfig(c hot.Config, p archive.Policy) {
	l.hot.SetConfig(c)
	l.policy.Store(&p)
}

// Publish shows the log what the quorum has committed: the manifest and the log start offset.
func (l *Log) Publish(m manifest.Manifest, start kafka.Offset) {
	l.manifest.Store(&m)
	for {
		old := l.start.Load()
		if int64(start) <= old || l.start.CompareAndSwap(old, int64(start)) {
			return
		}
	}
}

// SetStable tells how far the log is replicated and decided: what lies below is never taken back, and of every transaction in it
// it is known whether it was aborted. SetEpoch tells under which epoch this broker leads, kafka.NoEpoch when it does not.
func (l *Log) SetStable(lastStable kafka.Offset) { l.stable.Store(int64(lastStable)) }

// SetEpoch is described at SetStable. Called between two appends.
func (l *Log) SetEpoch(e kafka.LeaderEpoch) {
	if e < 0 {
		l.leads.Store(nil)
		return
	}
	l.leads.Store(&leadership{e, l.End()})
}

// The methods of archive.Source.

// Partition is the partition's identity.
func (l *Log) Partition() kafka.Partition { return l.spec.Partition }

// Topic is the topic's name.
func (l *Log) Topic() string { return l.spec.Topic }

// Epoch is the leader epoch, kafka.NoEpoch while this broker does not lead.
func (l *Log) Epoch() kafka.LeaderEpoch {
	if now := l.leads.Load(); now != nil {
		return now.epoch
	}
	return kafka.NoEpoch
}

// Local is the local log.
func (l *Log) Local() archive.Local { return l.local }

// Manifest is what the bucket holds, as last published.
func (l *Log) Manifest() manifest.Manifest { return *l.manifest.Load() }

// Aborted are the aborted transactions that overlap [base, next), by first offset.
func (l *Log) Aborted(base, next kafka.Offset) []segment.AbortedTxn {
	if l.aborted == nil {
		return nil
	}
	return l.aborted(base, next)
}

// StableEnd is the last stable offset.
func (l *Log) StableEnd() kafka.Offset { return kafka.Offset(l.stable.Load()) }

// Policy is what the topic's configuration says of the tiers.
func (l *Log) Policy() archive.Policy { return *l.policy.Load() }

// Sizes are the bytes on the local disk and in the bucket.
func (l *Log) Sizes() (local, remote int64) { return l.hot.Size(), l.Manifest().Bytes() }

// Tick rolls the active segment by age. Called about once a second.
func (l *Log) Tick(time.Time) error { return errors.Join(l.heal(), l.hot.Tick()) }

// Close makes the log durable and marks it clean; Delete removes what is local.
func (l *Log) Close() error { return l.hot.Close() }

// Delete is described at Close.
func (l *Log) Delete() error { return l.hot.Delete() }
