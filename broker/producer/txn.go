package producer

import (
	"slices"
	"sort"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A transaction of a producer in one partition, as its log tells it:
//
//	transactional batch ──▸ open ──▸ … ──▸ marker: commit ──▸ closed
//	                                      └ marker: abort ──▸ closed, and one more of Aborted
//
// Everything here follows from the batches alone, so that leader, followers, and whoever reads the log again know the same.

// NoTxn stands for the first offset of no transaction; NoCoordinator for the epoch of no coordinator.
const (
	NoTxn         kafka.Offset           = -1
	NoCoordinator kafka.CoordinatorEpoch = -1
)

// Aborted is an aborted transaction: between First and Last, the offset of its marker, readers skip the producer's
// transactional batches. LastStable is where the undecided began right behind the marker: whatever was aborted later
// began at or behind it. Source: KIP-98's transaction index.
type Aborted struct {
	Producer                kafka.ProducerID
	First, Last, LastStable kafka.Offset
}

// mark ends the transaction that a control batch ends. One of another kind is ignored, and so is one that does not tell what
// it is: it has passed its checksum, and nothing can be done about it.
func (s *State) mark(v batch.View, nowMs int64) {
	m, ok, err := v.Marker()
	if !ok || err != nil {
		return
	}
	id := v.ProducerID()
	p := s.producers[id]
	if p == nil {
		p = newProducer(id, v.ProducerEpoch())
		s.producers[id] = p
	}
	if v.ProducerEpoch() != p.Epoch {
		p.Epoch, p.n = v.ProducerEpoch(), 0
	}
	p.LastSeen, p.Coordinator = nowMs, m.Coordinator
	if p.TxnFirst == NoTxn {
		return
	}
	first := p.TxnFirst
	p.TxnFirst = NoTxn
	s.open = slices.DeleteFunc(s.open, func(o *Producer) bool { return o == p })
	if m.Commit {
		return
	}
	stable := v.NextOffset()
	if len(s.open) > 0 {
		stable = s.open[0].TxnFirst
	}
	s.aborted = append(s.aborted, Aborted{id, first, v.BaseOffset(), stable})
}

// CheckMarker decides whether a marker may be written: ErrFenced, ErrCoordinatorFenced.
func (s *State) CheckMarker(id kafka.ProducerID, epoch kafka.ProducerEpoch, coordinator kafka.CoordinatorEpoch) error {
	p := s.producers[id]
	switch {
	case p == nil:
		return nil
	case epoch < p.Epoch:
		return ErrFenced
	case coordinator < p.Coordinator:
		return ErrCoordinatorFenced
	}
	return nil
}

// Opens tells whether the batch, when it is appended, begins a transaction, and whether batches of its epoch are known. One of a newer
// epoch than the open transaction's begins the next: it waits for the marker of the one before.
func (s *State) Opens(v batch.View) (opens, known bool) {
	p := s.producers[v.ProducerID()]
	if p == nil {
		return v.Attributes().Transactional(), false
	}
	return v.Attributes().Transactional() && (p.TxnFirst == NoTxn || v.ProducerEpoch() > p.Epoch), p.n > 0 && p.Epoch == v.ProducerEpoch()
}

// Producer finds a producer's state; nil when there is none. Not to be changed.
func (s *State) Producer(id kafka.ProducerID) *Producer { return s.producers[id] }

// Open calls f for every open transaction, by its first offset.
func (s *State) Open(f func(id kafka.ProducerID, first kafka.Offset)) {
	for _, p := range s.open {
		f(p.ID, p.TxnFirst)
	}
}

// Aborted lists what was aborted, in the order of the markers. The list may be read beside later changes.
func (s *State) Aborted() []Aborted { return s.aborted }

// Earlier tells that a decoded state does not list all that was aborted: the snapshot of the same log as of offset at has more,
// which may name an earlier one.
func (s *State) Earlier() (at kafka.Offset, ok bool) { return s.since, s.earlier }

// Precede puts what was aborted before a decoded state's own list in front of it. at is the offset of the state.
func (s *State) Precede(list []Aborted, at kafka.Offset) {
	s.aborted = append(slices.Clone(list), s.aborted...)
	s.earlier, s.since = false, at
}

// Forget forgets what was aborted before an offset, which nobody reads any more.
func (s *State) Forget(before kafka.Offset) {
	if n := EndingFrom(s.aborted, before); n > 0 {
		s.aborted = slices.Clone(s.aborted[n:])
	}
}

// Transactional tells whether anything is known of transactions.
func (s *State) Transactional() bool {
	if len(s.open) > 0 || len(s.aborted) > 0 || s.earlier {
		return true
	}
	for _, p := range s.producers {
		if p.Coordinator != NoCoordinator {
			return true
		}
	}
	return false
}

// EndingFrom is the place, in a list as Aborted returns it, of the first whose marker is at or behind an offset.
func EndingFrom(list []Aborted, from kafka.Offset) int {
	return sort.Search(len(list), func(i int) bool { return list[i].Last >= from })
}

// IsAborted tells, of a list as Aborted returns it, whether a producer's batch at an offset below the last stable one is of an aborted transaction.
func IsAborted(list []Aborted, id kafka.ProducerID, at kafka.Offset) bool {
	for _, a := range list[EndingFrom(list, at):] {
		if a.Producer == id { // the first marker of the producer behind the batch is its own, if it aborts
			return a.First <= at
		}
		if a.LastStable > at {
			break
		}
	}
	return false
}

// Overlapping finds, in a list as Aborted returns it, what a reader of [from, next) has to know, by first offset.
func Overlapping(list []Aborted, from, next kafka.Offset) []Aborted {
	var found []Aborted
	for _, a := range list[EndingFrom(list, from):] {
		if a.First < next {
			found = append(found, a)
		}
		if a.LastStable >= next {
			break // whatever follows began behind
		}
	}
	slices.SortFunc(found, func(a, b Aborted) int { return int(a.First - b.First) })
	return found
}
