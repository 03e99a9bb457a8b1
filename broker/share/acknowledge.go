package share

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// AckType is what a member says of a record that it has, in Kafka's numbers.
type AckType int8

// The types. Gap is for offsets that the log has no record of.
const (
	Gap     AckType = 0
	Accept  AckType = 1
	Release AckType = 2
	Reject  AckType = 3
	Renew   AckType = 4 // KIP-1222
)

// Ack is what a member says of [First, Next): one type for all, or one for each.
type Ack struct {
	First, Next kafka.Offset
	Types       []AckType
}

// CheckAcks refuses what contradicts itself. renews: the request says that it may renew locks.
func CheckAcks(acks []Ack, renews bool) error {
	end := kafka.Offset(-1)
	for _, a := range acks {
		switch n := len(a.Types); {
		case a.First < 0 || a.Next <= a.First || a.First < end:
			return fmt.Errorf("%w: offsets [%d, %d), behind %d", ErrInvalidRequest, a.First, a.Next, end)
		case n == 0 || n > 1 && kafka.Offset(n) != a.Next-a.First:
			return fmt.Errorf("%w: %d types for %d offsets", ErrInvalidRequest, n, a.Next-a.First)
		}
		for _, t := range a.Types {
			if t < Gap || t > Renew || t == Renew && !renews {
				return fmt.Errorf("%w: acknowledgement of type %d", ErrInvalidRequest, t)
			}
		}
		end = a.Next
	}
	return nil
}

// Acknowledge does what a member says of records that it has, all of it or nothing. Checked acks only. An error is the answer; without, it is done,
// or t is answered when that is durable. Of what begins below start only the rest counts.
func (p *Partition) Acknowledge(now time.Time, member string, acks []Ack, l Limits, t Ticket, out *PartitionEffects) (done bool, err error) {
	for _, a := range acks {
		if err := p.holds(now, member, a); err != nil {
			return true, err
		}
	}
	changed := false
	for _, a := range acks {
		if len(a.Types) == 1 {
			changed = p.apply(now, a.First, a.Next, a.Types[0], l) || changed
			continue
		}
		for i := 0; i < len(a.Types); { // by runs of the same type
			n := i + 1
			for n < len(a.Types) && a.Types[n] == a.Types[i] {
				n++
			}
			changed = p.apply(now, a.First+kafka.Offset(i), a.First+kafka.Offset(n), a.Types[i], l) || changed
			i = n
		}
	}
	if !changed {
		return true, nil
	}
	if bugSettle {
		p.dirty = false
		return true, nil
	}
	need := p.seq
	p.parked = append(p.parked, parkedAck{t, need})
	p.settle(out)
	return false, nil
}

// holds tells whether a member has all of an acknowledgement's offsets from start on.
func (p *Partition) holds(now time.Time, member string, a Ack) error {
	if a.Next <= p.start && a.Next > p.trimmed { // its lock was over, or it has said so before: Kafka's cache does not have such a batch either
		return fmt.Errorf("%w: offsets [%d, %d), done already", ErrRecordState, a.First, a.Next)
	}
	if len(p.runs) == 0 && a.Next > p.start {
		return fmt.Errorf("%w: offsets [%d, %d), nothing was given out since this broker leads the partition", ErrRecordState, a.First, a.Next)
	}
	if a.Next > p.next {
		return fmt.Errorf("%w: offsets [%d, %d), nothing behind %d was given out", ErrInvalidRequest, a.First, a.Next, p.next)
	}
	for i := p.at(max(a.First, p.start)); i < len(p.runs) && p.runs[i].first < a.Next; i++ {
		if r := &p.runs[i]; r.state != acquired || r.holder != member || !now.Before(r.until) {
			return fmt.Errorf("%w: offsets [%d, %d)", ErrRecordState, r.first, r.next)
		}
	}
	return nil
}

// apply tells whether anything has changed that is to be durable.
func (p *Partition) apply(now time.Time, first, next kafka.Offset, t AckType, l Limits) bool {
	if first = max(first, p.start); first >= next {
		return false
	}
	i := p.cut(first)
	p.cut(next)
	for ; i < len(p.runs) && p.runs[i].first < next; i++ {
		r := &p.runs[i]
		switch t {
		case Accept:
			p.become(r, acknowledged)
		case Release:
			p.release(r, l)
		case Renew:
			r.until = now.Add(l.Lock)
		default:
			p.become(r, archived)
		}
	}
	return t != Renew
}
