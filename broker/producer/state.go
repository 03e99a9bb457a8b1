package producer

import (
	"errors"
	"math"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// remembered is how many batches of a producer are kept: max.in.flight.requests.per.connection of idempotent clients.
const remembered = 5

var (
	// ErrFenced says that a newer epoch of the producer has been seen.
	ErrFenced = errors.New("producer epoch is older than the newest seen")
	// ErrOutOfOrder says that the batch does not follow the producer's last one.
	ErrOutOfOrder = errors.New("producer sequence is out of order")
	// ErrInTransaction says that a producer with an open transaction wrote outside of it.
	ErrInTransaction = errors.New("producer has an open transaction here, which the batch is not of")
	// ErrCoordinatorFenced says that a marker comes from a coordinator that another has replaced.
	ErrCoordinatorFenced = errors.New("coordinator epoch is older than the newest seen")
)

// Batch is one remembered batch.
type Batch struct {
	FirstSequence int32
	LastSequence  int32
	Base          kafka.Offset
	Last          kafka.Offset
	TimestampMs   int64 // what LogAppendTime topics answer for a duplicate
}

// Producer is the state of one producer id.
type Producer struct {
	ID       kafka.ProducerID
	Epoch    kafka.ProducerEpoch
	LastSeen int64 // milliseconds, the broker's clock

	// TxnFirst is the first offset of the open transaction, NoTxn without one.
	TxnFirst kafka.Offset
	// Coordinator is the epoch of who wrote the newest marker, NoCoordinator before the first.
	Coordinator kafka.CoordinatorEpoch

	// ring holds the newest n batches, oldest first.
	//
	// Invariant: all were written under Epoch; sequences ascend, modulo wrap.
	ring [remembered]Batch
	n    int
}

// LastSequence is -1 when the current epoch has written nothing.
func (p *Producer) LastSequence() int32 {
	if p.n == 0 {
		return -1
	}
	return p.ring[p.n-1].LastSequence
}

// State holds the producers of one partition. Not safe for concurrent use.
type State struct {
	producers map[kafka.ProducerID]*Producer

	// open are the producers with an open transaction, by its first offset.
	open []*Producer
	// aborted: see Aborted. Shared with readers: only ever appended to, or replaced.
	aborted []Aborted
	// since is where the newest snapshot was taken: later ones need not repeat what was aborted before it.
	since kafka.Offset
	// earlier: see Earlier.
	earlier bool
}

// New returns an empty state.
func New() *State { return &State{producers: map[kafka.ProducerID]*Producer{}} }

func newProducer(id kafka.ProducerID, epoch kafka.ProducerEpoch) *Producer {
	return &Producer{ID: id, Epoch: epoch, TxnFirst: NoTxn, Coordinator: NoCoordinator}
}

// Check decides whether the batch may be appended. dup is set when it is one
// that the log holds already: it is answered with that offset, not appended.
func (s *State) Check(v batch.View) (dup *Batch, err error) {
	p := s.producers[v.ProducerID()]
	if p == nil {
		// Never seen, or forgotten: any sequence may begin (Kafka accepts it too,
		// since retention or expiry may have removed what was before).
		return nil, nil
	}
	first, last := v.BaseSequence(), lastSequence(v)
	switch epoch := v.ProducerEpoch(); {
	case epoch < p.Epoch:
		return nil, ErrFenced
	case p.TxnFirst != NoTxn && (epoch > p.Epoch || !v.Attributes().Transactional()):
		return nil, ErrInTransaction
	case epoch > p.Epoch:
		if first != 0 {
			return nil, ErrOutOfOrder
		}
		return nil, nil
	}
	for i := range p.ring[:p.n] {
		if b := &p.ring[i]; b.FirstSequence == first && b.LastSequence == last {
			return b, nil
		}
	}
	if p.n > 0 && first != next(p.LastSequence()) {
		return nil, ErrOutOfOrder
	}
	return nil, nil
}

// Append remembers a batch that has its offsets; a control batch must be whole, of others the header will do. Batches of no
// producer are ignored.
func (s *State) Append(v batch.View, nowMs int64) {
	id := v.ProducerID()
	if id < 0 {
		return
	}
	if v.Attributes().Control() {
		s.mark(v, nowMs)
		return
	}
	p := s.producers[id]
	if p == nil {
		p = newProducer(id, v.ProducerEpoch())
		s.producers[id] = p
	}
	if v.Attributes().Transactional() && p.TxnFirst == NoTxn {
		p.TxnFirst = v.BaseOffset()
		s.open = append(s.open, p)
	}
	if v.ProducerEpoch() != p.Epoch {
		p.Epoch, p.n = v.ProducerEpoch(), 0
	}
	if p.n == remembered {
		copy(p.ring[:], p.ring[1:])
		p.n--
	}
	p.ring[p.n] = Batch{v.BaseSequence(), lastSequence(v), v.BaseOffset(), v.LastOffset(), v.MaxTimestamp()}
	p.n++
	p.LastSeen = nowMs
}

// Expire forgets producers that were last seen before the given time, but for those with an open transaction.
func (s *State) Expire(beforeMs int64) {
	for id, p := range s.producers {
		if p.LastSeen < beforeMs && p.TxnFirst == NoTxn {
			delete(s.producers, id)
		}
	}
}

// LastOffset is where the newest batch of a producer ends; -1 when the producer is not known, or none of its batches is.
func (s *State) LastOffset(id kafka.ProducerID) kafka.Offset {
	if p := s.producers[id]; p != nil && p.n > 0 {
		return p.ring[p.n-1].Last
	}
	return -1
}

// Each calls f for every producer, in no order.
func (s *State) Each(f func(*Producer)) {
	for _, p := range s.producers {
		f(p)
	}
}

// Len is the number of producers.
func (s *State) Len() int { return len(s.producers) }

// lastSequence is the sequence of the batch's last record; sequences wrap from the largest int32 to 0.
func lastSequence(v batch.View) int32 {
	return int32((int64(v.BaseSequence()) + int64(v.LastOffsetDelta())) & math.MaxInt32)
}

func next(sequence int32) int32 { return int32((int64(sequence) + 1) & math.MaxInt32) }
