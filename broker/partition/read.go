package partition

import (
	"context"
	"errors"
	"fmt"

	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ReadRequest is one look for data.
type ReadRequest struct {
	From             kafka.Offset
	CurrentEpoch     kafka.LeaderEpoch // -1: unchecked (KIP-320)
	LastFetchedEpoch kafka.LeaderEpoch // -1: no check for divergence (KIP-595)
	MaxBytes         int
	Committed        bool   // up to the last stable offset
	Replica          bool   // up to the log's end, and from the local disk only
	Near             bool   // a follower will do, as far as it knows what is committed (KIP-392)
	Stream           any    // the reader, for readahead from the bucket
	Ready            func() // called once when what was Loading is here
}

// ReadResult is what was found. The watermarks hold with ErrOutOfRange too.
type ReadResult struct {
	Run                                 batch.Run // may be empty
	HighWatermark, LastStable, LogStart kafka.Offset
	Loading                             bool // Ready will be called
	Cold                                bool // the bucket answers at this offset
	Diverging                           *EpochEnd
	// Aborted are the aborted transactions that overlap Run, by first offset; told to who reads what is Committed.
	Aborted []AbortedTxn
}

// EpochEnd is a leader epoch and the offset at which it ends; {-1, -1} when undefined.
type EpochEnd struct {
	Epoch kafka.LeaderEpoch
	End   kafka.Offset
}

// CheckEpoch compares a request's current leader epoch (-1: unchecked) with
// the partition's: ErrNotLeader, ErrFencedEpoch, ErrUnknownEpoch. Source: KIP-320.
func (p *Partition) CheckEpoch(current kafka.LeaderEpoch) error {
	return CompareEpochs(p.LeaderEpoch(), current)
}

// CompareEpochs is CheckEpoch for a leader of that epoch, kafka.NoEpoch: of none.
func CompareEpochs(epoch, current kafka.LeaderEpoch) error {
	switch {
	case epoch < 0:
		return ErrNotLeader
	case current < 0 || current == epoch:
		return nil
	case current < epoch:
		return ErrFencedEpoch
	}
	return ErrUnknownEpoch
}

// checkRead is CheckEpoch, of whom is followed when a follower will do. What a follower does not have yet is no error of the reader.
func (p *Partition) checkRead(r ReadRequest) error {
	f := p.followed.Load()
	switch {
	case !r.Near || f == nil:
		return p.CheckEpoch(r.CurrentEpoch)
	case r.CurrentEpoch >= 0 && r.CurrentEpoch < f.epoch:
		return ErrNotLeader // it is sent on at once; ErrFencedEpoch would have it look for a truncation first, and here
	case r.CurrentEpoch > f.epoch:
		return ErrUnknownEpoch
	case r.From > p.log.End():
		return ErrOffsetNotAvailable
	}
	return nil
}

// Read never blocks. Errors: ErrOutOfRange, ErrNotLeader, the epochs', ErrTiered, ErrOffsetNotAvailable, ErrStorage.
func (p *Partition) Read(r ReadRequest) (ReadResult, error) {
	// The high watermark is read before the log start, so that a reader never sees start above it.
	res := ReadResult{HighWatermark: p.HighWatermark(), LastStable: p.LastStable(), LogStart: p.log.Start()}
	if err := p.checkRead(r); err != nil {
		return res, err
	}
	diverging, err := p.diverging(r.LastFetchedEpoch, r.From)
	if res.Diverging = diverging; err != nil || diverging != nil {
		return res, err
	}
	limit := res.HighWatermark
	switch {
	case r.Replica:
		if limit = p.log.End(); r.From >= p.log.Start() && r.From < p.log.Hot().Start() {
			return res, ErrTiered
		}
	case r.Committed:
		limit = res.LastStable
	}
	// Loaded behind the last stable offset, which does not move before its aborted transactions are known, and before anything
	// is read: they are forgotten once nobody can read them.
	aborted := p.aborted.Load()
	if r.From > limit && r.From <= p.log.End() {
		return res, nil // written, not yet readable
	}
	look := tierlog.Read{From: r.From, Limit: limit, Max: r.MaxBytes, Stream: r.Stream, Ready: r.Ready}
	var local []AbortedTxn
	cleaned := p.log.CleanedTo()
	if r.Committed && aborted != nil {
		local, look.Limit = overlapping(*aborted, max(r.From, cleaned), limit)
	}
	var tiered []segment.AbortedTxn
	if r.Committed {
		look.Aborted = &tiered
	}
	run, remote, err := p.log.Read(look)
	if err == nil && !remote && aborted != nil && p.log.CleanedTo() != cleaned {
		// A pass of compaction has ended meanwhile: the list may name what has gone together with its marker.
		run.Release()
		return p.Read(r)
	}
	res.Run, res.Cold = run, remote
	if res.Aborted = local; remote {
		res.Aborted = nil
		for _, a := range tiered {
			res.Aborted = append(res.Aborted, AbortedTxn(a))
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, tierlog.ErrLoading):
		res.Loading = true
	case errors.Is(err, tierlog.ErrOutOfRange):
		return res, ErrOutOfRange
	default:
		return res, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return res, nil
}

// diverging tells where the log of whoever is at from, behind a record of epoch last, parts from this one; nil: it does not. Of an
// epoch that is newer than all that are known here nothing can be said: ErrOutOfRange, as Kafka answers. Nobody has such a record
// but where older metadata was restored, and then the two logs may agree in nothing.
func (p *Partition) diverging(last kafka.LeaderEpoch, from kafka.Offset) (*EpochEnd, error) {
	if last < 0 {
		return nil, nil
	}
	switch end := p.EpochEnd(last); {
	case end.Epoch < 0:
		return nil, ErrOutOfRange
	case end.Epoch < last || end.End < from:
		return &end, nil
	}
	return nil, nil
}

// EpochEnd answers OffsetForLeaderEpoch: the largest known epoch at or below requested and where it ends.
func (p *Partition) EpochEnd(requested kafka.LeaderEpoch) EpochEnd {
	epoch, end, ok := p.log.EpochEnd(requested)
	if !ok {
		return EpochEnd{Epoch: kafka.NoEpoch, End: -1}
	}
	return EpochEnd{Epoch: epoch, End: end}
}

// The special timestamps of ListOffsets.
const (
	latest          = -1
	earliest        = -2
	maxTimestamp    = -3 // KIP-734
	earliestLocal   = -4 // KIP-405
	latestTiered    = -5 // KIP-1005
	earliestPending = -6 // KIP-1023
)

// Listed is where a timestamp was found; Offset is -1 when nothing is.
type Listed struct {
	Offset    kafka.Offset
	Timestamp int64
	Epoch     kafka.LeaderEpoch
}

// unknownEnd tells whether the high watermark of a new leadership may still lie below what was shown to clients before it: until
// it has reached what was there when the leadership began. Source: KIP-207.
func (p *Partition) unknownEnd() bool {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	return p.LeaderEpoch() >= 0 && p.HighWatermark() < p.epochStart
}

// MayBlock tells whether ListOffset for the timestamp could need the bucket.
func (p *Partition) MayBlock(timestamp int64) bool {
	return (timestamp >= 0 || timestamp == maxTimestamp) && p.log.Remote()
}

// ListOffset answers ListOffsets for a timestamp in milliseconds or one of the
// special ones, exactly, over both tiers. ctx bounds the wait for the bucket.
func (p *Partition) ListOffset(ctx context.Context, timestamp int64, committed bool) (Listed, error) {
	limit := p.HighWatermark()
	if committed {
		limit = p.LastStable()
	}
	at := func(o kafka.Offset) Listed { return Listed{Offset: o, Timestamp: -1, Epoch: p.log.EpochOf(o)} }
	nothing := Listed{Offset: -1, Timestamp: -1, Epoch: kafka.NoEpoch}
	switch timestamp {
	case latest:
		if p.unknownEnd() {
			return nothing, ErrOffsetNotAvailable
		}
		return Listed{Offset: limit, Timestamp: -1, Epoch: p.LeaderEpoch()}, nil
	case earliest:
		return at(p.log.Start()), nil
	case earliestLocal:
		return at(p.log.LocalStart()), nil
	case latestTiered:
		if m := p.log.Manifest(); m.Len() > 0 {
			return at(m.End() - 1), nil
		}
		return nothing, nil
	case earliestPending:
		if !p.Settings().RemoteStorage {
			return nothing, nil
		}
		return at(max(p.log.Manifest().End(), p.log.LocalStart())), nil
	}
	if timestamp < earliestPending {
		return nothing, fmt.Errorf("%w: timestamp %d has no meaning", ErrOutOfRange, timestamp)
	}
	var found tierlog.Found
	var ok bool
	var err error
	if timestamp == maxTimestamp {
		found, ok, err = p.log.MaxTimestamp(ctx, limit)
	} else {
		found, ok, err = p.log.FindTime(ctx, timestamp, limit)
	}
	switch {
	case err != nil:
		return nothing, fmt.Errorf("%w: %w", ErrStorage, err)
	case !ok || found.Offset >= limit:
		return nothing, nil
	}
	return Listed(found), nil
}
