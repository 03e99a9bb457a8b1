package share

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	topicID = kafka.TopicID{1}
	part0   = kafka.Partition{Topic: topicID}
	epoch   = time.Unix(1_700_000_000, 0)
)

// history is a share with what its consumers were told, and the image that keeps it. What is told is held against what may be told.
type history struct {
	t      *rapid.T
	m      *image.Image
	index  uint64
	p      *Partition
	limits Limits
	now    time.Time
	change *Change // under way
	base   uint64
	tags   int

	end     kafka.Offset // of the log
	nothing map[kafka.Offset]bool
	start   kafka.Offset // the highest that was durable
	trimmed kafka.Offset // how far the log's start has moved the share's

	locks    map[kafka.Offset]lock         // as the consumers believe, of this leader
	given    map[kafka.Offset]int16        // how often, as far as the leader must know
	decided  map[kafka.Offset]string       // acknowledged for good, and answered
	awaiting map[int]map[kafka.Offset]bool // tickets: what is done for good once they are answered
	durable  map[kafka.Offset]int16        // deliveries that are durable
}

type lock struct {
	member string
	until  time.Time
}

func newHistory(t *rapid.T) *history {
	h := &history{
		t: t, m: image.Empty(), now: epoch, limits: Limits{Deliveries: 3, Locks: 12, Lock: 10 * time.Second},
		nothing: map[kafka.Offset]bool{}, locks: map[kafka.Offset]lock{}, given: map[kafka.Offset]int16{}, decided: map[kafka.Offset]string{},
		awaiting: map[int]map[kafka.Offset]bool{}, durable: map[kafka.Offset]int16{},
	}
	h.apply(command.CreateTopic{ID: topicID, Name: "t", Partitions: [][]kafka.BrokerID{{1}}})
	h.apply(command.ChangeGroup{Group: "g", Type: GroupType, Put: []command.GroupPart{{Key: "g"}}})
	h.lead()
	return h
}

func (h *history) apply(c command.Command) any {
	h.index++
	m, result, _, err := image.Apply(h.m, h.index, command.Envelope{}, c)
	if err != nil {
		h.t.Fatalf("%+v: %v", c, err)
	}
	h.m = m
	return result
}

// lead begins anew from the image, as the next leader does.
func (h *history) lead() {
	h.change, h.trimmed = nil, 0
	clear(h.locks)
	clear(h.awaiting)
	clear(h.given)
	for o, n := range h.durable {
		h.given[o] = n
	}
	if s, ok := h.m.Share("g", part0); ok {
		h.p, h.base = LoadPartition(s.Start, s.Runs), s.Version
		return
	}
	h.p, h.base = NewPartition(0), 0
	h.do(func(out *PartitionEffects) { h.p.Begin(out) })
}

// do carries out what a call asks for.
func (h *history) do(f func(*PartitionEffects)) {
	var out PartitionEffects
	f(&out)
	if out.Change != nil {
		if h.change != nil {
			h.t.Fatalf("change %d while %d is under way", out.Change.Seq, h.change.Seq)
		}
		h.change = out.Change
	}
	for _, a := range out.Answers {
		tag := a.Ticket.(int)
		for o := range h.awaiting[tag] {
			h.decided[o] = "answered"
		}
		delete(h.awaiting, tag)
	}
	h.check()
}

// check holds the machine's own invariants.
func (h *history) check() {
	at := h.p.start
	for _, r := range h.p.runs {
		if r.first != at || r.next <= r.first {
			h.t.Fatalf("runs do not cover [%d, %d): %+v", h.p.start, h.p.next, h.p.runs)
		}
		at = r.next
	}
	if at != h.p.next {
		h.t.Fatalf("runs end at %d, next is %d", at, h.p.next)
	}
}

// persist makes the change under way durable, and, but for a leader that is lost before it hears of that, tells so.
func (h *history) persist(tell bool) {
	c := h.change
	if c == nil {
		return
	}
	h.base = h.apply(command.ChangeShare{Group: "g", Partition: part0, Base: h.base, Start: c.Start, Put: c.Put}).(uint64)
	if c.Start < h.start {
		h.t.Fatalf("start goes back from %d to %d", h.start, c.Start)
	}
	h.start = c.Start
	for _, r := range c.Put {
		for o := r.First; o < r.Next; o++ {
			h.durable[o] = r.Deliveries
		}
	}
	h.change = nil
	if tell {
		h.do(func(out *PartitionEffects) { h.p.Persisted(c.Seq, out) })
	}
}

