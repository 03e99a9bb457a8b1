package image

import (
	"cmp"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A broker proposes its entries one after the other: the next is only sent
// when the outcome of the last is known. So whatever is proposed again is a
// copy of the broker's last entry, and all that must be remembered per broker
// is how far its requests were applied and what came of those of that entry.

// session is what was applied of one proposing process. Immutable once committed.
type session struct {
	broker kafka.BrokerID
	id     uint64

	// last is the highest request applied; first the lowest of the entry at
	// index, whose outcomes are known. Invariant: first <= last.
	index       uint64
	first, last uint64

	// outcomes of the requests in [first, last] that are anything but plain success, in their order.
	outcomes []outcome
}

// outcome is what Apply answered to a request: a refusal, or a result. Of a
// refusal the decision is kept, not the words, which the next release may
// choose otherwise: images must not differ by them.
type outcome struct {
	request    uint64
	refusal    refusalCode // 0: none
	kind       resultKind
	number     int64
	partitions []kafka.Partition
}

type resultKind uint8

const (
	resultNone        resultKind = 0
	resultBrokerEpoch resultKind = 1
	resultProducerID  resultKind = 2
	resultOffset      resultKind = 3
	resultPartitions  resultKind = 4
	resultVersion     resultKind = 5 // since level 4
)

// result is the outcome as Apply returns it.
func (o outcome) result() (any, error) {
	switch {
	case o.refusal != 0:
		return nil, &Refusal{code: o.refusal}
	case o.kind == resultBrokerEpoch:
		return kafka.BrokerEpoch(o.number), nil
	case o.kind == resultProducerID:
		return kafka.ProducerID(o.number), nil
	case o.kind == resultOffset:
		return kafka.Offset(o.number), nil
	case o.kind == resultVersion:
		return uint64(o.number), nil
	case o.kind == resultPartitions:
		return slices.Clone(o.partitions), nil
	}
	return nil, nil
}

// recall finds the outcome of a request that was applied before.
func (tx *Tx) recall(env command.Envelope) (outcome, bool) {
	if env.Request == 0 {
		return outcome{}, false
	}
	s, _ := tx.session(env)
	if s == nil || env.Request > s.last {
		return outcome{}, false
	}
	if env.Request < s.first {
		return outcome{refusal: codeForgotten}, true
	}
	i, ok := slices.BinarySearchFunc(s.outcomes, env.Request, func(o outcome, r uint64) int { return cmp.Compare(o.request, r) })
	if ok {
		return s.outcomes[i], true
	}
	return outcome{}, true
}

// session finds what is remembered of the envelope's session; nil when that
// is nothing. open: this transaction made it and may add to it.
func (tx *Tx) session(env command.Envelope) (s *session, open bool) {
	s, open = tx.openSessions[env.Broker]
	if !open {
		k := brokerKey(env.Broker)
		s, _ = tx.sessions.get(k[:])
	}
	if s == nil || s.id != env.Session {
		return nil, false
	}
	return s, open
}

// remember notes a request and what came of it. A new session replaces the broker's last one.
func (tx *Tx) remember(index uint64, env command.Envelope, result any, refusal *Refusal) {
	if env.Request == 0 {
		return
	}
	s, open := tx.session(env)
	switch {
	case s == nil || s.index != index:
		s = &session{broker: env.Broker, id: env.Session, index: index, first: env.Request}
		tx.openSession(s)
	case !open:
		c := *s
		c.outcomes = slices.Clone(s.outcomes)
		s = &c
		tx.openSession(s)
	}
	s.last = env.Request
	o := outcome{request: env.Request}
	if refusal != nil {
		o.refusal = refusal.code
	}
	if refusal != nil || o.set(result) {
		s.outcomes = append(s.outcomes, o)
	}
}

func (tx *Tx) openSession(s *session) {
	if tx.openSessions == nil {
		tx.openSessions = make(map[kafka.BrokerID]*session)
	}
	tx.openSessions[s.broker] = s
}

// closeSessions puts what was remembered into the image.
func (tx *Tx) closeSessions() {
	for id, s := range tx.openSessions {
		k := brokerKey(id)
		tx.sessions.put(k[:], s)
	}
	tx.openSessions = nil
}

// set takes a result over and tells whether there is anything to remember.
func (o *outcome) set(result any) bool {
	switch r := result.(type) {
	case nil:
		return false
	case kafka.BrokerEpoch:
		o.kind, o.number = resultBrokerEpoch, int64(r)
	case kafka.ProducerID:
		o.kind, o.number = resultProducerID, int64(r)
	case kafka.Offset:
		o.kind, o.number = resultOffset, int64(r)
	case uint64:
		o.kind, o.number = resultVersion, int64(r)
	case []kafka.Partition:
		o.kind, o.partitions = resultPartitions, r
		return true
	default:
		panic("image: a result that cannot be remembered")
	}
	return true
}
