package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/producer"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Transaction is what a partition must know of the transaction that a batch is of.
type Transaction struct {
	// Verify tells whether the transaction is under way and has this partition; asked between two appends, only of a batch
	// that would be the first of its producer's transaction here. It must not block.
	Verify func() error
	// FromZero says that the producer's epoch grows with every transaction (KIP-890), so that the first batch here has the
	// sequence 0: another one has overtaken it.
	FromZero bool
}

// ProduceWithin is Produce of a batch of a transaction.
func (p *Partition) ProduceWithin(t Transaction, records []byte, seen *batch.Checked, acks Acks, timeout time.Duration, w Waiter, slot int) {
	p.produce(&t, records, seen, acks, timeout, w, slot)
}

// Enlists tells whether the batch, were it appended now, would be the first of its producer's transaction in this partition: then
// the transaction has to be known to have the partition.
func (p *Partition) Enlists(records []byte) bool {
	if len(records) < batch.HeaderLen {
		return false
	}
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	opens, _ := p.producers.Opens(batch.View(records))
	return opens
}

// admit decides whether a batch fits to the transactions here, once it is known to be no duplicate. t is nil for whoever speaks
// of none. appendMu is held.
func (p *Partition) admit(t *Transaction, v batch.View) error {
	if !v.Attributes().Transactional() {
		return nil
	}
	if t == nil {
		return ErrTransactional
	}
	opens, known := p.producers.Opens(v)
	if !opens {
		return nil
	}
	if t.FromZero && !known && v.BaseSequence() != 0 {
		return fmt.Errorf("%w: the transaction's first batch here has sequence %d", ErrOutOfOrderSequence, v.BaseSequence())
	}
	return t.Verify()
}

// End is what a marker says.
type End struct {
	Producer kafka.ProducerID
	Epoch    kafka.ProducerEpoch
	batch.Marker

	// Verify tells whether the marker is still to be written; asked between two appends. It must not block. nil for markers of a person,
	// which only the epochs are compared of.
	Verify func() error
}

// AppendMarker ends a producer's transaction here: w is answered as for a produce with acks=all. A marker of a producer that has no
// open transaction here is written all the same: it tells every replica, and whoever reads the log later, which epochs are past.
func (p *Partition) AppendMarker(e End, timeout time.Duration, w Waiter, slot int) {
	now := p.env.Clock()
	r := nowhere
	r.LogStart = p.log.Start()
	if int(p.isrSize.Load()) < p.MinISR() {
		err := ErrNotEnoughReplicas
		if p.LeaderEpoch() < 0 {
			err = ErrNotLeader
		}
		p.refuse(w, slot, err)
		return
	}
	v, err := e.Build(e.Producer, e.Epoch, now.UnixMilli())
	if err != nil {
		p.refuse(w, slot, fmt.Errorf("build marker: %w", err))
		return
	}
	next, tenure, err := p.mark(e, v, now)
	if err != nil {
		p.refuse(w, slot, err)
		return
	}
	p.decided()
	p.appended.notify(p)
	r.Base = v.BaseOffset()
	p.await(waiter{next: next, tenure: tenure, to: w, slot: slot, r: r, deadline: p.env.Deadlines.after(now, timeout)})
}

// mark appends a marker.
func (p *Partition) mark(e End, v batch.View, now time.Time) (next kafka.Offset, tenure uint64, err error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	epoch := p.LeaderEpoch()
	if epoch < 0 {
		return 0, 0, ErrNotLeader
	}
	if p.unfit != nil {
		return 0, 0, p.unfit
	}
	err = p.producers.CheckMarker(e.Producer, e.Epoch, e.Coordinator)
	if e.Verify != nil && (err == nil || errors.Is(err, ErrCoordinatorFenced)) {
		err = e.Verify() // which knows better than an epoch that anybody may have made up
	}
	if err != nil {
		return 0, 0, err
	}
	v.Stamp(p.log.End(), epoch)
	if err := p.write(v, now); err != nil {
		return 0, 0, err
	}
	return v.NextOffset(), p.tenure, nil
}

