package partition

import (
	"context"
	"errors"
	"fmt"

	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// following is a stay as follower of one leadership.
type following struct {
	leader kafka.BrokerID
	epoch  kafka.LeaderEpoch
}

// Following tells whom the partition follows and under which epoch; ok is false when it does not.
func (p *Partition) Following() (leader kafka.BrokerID, epoch kafka.LeaderEpoch, ok bool) {
	if f := p.followed.Load(); f != nil {
		return f.leader, f.epoch, true
	}
	return kafka.NoBroker, kafka.NoEpoch, false
}

// Position is where a log ends, and the epoch of its last record: together they name all that it holds.
type Position struct {
	From kafka.Offset
	Last kafka.LeaderEpoch
}

// Position is where a follower fetches from. It tells the leader what is on disk here, so it is not to be used while something
// is not: flushed is false then. For whoever appends.
func (p *Partition) Position() (at Position, flushed bool) {
	end := p.log.End()
	return Position{end, p.log.LastEpoch()}, p.log.DurableEnd() >= end
}

// follows tells whether an answer still speaks of this log: it was asked for under the epoch that is followed, from where the log
// ends now. A late one of the same epoch may tell to cut what has been fetched, and acknowledged, since. appendMu is held.
func (p *Partition) follows(epoch kafka.LeaderEpoch, at Position) error {
	if now := p.followed.Load(); now == nil || now.epoch != epoch {
		return ErrFencedEpoch
	}
	if (Position{p.log.End(), p.log.LastEpoch()}) != at {
		return ErrStale
	}
	return p.unfit
}

// Fetched is what a leader has answered to a fetch from Position.
type Fetched struct {
	Epoch         kafka.LeaderEpoch // under which it was asked for
	At            Position          // from where
	Records       []byte            // the last batch may be cut short; not kept
	HighWatermark kafka.Offset
}

// AppendFetched appends what the leader sent, byte for byte, and keeps the producers' state as the leader does. The bytes are
// not durable when it returns; see tier/hot.Flusher.FlushLogs. Errors: ErrFencedEpoch when the partition does not follow under that
// epoch (any more), ErrStale, ErrCorruptBatch, ErrNoSpace, ErrStorage.
func (p *Partition) AppendFetched(f Fetched) (grew bool, err error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.follows(f.Epoch, f.At); err != nil {
		return false, err
	}
	batches, err := p.continued(f)
	if err == nil && len(batches) > 0 && p.full() {
		err = ErrNoSpace
	}
	if err == nil && len(batches) > 0 {
		err = p.appendStamped(batches)
	}
	grew = len(batches) > 0
	clear(batches)
	p.fetched = batches[:0]
	if err != nil {
		return false, err
	}
	p.ackMu.Lock()
	p.leaderHW = max(p.leaderHW, f.HighWatermark)
	p.ackMu.Unlock()
	p.advance()
	return grew, nil
}

// continued cuts the records into batches and checks that they are whole and continue the log. appendMu is held.
func (p *Partition) continued(f Fetched) ([]batch.View, error) {
	batches, next, epoch := p.fetched, p.log.End(), p.log.LastEpoch()
	for rest := f.Records; len(rest) > 0; {
		v, behind, err := batch.Next(rest)
		if errors.Is(err, batch.ErrShort) {
			break
		}
		if err == nil {
			err = v.CheckCRC()
		}
		if err != nil {
			return batches, fmt.Errorf("%w: %w", ErrCorruptBatch, err)
		}
		if v.IsGap() && v.BaseOffset() < next && v.NextOffset() > next {
			v = batch.Gap(nil, next, v.NextOffset(), v.LeaderEpoch()) // the leader has compacted what was fetched before in part
		}
		if len(batches) == 0 && v.BaseOffset() < next && v.NextOffset() > next && p.log.Hot().Start() == next {
			// The log begins in the middle of a batch: what retention or a person has deleted ended there.
			if err := p.beginAt(v.BaseOffset()); err != nil {
				return batches, err
			}
			next, epoch = v.BaseOffset(), kafka.NoEpoch
		}
		// The bytes of a fetch may be overwritten while they are sent when their leader has become a follower meanwhile: what
		// it appends then bears a later epoch.
		if v.BaseOffset() != next || v.LastOffsetDelta() < 0 || v.LeaderEpoch() < epoch || v.LeaderEpoch() > f.Epoch {
			return batches, fmt.Errorf("%w: batch of epoch %d at %d, the log of epoch %d continues at %d (leader's epoch %d)",
				ErrCorruptBatch, v.LeaderEpoch(), v.BaseOffset(), epoch, next, f.Epoch)
		}
		batches, rest = append(batches, v), behind
		next, epoch = v.NextOffset(), v.LeaderEpoch()
	}
	return batches, nil
}

func (p *Partition) beginAt(at kafka.Offset) error {
	state, err := p.log.Restart(at)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return p.recall(state)
}

// appendStamped writes batches that have their offsets. appendMu is held.
func (p *Partition) appendStamped(batches []batch.View) error {
	if err := p.keep(batches, p.env.Clock(), p.log.AppendFetched); err != nil {
		return err
	}
	p.decided()
	return nil
}

// Truncate gives up what the leader's log does not have: leader is its answer to a fetch from a position that it does not
// have, the largest epoch it knows up to that one, and where that ends. One answer may not be enough; the next fetch tells.
// ErrGone says that what is to be kept is not on the local disk: Rebase. Source: KIP-101, KIP-279.
func (p *Partition) Truncate(epoch kafka.LeaderEpoch, at Position, leader EpochEnd) error {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.follows(epoch, at); err != nil {
		return err
	}
	to := p.log.Start()
	if _, end, ok := p.log.EpochEnd(leader.Epoch); ok {
		to = min(end, max(leader.End, 0))
		if mine := p.EpochEnd(leader.Epoch); mine.Epoch != leader.Epoch {
			to = end // the leader has an epoch that is unknown here: of what was before it the next answer speaks
		}
	}
	if to >= p.log.End() {
		return nil
	}
	if to < p.log.Hot().Start() {
		return ErrGone
	}
	was, hw := p.log.End(), p.HighWatermark()
	// An unclean election can ask for a cut amid what has been compacted since.
	to, err := p.log.Hot().BorderBelow(to)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	p.lower(to)
	state, err := p.log.TruncateTo(to)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	level := p.env.Logger.Info
	if to < hw {
		level = p.env.Logger.Error // only an unclean election makes a leader of who lacks committed records
	}
	level("log truncated to the leader's", "topic", p.topic, "partition", p.id.Index, "from", was, "to", to, "high_watermark", hw, "epoch", epoch)
	return p.recall(state)
}

// Rebase begins the local log anew where the bucket ends, or where the log starts when there is nothing in the bucket: what the
// leader has on its disk no longer follows what is here. epoch is the one that is followed, kafka.NoEpoch when the partition has
// no role. ctx bounds the wait for the bucket.
func (p *Partition) Rebase(ctx context.Context, epoch kafka.LeaderEpoch) error {
	b, ok, err := p.log.Bucket(ctx)
	if err != nil {
		return err
	}
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	switch now := p.followed.Load(); {
	case p.LeaderEpoch() >= 0, epoch < 0 && now != nil, epoch >= 0 && (now == nil || now.epoch != epoch):
		return ErrFencedEpoch
	}
	was := p.log.End()
	var state tierlog.State
	if ok && b.End >= p.log.Start() {
		p.lower(b.End)
		state, err = p.log.Rebase(b)
	} else {
		p.lower(p.log.Start())
		state, err = p.log.Restart(p.log.Start())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	p.env.Logger.Info("local log begins anew", "topic", p.topic, "partition", p.id.Index, "ended_at", was, "begins_at", state.At)
	return p.recall(state)
}

// lower takes the high watermark back to at most an offset, before the log is cut there. What the leader has said of its own goes
// with it, or a flush that ends before the cut would have it go up again; the next fetch says it anew.
func (p *Partition) lower(to kafka.Offset) {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	p.leaderHW = min(p.leaderHW, to)
	if p.HighWatermark() > to {
		p.highWatermark.Store(int64(to))
		p.log.SetStable(p.LastStable())
	}
}

// recall rebuilds the producers' state after the log was cut. appendMu is held.
func (p *Partition) recall(s tierlog.State) error {
	state, err := p.load(s)
	if err != nil {
		p.unfit = fmt.Errorf("%w: rebuild producer state: %w", ErrStorage, err)
		return p.unfit
	}
	p.recalled(state)
	return nil
}

// refit tries again what recall has failed at: a disk may answer by now, or damage be mended. appendMu is held.
func (p *Partition) refit() error {
	if p.unfit == nil || p.log.Damage() != nil {
		return nil
	}
	state, err := p.log.State()
	if err != nil {
		return fmt.Errorf("%w: read producer state: %w", ErrStorage, err)
	}
	return p.recall(state)
}
