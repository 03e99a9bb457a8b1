package log

import (
	"context"
	"fmt"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Found is where a lookup by time ended.
type Found struct {
	Offset    kafka.Offset
	Timestamp int64 // milliseconds
	Epoch     kafka.LeaderEpoch
}

// Remote tells whether part of the log is in the bucket only, so that a
// lookup by time may have to wait for it.
func (l *Log) Remote() bool {
	m := l.Manifest()
	return m.Len() > 0 && l.Start() < l.hot.Start() && m.Start() < l.hot.Start()
}

// FindTime returns the first record in [Start, limit) with a timestamp of at
// least ts, exactly, over both tiers. It may wait for the bucket.
func (l *Log) FindTime(ctx context.Context, ts int64, limit kafka.Offset) (Found, bool, error) {
	local := l.hot.Start()
	if m := l.Manifest(); l.Remote() {
		offset, at, epoch, ok, err := l.cold.FindTime(ctx, l.spec.Partition, m, ts)
		if err != nil {
			return Found{}, false, fmt.Errorf("look up time %d of %s-%d in the bucket: %w", ts, l.spec.Topic, l.spec.Partition.Index, err)
		}
		if ok && offset < local && offset < limit {
			return l.atLeastStart(Found{offset, at, epoch}), true, nil
		}
	}
	offset, at, epoch, ok, err := l.hot.FindTime(ts, limit)
	if err != nil || !ok {
		return Found{}, false, err
	}
	return l.atLeastStart(Found{offset, at, epoch}), true, nil
}

// atLeastStart never answers with an offset that DeleteRecords has cut off:
// the records between the border and the next match are skipped by the reader.
func (l *Log) atLeastStart(f Found) Found {
	if start := l.Start(); f.Offset < start {
		f.Offset = start
	}
	return f
}

// MaxTimestamp returns the (first) record with the largest timestamp over both tiers.
func (l *Log) MaxTimestamp(ctx context.Context, limit kafka.Offset) (Found, bool, error) {
	offset, at, ok, err := l.hot.MaxTimestamp()
	if err != nil {
		return Found{}, false, err
	}
	largest, found := at, ok
	m := l.Manifest()
	for i := range m.Len() {
		if e := m.At(i); e.Base < l.hot.Start() && e.Next > l.Start() && (!found || e.MaxTimestamp >= largest) {
			largest, found, ok = e.MaxTimestamp, true, false
		}
	}
	switch {
	case !found:
		return Found{}, false, nil
	case ok:
		return Found{offset, at, l.EpochOf(offset)}, true, nil
	}
	return l.FindTime(ctx, largest, limit)
}

// EpochOf is the leader epoch that an offset was written under, kafka.NoEpoch when unknown.
func (l *Log) EpochOf(offset kafka.Offset) kafka.LeaderEpoch {
	epoch := kafka.NoEpoch
	for _, e := range l.Epochs() {
		if e.Start > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// EpochEnd returns the largest epoch at or below requested and the offset at
// which it ends; ok is false when the log knows of no epoch that answers.
// Source: KIP-101, KIP-279 (LeaderEpochFileCache.endOffsetFor).
func (l *Log) EpochEnd(requested kafka.LeaderEpoch) (kafka.LeaderEpoch, kafka.Offset, bool) {
	epochs := l.Epochs()
	if current := l.Epoch(); current >= 0 && (len(epochs) == 0 || epochs[len(epochs)-1].Epoch < current) {
		// A leadership that has written nothing yet begins where the log ends.
		epochs = append(epochs[:len(epochs):len(epochs)], segment.EpochStart{Epoch: current, Start: l.End()})
	}
	if requested < 0 || len(epochs) == 0 || requested > epochs[len(epochs)-1].Epoch {
		return kafka.NoEpoch, -1, false
	}
	if requested == epochs[len(epochs)-1].Epoch {
		return requested, l.End(), true
	}
	floor := requested // of an epoch older than all that is known: it ended before the first
	for i, e := range epochs {
		if e.Epoch > requested {
			return floor, epochs[i].Start, true
		}
		floor = e.Epoch
	}
	panic("log: an epoch above the requested one must exist")
}