// acquire reads the log where the machine wants it to be read.
func (h *history) acquire(member string, records int, exactly bool, batch int) []Acquired {
	from, ok := h.p.Wanted(h.limits)
	if !ok {
		return nil
	}
	var batches []Batch
	for base := from / 4 * 4; base < h.end; base += 4 {
		b := Batch{Base: base, Next: min(base+4, h.end), Nothing: h.nothing[base]}
		batches = append(batches, b)
	}
	var got []Acquired
	h.do(func(out *PartitionEffects) {
		got = h.p.Acquire(h.now, batches, Request{Member: member, Records: records, Exactly: exactly, Batch: batch}, h.limits, out)
	})
	n := 0
	for _, a := range got {
		for o := a.First; o < a.Next; o++ {
			n++
			switch l, held := h.locks[o]; {
			case held && h.now.Before(l.until):
				h.t.Fatalf("offset %d is given to %s while %s has it", o, member, l.member)
			case h.decided[o] != "":
				h.t.Fatalf("offset %d is given out after it was acknowledged", o)
			case o < h.start || o >= h.end || h.nothing[o/4*4]:
				h.t.Fatalf("offset %d is given out; start %d, log end %d", o, h.start, h.end)
			}
			h.given[o]++
			if a.Deliveries != h.given[o] || a.Deliveries > h.limits.Deliveries {
				h.t.Fatalf("offset %d: delivery %d, it is the %dth", o, a.Deliveries, h.given[o])
			}
			h.locks[o] = lock{member, h.now.Add(h.limits.Lock)}
		}
	}
	if exactly && n > records {
		h.t.Fatalf("%d records, at most %d were wanted", n, records)
	}
	if w := int(h.p.next - h.p.start); w > 2*h.limits.Locks {
		h.t.Fatalf("%d offsets under way, the limit is %d", w, h.limits.Locks)
	}
	return got
}

// acknowledge says something of one offset or a few, held or not.
func (h *history) acknowledge(member string, a Ack) {
	h.tags++
	tag := h.tags
	mine, over := true, a.Next > h.p.next && len(h.p.runs) > 0
	final := map[kafka.Offset]bool{}
	for o := a.First; o < a.Next; o++ {
		if l, ok := h.locks[o]; o >= h.p.start && (!ok || l.member != member || !h.now.Before(l.until)) {
			mine = false
		}
	}
	start := h.p.start
	if a.Next <= start { // done: by whoever had it then, unless the log's start has taken it from somebody
		mine = a.Next <= h.trimmed
	}
	h.awaiting[tag] = final
	typeOf := func(o kafka.Offset) AckType {
		if len(a.Types) == 1 {
			return a.Types[0]
		}
		return a.Types[o-a.First]
	}
	if mine && !over {
		for o := max(a.First, start); o < a.Next; o++ {
			if t := typeOf(o); t != Release && t != Renew {
				final[o] = true
			}
		}
	}
	var done bool
	var err error
	h.do(func(out *PartitionEffects) { done, err = h.p.Acknowledge(h.now, member, []Ack{a}, h.limits, tag, out) })
	switch {
	case over != errors.Is(err, ErrInvalidRequest), !over && mine != (err == nil):
		h.t.Fatalf("%s says %+v: %v; its own: %v, beyond: %v", member, a, err, mine, over)
	case err != nil:
		delete(h.awaiting, tag)
		return
	}
	for o := max(a.First, start); o < a.Next; o++ {
		if typeOf(o) == Renew {
			h.locks[o] = lock{member, h.now.Add(h.limits.Lock)}
		} else {
			delete(h.locks, o)
		}
	}
	if done {
		if len(final) > 0 {
			h.t.Fatalf("%+v is answered before it is durable", a)
		}
		delete(h.awaiting, tag)
	}
}

func (h *history) forgetLocks(which func(lock) bool) {
	for o, l := range h.locks {
		if which(l) {
			delete(h.locks, o)
		}
	}
}

