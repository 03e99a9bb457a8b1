package log

import (
	"context"
	"fmt"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What a follower does to its log. All of it is for the goroutine that appends.

// State is a snapshot of the layer above, as of an offset. Blob is nil when there is none: the log is to be replayed from At.
type State struct {
	Blob []byte
	At   kafka.Offset
}

// AppendFetched appends stamped batches as they are, without asking for a flush: see Flush.
func (l *Log) AppendFetched(batches []batch.View) error { return l.hot.AppendQuiet(batches) }

// Hot is the local log, for Flusher.FlushLogs.
func (l *Log) Hot() *hot.Log { return l.hot }

// TruncateTo makes at, a batch border on the local disk, the log's end; see hot.Log.Truncate. The state is the newest that
// speaks of nothing beyond it.
func (l *Log) TruncateTo(at kafka.Offset) (State, error) {
	if err := l.hot.Truncate(at); err != nil {
		return State{}, err
	}
	return l.State()
}

// State is the newest state of the log's writers that speaks of nothing beyond its end.
func (l *Log) State() (State, error) {
	blob, from, err := l.hot.LatestState()
	if err != nil {
		return State{}, err
	}
	if base := l.base.Load(); blob == nil && base != nil && base.At >= from && base.At <= l.End() {
		return *base, nil
	}
	return State{blob, from}, nil
}

// StateAt is the blob of the state as of the border between two local segments; nil when there is none.
func (l *Log) StateAt(base kafka.Offset) []byte { return l.hot.StateAt(base) }

// Bucket is where the bucket ends, and what its last object's footer says of the log up to there.
type Bucket struct {
	End    kafka.Offset
	Epochs []segment.EpochStart
	State  []byte
}

// Bucket asks the bucket; ok is false when it holds nothing of the log. ctx bounds the wait.
func (l *Log) Bucket(ctx context.Context) (b Bucket, ok bool, err error) {
	m := l.Manifest()
	if m.Len() == 0 {
		return Bucket{}, false, nil
	}
	footer, err := l.cold.Footer(ctx, l.spec.Partition, m.At(m.Len()-1))
	if err != nil {
		return Bucket{}, false, fmt.Errorf("read the state of %s-%d from the bucket: %w", l.spec.Topic, l.spec.Partition.Index, err)
	}
	return Bucket{m.End(), footer.Epochs, footer.State}, true, nil
}

// Rebase gives up what is local and begins anew where the bucket ends: what lies before is read there.
func (l *Log) Rebase(b Bucket) (State, error) {
	if err := l.hot.Reset(b.End, b.Epochs); err != nil {
		return State{}, fmt.Errorf("reset local log of %s-%d: %w", l.spec.Topic, l.spec.Partition.Index, err)
	}
	l.history.Store(&b.Epochs)
	state := State{b.State, b.End}
	l.base.Store(&state)
	return state, nil
}

// Restart gives up what is local and begins anew at an offset before which nothing is known, nor kept.
func (l *Log) Restart(at kafka.Offset) (State, error) {
	if err := l.hot.Reset(at, nil); err != nil {
		return State{}, fmt.Errorf("reset local log of %s-%d: %w", l.spec.Topic, l.spec.Partition.Index, err)
	}
	l.history.Store(nil)
	l.base.Store(nil)
	return State{nil, at}, nil
}

// LastEpoch is the epoch of the last record below the end, kafka.NoEpoch when none is known.
func (l *Log) LastEpoch() kafka.LeaderEpoch {
	if epochs := l.hot.Epochs(); len(epochs) > 0 {
		return epochs[len(epochs)-1].Epoch
	}
	if h := l.history.Load(); h != nil && len(*h) > 0 {
		return (*h)[len(*h)-1].Epoch
	}
	return kafka.NoEpoch
}

// leadership is an epoch and where the log ended when it began.
type leadership struct {
	epoch kafka.LeaderEpoch
	start kafka.Offset
}

// withCurrent is the history with the leadership under way, which begins where the log ended, whether it has written anything or not.
func (l *Log) withCurrent(epochs []segment.EpochStart) []segment.EpochStart {
	now := l.leads.Load()
	if now == nil || len(epochs) > 0 && epochs[len(epochs)-1].Epoch >= now.epoch {
		return epochs
	}
	return append(epochs[:len(epochs):len(epochs)], segment.EpochStart{Epoch: now.epoch, Start: now.start})
}
