package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// full tells that the volume has only what is kept for the metadata and for making room.
func (p *Partition) full() bool { return p.env.Full != nil && p.env.Full() }

// Produce verifies, stamps in place and appends records, which must be one
// batch, and has w answered when acks is satisfied, or with ErrTimedOut when they are not in time. The append has happened (or
// been refused) when it returns; records may be written to until w is called. seen is what was found out about them while they arrived, or nil.
func (p *Partition) Produce(records []byte, seen *batch.Checked, acks Acks, timeout time.Duration, w Waiter, slot int) {
	p.produce(nil, records, seen, acks, timeout, w, slot)
}

func (p *Partition) produce(t *Transaction, records []byte, seen *batch.Checked, acks Acks, timeout time.Duration, w Waiter, slot int) {
	if p.full() {
		p.refuse(w, slot, ErrNoSpace)
		return
	}
	settings := p.settings.Load()
	now := p.env.Clock()
	v, err := verify(records, seen, settings, now)
	if err != nil {
		p.refuse(w, slot, err)
		return
	}
	if acks == -1 && int(p.isrSize.Load()) < p.MinISR() {
		err = ErrNotEnoughReplicas
		if p.LeaderEpoch() < 0 {
			err = ErrNotLeader
		}
		p.refuse(w, slot, err)
		return
	}
	r := Produced{Base: -1, LogAppendTime: -1, LogStart: p.log.Start()}
	next, tenure, err := p.append(t, v, &r, settings, now)
	if err != nil {
		p.refuse(w, slot, err)
		return
	}
	p.appended.notify(p)
	if acks != -1 {
		if acks == 1 { // survives the process
			if err := p.log.Written(); err != nil {
				p.refuse(w, slot, fmt.Errorf("%w: %w", ErrStorage, err))
				return
			}
		}
		w.Produced(slot, r)
		return
	}
	p.await(waiter{next: next, tenure: tenure, to: w, slot: slot, r: r, deadline: p.env.Deadlines.after(now, timeout)})
}

func (p *Partition) refuse(w Waiter, slot int, err error) {
	r := Produced{Err: err, Base: -1, LogAppendTime: -1, LogStart: p.log.Start()}
	var record *batch.RecordError
	var all *keyless
	if errors.As(err, &all) {
		r.RecordErrors = all.records
	} else if errors.As(err, &record) {
		r.RecordErrors = []RecordError{{Index: record.Index, Message: record.Reason}}
	}
	w.Produced(slot, r)
}

// append gives the batch its offsets and writes it, unless it is one that the
// log holds already. next is the offset that durability has to reach, while tenure lasts.
func (p *Partition) append(t *Transaction, v batch.View, r *Produced, settings *config.Topic, now time.Time) (next kafka.Offset, tenure uint64, err error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	epoch := p.LeaderEpoch()
	if epoch < 0 {
		return 0, 0, ErrNotLeader
	}
	if p.unfit != nil {
		return 0, 0, p.unfit
	}
	if v.ProducerID() >= 0 {
		dup, err := p.producers.Check(v)
		if err != nil {
			return 0, 0, err
		}
		if dup != nil && !bugDuplicate {
			r.Base = dup.Base
			if settings.LogAppendTime {
				r.LogAppendTime = dup.TimestampMs
			}
			return dup.Last + 1, p.tenure, nil
		}
	}
	if err := p.admit(t, v); err != nil {
		return 0, 0, err
	}
	r.Base = p.log.End()
	if settings.LogAppendTime {
		r.LogAppendTime = v.MaxTimestamp()
	}
	v.Stamp(r.Base, epoch)
	if err := p.write(v, now); err != nil {
		return 0, 0, err
	}
	p.traffic.Produced.Add(int64(len(v)))
	p.traffic.Records.Add(int64(v.RecordCount()))
	return v.NextOffset(), p.tenure, nil
}

// write appends a stamped batch. appendMu is held.
func (p *Partition) write(v batch.View, now time.Time) error {
	p.scratch[0] = v
	err := p.keep(p.scratch[:], now, p.log.Append)
	p.scratch[0] = nil
	return err
}

// keep appends stamped batches and what follows from them. appendMu is held.
func (p *Partition) keep(batches []batch.View, now time.Time, append func([]batch.View) error) error {
	undo := p.unstable.before(batches)
	err := append(batches)
	if err != nil && undo != nil {
		undo(p.HighWatermark())
	}
	switch {
	case errors.Is(err, hot.ErrNoSpace):
		return ErrNoSpace
	case err != nil:
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	for _, v := range batches {
		p.producers.Append(v, now.UnixMilli())
	}
	if undo != nil {
		p.showAborted()
		for _, v := range batches {
			if v.Attributes().Control() {
				p.unstable.after(v)
			}
		}
	}
	return nil
}