// A record would be two members' at once, be given out after its acknowledgement was answered, be lost, be told to be given out for the wrong time,
// or more often than the limit; or the start of a share would go back. Whatever the members say, locks run out, writes are lost and leaders move.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHistory(rt)
		member := rapid.SampledFrom([]string{"a", "b", "c"})
		steps := map[string]func(*rapid.T){
			"produce": func(t *rapid.T) {
				n := kafka.Offset(rapid.IntRange(1, 6).Draw(t, "records"))
				for base := h.end; base < h.end+n; base++ {
					if base%4 == 0 {
						h.nothing[base] = rapid.IntRange(0, 3).Draw(t, "nothing") == 0
					}
				}
				h.end += n
			},
			"acquire": func(t *rapid.T) {
				h.acquire(member.Draw(t, "member"), rapid.IntRange(0, 9).Draw(t, "records"), rapid.Bool().Draw(t, "exactly"), rapid.IntRange(0, 3).Draw(t, "batch"))
			},
			"acknowledge": func(t *rapid.T) {
				a := Ack{First: kafka.Offset(rapid.Int64Range(max(0, int64(h.p.start)-2), int64(h.p.next)+1).Draw(t, "first"))}
				a.Next = a.First + kafka.Offset(rapid.IntRange(1, 4).Draw(t, "count"))
				n := 1
				if rapid.Bool().Draw(t, "each") {
					n = int(a.Next - a.First)
				}
				for range n {
					a.Types = append(a.Types, AckType(rapid.IntRange(0, 4).Draw(t, "type")))
				}
				if err := CheckAcks([]Ack{a}, true); err != nil {
					t.Fatal(err)
				}
				who := member.Draw(t, "member")
				if l, ok := h.locks[a.First]; ok && rapid.IntRange(0, 3).Draw(t, "own") > 0 {
					who = l.member
				}
				h.acknowledge(who, a)
			},
			"close": func(t *rapid.T) {
				who := member.Draw(t, "member")
				h.do(func(out *PartitionEffects) { h.p.Release(who, h.limits, out) })
				h.forgetLocks(func(l lock) bool { return l.member == who })
			},
			"time": func(t *rapid.T) {
				h.now = h.now.Add(time.Duration(rapid.IntRange(1, 12).Draw(t, "seconds")) * time.Second)
				if due := h.p.Wake(); !due.IsZero() && !h.now.Before(due) || rapid.Bool().Draw(t, "anyway") {
					h.do(func(out *PartitionEffects) { h.p.Advance(h.now, h.limits, out) })
				}
				h.forgetLocks(func(l lock) bool { return !h.now.Before(l.until) })
			},
			"durable": func(*rapid.T) { h.persist(true) },
			"trim": func(t *rapid.T) {
				to := kafka.Offset(rapid.Int64Range(0, int64(h.end)).Draw(t, "log start"))
				if rapid.IntRange(0, 4).Draw(t, "really") > 0 {
					return
				}
				if to > h.p.start {
					h.trimmed = to
				}
				h.do(func(out *PartitionEffects) { h.p.Trim(to, out) })
				for o := kafka.Offset(0); o < to; o++ {
					delete(h.locks, o)
				}
			},
			"move": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "written") {
					h.persist(false)
				}
				h.lead()
			},
		}
		rt.Repeat(steps)
		h.drain()
	})
}

// drain has one member accept everything: then nothing is left.
func (h *history) drain() {
	for round := 0; ; round++ {
		for h.change != nil {
			h.persist(true)
		}
		h.now = h.now.Add(h.limits.Lock)
		h.do(func(out *PartitionEffects) { h.p.Advance(h.now, h.limits, out) })
		h.forgetLocks(func(lock) bool { return true })
		for h.change != nil {
			h.persist(true)
		}
		got := h.acquire("drain", 100, false, 0)
		for _, a := range got {
			h.acknowledge("drain", Ack{First: a.First, Next: a.Next, Types: []AckType{Accept}})
		}
		for h.change != nil {
			h.persist(true)
		}
		if len(got) == 0 && h.start >= h.end {
			return
		}
		if round > 200 {
			h.t.Fatalf("records are left: start %d, log end %d, %s", h.start, h.end, fmt.Sprintf("%+v", h.p))
		}
	}
}
