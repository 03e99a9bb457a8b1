package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/batch"
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
func (l *Log) FindTime(ctx context.Context, ts int64, limit kafka.Offset) (f Found, ok bool, err error) {
	err = l.stably(func(start, local kafka.Offset) error {
		if l.Remote() {
			f.Offset, f.Timestamp, f.Epoch, ok, err = l.cold.FindTime(ctx, l.spec.Partition, l.Manifest(), ts, start)
			if err != nil {
				return fmt.Errorf("look up time %d of %s-%d in the bucket: %w", ts, l.spec.Topic, l.spec.Partition.Index, err)
			}
			if ok && f.Offset < min(local, limit) {
				return nil
			}
		}
		f.Offset, f.Timestamp, f.Epoch, ok, err = l.hot.FindTime(ts, max(start, local), limit)
		return err
	})
	return f, ok, err
}

// MaxTimestamp returns the (first) record with the largest timestamp in [Start, limit), over both tiers; limit is on a batch
// border. It may wait for the bucket.
func (l *Log) MaxTimestamp(ctx context.Context, limit kafka.Offset) (f Found, ok bool, err error) {
	err = l.stably(func(start, local kafka.Offset) error {
		largest := int64(-1)
		at, found, err := l.hot.MaxTimestamp(max(start, local), limit)
		if err != nil {
			return err
		}
		if found {
			largest = at
		}
		if l.Remote() {
			largest, err = l.cold.MaxTimestamp(ctx, l.spec.Partition, l.Manifest(), start, min(local, limit), largest)
			if err != nil {
				return fmt.Errorf("look up the latest record of %s-%d in the bucket: %w", l.spec.Topic, l.spec.Partition.Index, err)
			}
		}
		if largest < 0 {
			f, ok = Found{}, false
			return nil
		}
		f, ok, err = l.FindTime(ctx, largest, limit)
		return err
	})
	return f, ok, err
}

// stably calls look with the log's start and the local one, and again when they moved meanwhile: what it has seen of either
// tier would leave a gap then, or show what is gone.
func (l *Log) stably(look func(start, local kafka.Offset) error) error {
	for {
		start, local := l.Start(), l.hot.Start()
		err := look(start, local)
		if errors.Is(err, hot.ErrDamaged) {
			l.well() // set aside, the damaged segments are looked at in the bucket
		}
		if l.Start() == start && l.hot.Start() == local {
			return err
		}
	}
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
	end := l.End() // before the epochs: they cover all that lies below it then, also beside an append
	epochs := l.withCurrent(l.Epochs())
	if requested < 0 || len(epochs) == 0 || requested > epochs[len(epochs)-1].Epoch {
		return kafka.NoEpoch, -1, false
	}
	if requested == epochs[len(epochs)-1].Epoch {
		return requested, end, true
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

// TimeAt is when the first record at or behind offset and below limit was written, in milliseconds, to the batch: the first
// timestamp of the one that holds it. Of what only the bucket has it is the latest of the segment's. 0: there is no record, only
// transactions' markers, which no consumer is given and so none commits. It never asks the bucket; ok is false where nobody can tell.
func (l *Log) TimeAt(offset, limit kafka.Offset) (ms int64, ok bool) {
	if offset < l.hot.Start() {
		m := l.Manifest()
		i, ok := m.Find(offset)
		if !ok {
			return 0, false
		}
		return m.At(i).Time(), true
	}
	for range mostMarkers {
		if offset >= limit {
			return 0, true
		}
		header, ok := l.headerAt(offset, limit)
		switch {
		case !ok:
			return 0, false
		case header.Attributes().Control():
			offset = header.NextOffset()
		case header.Attributes().LogAppendTime():
			return header.MaxTimestamp(), true
		default:
			return header.BaseTimestamp(), header.BaseTimestamp() > 0
		}
	}
	return 0, false
}

// mostMarkers is how many markers in a row TimeAt passes over.
const mostMarkers = 100

// headerAt reads the header of the local batch that holds offset.
func (l *Log) headerAt(offset, limit kafka.Offset) (batch.View, bool) {
	run, err := l.hot.Read(offset, limit, batch.HeaderLen)
	if err != nil {
		return nil, false
	}
	defer run.Release()
	header := make(batch.View, batch.HeaderLen)
	switch {
	case run.N < batch.HeaderLen:
		return nil, false
	case run.Bytes != nil:
		copy(header, run.Bytes)
	default:
		if _, err := run.File.ReadAt(header, run.Pos); err != nil {
			return nil, false
		}
	}
	return header, true
}
