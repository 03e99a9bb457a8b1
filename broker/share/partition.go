package share

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Limits are a group's settings of its shares. They may change from call to call.
type Limits struct {
	Deliveries int16         // a record that was given out so often and is not accepted is archived
	Locks      int           // offsets between start and the last that was given out, about
	Lock       time.Duration // how long a record is locked
}

// Partition is a group's share of one partition. Not safe for concurrent use: its owner holds a lock.
//
//	done │ start                               next │ not looked at yet
//	─────┼──[Acknowledged][Acquired m1][Available]──┼──────────────────────▶ offsets
//
// Invariant: runs cover [start, next) without gaps, in order; neighbours that are alike are one, but for locks that were taken at different times.
type Partition struct {
	start kafka.Offset
	next  kafka.Offset
	runs  []run

	// check is a lower bound of every lock's end, so that a renewal costs nothing; zero: no locks.
	check time.Time

	trimmed kafka.Offset // what lies below may have been taken from its holders by the log's start
	said    kafka.Offset // the start that the last Change told
	seq     uint64       // the number of the Change that is gathered
	flying  uint64       // the one under way; 0: none
	durable uint64       // the newest that is
	dirty   bool         // runs have changed since the last Change
	fresh   bool         // nothing of this share is durable yet: nothing is given out
	parked  []parkedAck
}

// run is offsets [first, next) of which the same has become.
type run struct {
	first, next kafka.Offset
	state       state
	deliveries  int16
	holder      string    // who has the lock
	until       time.Time // when it ends
	// saved is the Change that tells this; what is not durable yet is neither given out nor taken back.
	saved uint64
}

type state uint8

const (
	available    state = state(command.ShareAvailable)
	acquired     state = 1
	acknowledged state = state(command.ShareAcknowledged)
	archived     state = state(command.ShareArchived)
)

func (s state) done() bool { return s == acknowledged || s == archived }

type parkedAck struct {
	ticket Ticket
	need   uint64
}

// PartitionEffects is what a call of a Partition asks its caller to carry out; see Effects.
type PartitionEffects struct {
	Answers []PartitionAnswer
	Change  *Change
}

// PartitionAnswer answers an acknowledgement that was parked.
type PartitionAnswer struct {
	Ticket Ticket
	Err    error
}

// Change is what of a share to make durable; its outcome is told to Persisted with the same Seq. There is one at a time.
type Change struct {
	Seq   uint64
	Start kafka.Offset
	Put   []command.ShareRun
}

// NewPartition is a share of which nothing is durable yet, and that begins at start.
func NewPartition(start kafka.Offset) *Partition {
	return &Partition{start: start, next: start, said: -1, seq: 1, fresh: true}
}

// LoadPartition is a share as it was made durable: nothing is locked.
func LoadPartition(start kafka.Offset, durable []command.ShareRun) *Partition {
	p := &Partition{start: start, next: start, said: start, seq: 1}
	for _, r := range durable {
		p.fill(r.First)
		p.runs = append(p.runs, run{first: r.First, next: r.Next, state: state(r.State), deliveries: r.Deliveries})
		p.next = r.Next
	}
	return p
}

// fill makes what lies between next and an offset available: it was given out, and nobody knows to whom.
func (p *Partition) fill(to kafka.Offset) {
	if p.next < to {
		p.runs = append(p.runs, run{first: p.next, next: to, state: available})
		p.next = to
	}
}

// Start is the first offset that is not done, as far as that is durable or about to be.
func (p *Partition) Start() kafka.Offset { return p.start }

// Next is the first offset that was never looked at.
func (p *Partition) Next() kafka.Offset { return p.next }

// Idle tells whether the machine holds nothing that its durable state does not.
func (p *Partition) Idle() bool {
	return p.flying == 0 && !p.dirty && !p.fresh && len(p.parked) == 0 && !slices.ContainsFunc(p.runs, func(r run) bool { return r.state == acquired })
}

// Saving tells whether a Change is under way.
func (p *Partition) Saving() bool { return p.flying != 0 }

// Wake is when Advance wants to be called, if nothing happens before; zero: never. It may be early, never late.
func (p *Partition) Wake() time.Time { return p.check }

// Advance lets time pass: locks end, and what they were of is available again.
func (p *Partition) Advance(now time.Time, l Limits, out *PartitionEffects) {
	if p.check.IsZero() || now.Before(p.check) {
		return
	}
	p.check = time.Time{}
	for i := range p.runs {
		r := &p.runs[i]
		switch {
		case r.state != acquired:
		case now.Before(r.until):
			p.note(r.until)
		default:
			p.release(r, l)
		}
	}
	p.settle(out)
}

func (p *Partition) note(t time.Time) {
	if p.check.IsZero() || t.Before(p.check) {
		p.check = t
	}
}