// overlapping are the aborted transactions of the local log that overlap [from, limit), by first offset, for a reader that goes no
// further than next: as many as are told at once. next is a batch border.
func overlapping(list []AbortedTxn, from, limit kafka.Offset) (found []AbortedTxn, next kafka.Offset) {
	if n := len(list); n > abortedAtOnce {
		// They lie in the order of their markers, each of which is a batch by itself.
		if i := producer.EndingFrom(list, from) + abortedAtOnce; i < n {
			limit = min(limit, list[i].Last)
		}
	}
	return producer.Overlapping(list, from, limit), limit
}

// abortedAtOnce bounds how many aborted transactions one read returns, beside those that go on behind it.
const abortedAtOnce = 1000

// load makes the producers' state out of a snapshot and the batches behind it. appendMu is held, or nobody else has p yet.
func (p *Partition) load(s tierlog.State) (*producer.State, error) {
	state, err := producer.Decode(s.Blob)
	if err != nil {
		return nil, err
	}
	earlier, err := p.abortedBefore(state, s.At)
	if err != nil {
		return nil, err
	}
	state.Precede(earlier, s.At)
	state.Forget(p.decidedFrom())
	return state, p.replay(state, s.At)
}

func (p *Partition) replay(into *producer.State, from kafka.Offset) error {
	now := p.env.Clock().UnixMilli()
	return p.log.Replay(from, func(v batch.View) error {
		into.Append(v, now)
		return nil
	})
}

// abortedBefore gathers what was aborted in the local log before what a decoded state, as of at, lists itself. Each snapshot has
// what the one before has not, and names it. Where one is missing, the batches tell.
func (p *Partition) abortedBefore(s *producer.State, at kafka.Offset) (list []AbortedTxn, err error) {
	start := p.decidedFrom()
	own, more := s.Earlier()
	for since := own; more && since > start; {
		older, err := producer.Decode(p.log.StateAt(since))
		next, again := kafka.Offset(0), false
		if err == nil {
			next, again = older.Earlier()
		}
		if err != nil || next >= since {
			return p.abortedByReplay(own)
		}
		list = append(older.Aborted(), list...)
		since, more = next, again
	}
	return list, nil
}

// decidedFrom is where the local log begins to hold what was aborted: compaction has removed it below.
func (p *Partition) decidedFrom() kafka.Offset {
	return max(p.log.Hot().Start(), p.log.CleanedTo())
}

// abortedByReplay is what was aborted in the local log before an offset, read from its batches alone.
func (p *Partition) abortedByReplay(before kafka.Offset) ([]AbortedTxn, error) {
	all := producer.New()
	if err := p.replay(all, p.log.Hot().Start()); err != nil {
		return nil, err
	}
	list := all.Aborted()
	return list[:producer.EndingFrom(list, before)], nil
}

// recalled puts a state in the place of the one before. What lies above the high watermark counts as undecided as a whole if
// there are transactions at all: the state does not tell of those whose marker is there. appendMu is held.
func (p *Partition) recalled(s *producer.State) {
	p.producers, p.unfit = s, nil
	var list []undecided
	s.Open(func(id kafka.ProducerID, first kafka.Offset) { list = append(list, undecided{id, first, noMarker}) })
	if hw, end := p.HighWatermark(), p.log.End(); hw < end && s.Transactional() {
		list = append(list, undecided{kafka.NoProducer, hw, end - 1})
	}
	p.showAborted()
	p.unstable.rebuild(list, p.HighWatermark())
}

// showAborted shows readers what was aborted. appendMu is held.
func (p *Partition) showAborted() {
	list := p.producers.Aborted()
	if len(list) == 0 {
		p.aborted.Store(nil)
		return
	}
	p.aborted.Store(&list)
}

// Aborted implements tierlog.Writers: what the footer of an object says.
func (s snapshotter) Aborted(base, next kafka.Offset) (list []segment.AbortedTxn) {
	known := s.p.aborted.Load()
	if known == nil {
		return nil
	}
	for _, a := range producer.Overlapping(*known, base, next) {
		list = append(list, segment.AbortedTxn(a))
	}
	return list
}

// AbortedTxn is an aborted transaction of a producer: a read_committed client skips its records, from First on to its marker.
type AbortedTxn = producer.Aborted