// Release gives back everything that a member has.
func (p *Partition) Release(member string, l Limits, out *PartitionEffects) {
	for i := range p.runs {
		if r := &p.runs[i]; r.state == acquired && r.holder == member {
			p.release(r, l)
		}
	}
	p.settle(out)
}

// release makes a record that was locked available again, unless that was once too often.
func (p *Partition) release(r *run, l Limits) {
	to := available
	if r.deliveries >= l.Deliveries {
		to = archived
	}
	p.become(r, to)
}

func (p *Partition) become(r *run, to state) {
	r.state, r.holder, r.until, r.saved = to, "", time.Time{}, p.seq
	p.dirty = true
}

// Trim tells that the log begins at an offset: what lies below is done, whoever has it.
func (p *Partition) Trim(logStart kafka.Offset, out *PartitionEffects) {
	if logStart <= p.start {
		return
	}
	p.trimmed = logStart
	p.drop(logStart)
	p.settle(out)
}

// drop forgets everything below an offset, where the share begins from now on.
func (p *Partition) drop(to kafka.Offset) {
	i := p.at(to)
	p.runs = slices.Delete(p.runs, 0, i)
	if len(p.runs) > 0 && p.runs[0].first < to {
		p.runs[0].first = to
	}
	p.start, p.next = to, max(p.next, to)
}

// at is the index of the run that holds an offset, or of the first behind it.
func (p *Partition) at(o kafka.Offset) int {
	return sort.Search(len(p.runs), func(i int) bool { return p.runs[i].next > o })
}

// cut makes an offset within [start, next] the beginning of a run, and returns its index.
func (p *Partition) cut(o kafka.Offset) int {
	i := p.at(o)
	if i < len(p.runs) && p.runs[i].first < o {
		left := p.runs[i]
		left.next = o
		p.runs = slices.Insert(p.runs, i, left)
		i++
		p.runs[i].first = o
	}
	return i
}

// settle joins what has become alike, and hands out the next Change unless one is under way.
func (p *Partition) settle(out *PartitionEffects) {
	if p.dirty {
		p.join()
	}
	start := p.doneTo()
	if p.flying != 0 || !p.dirty && !p.fresh && start == p.said {
		return
	}
	c := &Change{Seq: p.seq, Start: start}
	for i := range p.runs {
		r := &p.runs[i]
		if r.saved == p.seq && r.next > start {
			c.Put = append(c.Put, command.ShareRun{First: max(r.first, start), Next: r.next, State: command.ShareState(r.state), Deliveries: r.deliveries})
		}
	}
	p.flying, p.said, p.dirty = p.seq, start, false
	p.seq++
	out.Change = c
}

// doneTo is where the share begins once everything that has become of its records is durable.
func (p *Partition) doneTo() kafka.Offset {
	at := p.start
	for i := range p.runs {
		if !p.runs[i].state.done() {
			break
		}
		at = p.runs[i].next
	}
	return at
}

// join makes neighbours that are alike one run.
func (p *Partition) join() {
	out := p.runs[:0]
	for _, r := range p.runs {
		if r.saved <= p.durable {
			r.saved = 0
		}
		if n := len(out); n > 0 && out[n-1].alike(&r) {
			out[n-1].next = r.next
		} else {
			out = append(out, r)
		}
	}
	clear(p.runs[len(out):])
	p.runs = out
}

func (r *run) alike(o *run) bool {
	return r.state == o.state && r.deliveries == o.deliveries && r.holder == o.holder && r.saved == o.saved && r.until.Equal(o.until)
}

// Begin hands out the Change that makes a new share durable.
func (p *Partition) Begin(out *PartitionEffects) { p.settle(out) }

// Persisted tells that a Change has become durable. One that has not is the end of the machine: see Abort.
func (p *Partition) Persisted(seq uint64, out *PartitionEffects) {
	if seq != p.flying {
		panic(fmt.Sprintf("change %d of a share is durable, %d is under way", seq, p.flying))
	}
	p.flying, p.durable, p.fresh = 0, seq, false
	if p.said > p.start {
		p.drop(p.said)
	}
	i := 0
	for ; i < len(p.parked) && p.parked[i].need <= seq; i++ {
		out.Answers = append(out.Answers, PartitionAnswer{Ticket: p.parked[i].ticket})
	}
	p.parked = slices.Delete(p.parked, 0, i)
	p.settle(out)
}

// Abort answers everything that waits; the machine is not to be used after.
func (p *Partition) Abort(why error, out *PartitionEffects) {
	for _, a := range p.parked {
		out.Answers = append(out.Answers, PartitionAnswer{Ticket: a.ticket, Err: why})
	}
	p.parked = nil
}
