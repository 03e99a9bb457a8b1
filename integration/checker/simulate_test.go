package checker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/integration/history"
)

// bug is one wrong thing that the simulated system does, once.
type bug string

const (
	none          bug = ""
	loseTail      bug = "truncates acknowledged records"
	loseOne       bug = "drops a record within the log"
	ackUnwritten  bug = "acknowledges what it has not written"
	writeTwice    bug = "writes a retry again"
	reorder       bug = "writes a pipelined record before an earlier one"
	dirtyRead     bug = "serves what it has not kept"
	keepRefused   bug = "keeps what it has refused"
	skipRecord    bug = "serves past a record"
	repeatRecord  bug = "serves a record again"
	flipBit       bug = "serves other bytes"
	lateAppend    bug = "puts a new record before an acknowledged one"
	forgetCommit  bug = "acknowledges a commit and forgets it"
	rollBack      bug = "goes back to an older commit"
	acceptZombie  bug = "accepts an old generation's commit"
	twoMembers    bug = "gives a partition to two members"
	resumeTooFar  bug = "lets a member begin too far on"
	resumeTooNear bug = "lets a member begin before the commit"
)

// caughtAs says for each bug which invariants may tell of it.
var caughtAs = map[bug][]Invariant{
	loseTail:      {LostWrite, Unseen, InconsistentOffset, AppendOrder},
	loseOne:       {LostWrite, Hole},
	ackUnwritten:  {LostWrite, Unseen, InconsistentOffset},
	writeTwice:    {Duplicate},
	reorder:       {SendOrder},
	dirtyRead:     {InconsistentOffset, LostWrite, Unseen},
	keepRefused:   {FailedRead},
	skipRecord:    {PollSkip},
	repeatRecord:  {PollBack},
	flipBit:       {Phantom},
	lateAppend:    {AppendOrder, Cycle},
	forgetCommit:  {LostCommit, ResumeBack},
	rollBack:      {LostCommit, ResumeBack},
	acceptZombie:  {Unfenced},
	twoMembers:    {TwoOwners},
	resumeTooFar:  {ResumeSkip},
	resumeTooNear: {ResumeBack},
}

// simulation is a system that keeps its promises, but for one bug, and clients that write its history. Time passes with every event;
// the outcome of operations is lost at random, operations are carried out late, clients crash.
type simulation struct {
	*rand.Rand
	text    strings.Builder
	time    int64
	bug     bug
	planted bool // the bug has happened

	logs       [][]history.Value
	producers  []*producer
	readers    []*reader
	group      group
	nextNumber int32
	asker      int32 // who asks for committed offsets
	asked      int32
	acked      map[history.Value]bool
	// unsettled partitions have had commits whose outcome is unknown: what looks like a bug may be one of them.
	unsettled map[int32]bool
}

type producer struct {
	number  int32
	sends   int32
	pending []*pending // in order of invocation
}

type pending struct {
	value     history.Value
	partition int32
	offset    int64 // once written
	written   bool
	refuse    bool
}

type reader struct {
	number   int32
	position []int64
	fetched  []history.Value // by an earlier fetch, not handed out yet
	from     int32           // their partition
}

type group struct {
	generation int32
	members    []*member
	committed  []int64
	late       []func() // commits that may still be carried out in this generation
}

type member struct {
	number   int32
	commits  int32
	owned    []int32
	position []int64
}

func simulate(seed uint64, steps int, b bug) (*history.History, bool, error) {
	s := &simulation{Rand: rand.New(rand.NewPCG(seed, 7)), bug: b, acked: map[history.Value]bool{}, unsettled: map[int32]bool{}}
	partitions := 1 + s.IntN(3)
	s.logs = make([][]history.Value, partitions)
	s.group.committed = slices.Repeat([]int64{history.NoOffset}, partitions)
	for range 2 + s.IntN(3) {
		s.producers = append(s.producers, s.newProducer())
	}
	s.line(s.producers[0].number, "topic t %d dense", partitions)
	s.asker = s.number()
	s.line(s.asker, "begin sim")
	for range 1 + s.IntN(2) {
		s.readers = append(s.readers, s.newReader())
	}
	for range 1 + s.IntN(3) {
		s.group.members = append(s.group.members, s.newMember())
	}
	s.rebalance()
	for range steps {
		s.step()
	}
	s.finish()
	h, err := history.Read(strings.NewReader(s.text.String()))
	return h, s.planted, err
}

// line writes one event.
func (s *simulation) line(process int32, format string, args ...any) {
	s.time += 1 + s.Int64N(1000)
	fmt.Fprintf(&s.text, "%d %d %s\n", process, s.time, fmt.Sprintf(format, args...))
}

// now is true once, after the simulation has gone on for a while, if the bug is b.
func (s *simulation) now(b bug) bool {
	if s.bug != b || s.planted || s.time < 100_000 || s.IntN(3) > 0 {
		return false
	}
	s.planted = true
	return true
}

func (s *simulation) number() int32 { s.nextNumber++; return s.nextNumber }

func (s *simulation) newProducer() *producer {
	p := &producer{number: s.number()}
	s.line(p.number, "begin sim idempotent")
	return p
}

func (s *simulation) newReader() *reader {
	r := &reader{number: s.number(), position: make([]int64, len(s.logs))}
	s.line(r.number, "begin sim")
	for p := range s.logs {
		s.line(r.number, "seek %d 0", p)
	}
	return r
}

func (s *simulation) newMember() *member {
	m := &member{number: s.number(), position: make([]int64, len(s.logs))}
	s.line(m.number, "begin sim")
	return m
}

func (s *simulation) step() {
	switch n := s.IntN(100); {
	case n < 30:
		s.send(s.producers[s.IntN(len(s.producers))])
	case n < 50:
		s.write(s.producers[s.IntN(len(s.producers))])
	case n < 65:
		s.answer(s.producers[s.IntN(len(s.producers))])
	case n < 75:
		s.read(s.readers[s.IntN(len(s.readers))])
	case n < 85:
		s.consume(s.group.members[s.IntN(len(s.group.members))])
	case n < 92:
		s.commit(s.group.members[s.IntN(len(s.group.members))])
	case n < 94:
		s.ask()
	case n < 96:
		s.rebalance()
	case n < 97:
		s.crash()
	default:
		if len(s.group.late) > 0 {
			s.group.late[0]()
			s.group.late = s.group.late[1:]
		}
	}
}

func (s *simulation) send(p *producer) {
	a := &pending{value: history.ValueOf(p.number, p.sends), partition: int32(s.IntN(len(s.logs))), refuse: s.IntN(20) == 0}
	p.sends++
	s.line(p.number, "send s%d %d", a.value.N(), a.partition)
	p.pending = append(p.pending, a)
}

// write carries out the producer's next sends to some partition.
func (s *simulation) write(p *producer) {
	for _, a := range p.pending {
		if a.written {
			continue
		}
		if a.refuse {
			continue
		}
		s.append(p, a)
		return
	}
}

func (s *simulation) append(p *producer, a *pending) {
	log := &s.logs[a.partition]
	later := slices.IndexFunc(p.pending, func(b *pending) bool {
		return b.partition == a.partition && b.value > a.value && !b.refuse && !b.written
	})
	if later >= 0 && s.now(reorder) {
		s.appendAt(p.pending[later], len(*log))
		s.appendAt(a, len(*log))
		// Both answers are needed to see it.
		s.acknowledge(p, p.pending[later])
		s.acknowledge(p, a)
		return
	}
	if len(*log) > 2 && s.now(lateAppend) {
		s.late(a.partition)
		return
	}
	s.appendAt(a, len(*log))
	if s.now(writeTwice) {
		*log = append(*log, a.value)
	}
}

// late puts a new record before an acknowledged one.
func (s *simulation) late(partition int32) {
	p := s.newProducer()
	log := &s.logs[partition]
	at := len(*log)
	*log = append(*log, history.ValueOf(p.number, 1), history.ValueOf(p.number, 0))
	s.line(p.number, "send s0 %d", partition)
	s.line(p.number, "ok s0 %d", at+1)
	s.line(p.number, "send s1 %d", partition)
	s.line(p.number, "unknown s1 timeout")
}

func (s *simulation) appendAt(a *pending, at int) {
	log := &s.logs[a.partition]
	*log = slices.Insert(*log, at, a.value)
	a.written, a.offset = true, int64(at)
}

// answer completes the producer's oldest send.
func (s *simulation) answer(p *producer) {
	if len(p.pending) == 0 {
		return
	}
	a := p.pending[0]
	switch {
	case a.refuse:
		if s.now(keepRefused) {
			s.appendAt(a, len(s.logs[a.partition]))
		}
		s.line(p.number, "fail s%d MESSAGE_TOO_LARGE", a.value.N())
	case !a.written && s.now(ackUnwritten):
		s.line(p.number, "ok s%d %d", a.value.N(), len(s.logs[a.partition]))
	case !a.written || s.IntN(8) == 0:
		s.line(p.number, "unknown s%d timeout", a.value.N())
	default:
		s.acknowledge(p, a)
		s.lose()
		return
	}
	p.pending = p.pending[1:]
}

func (s *simulation) acknowledge(p *producer, a *pending) {
	s.acked[a.value] = true
	s.line(p.number, "ok s%d %d", a.value.N(), a.offset)
	p.pending = slices.DeleteFunc(p.pending, func(b *pending) bool { return b == a })
}

// lose is what a failover does wrong.
func (s *simulation) lose() {
	for partition, log := range s.logs {
		at := len(log) - 1
		// Only what somebody was promised can be missed.
		if at < 3 || !s.acked[log[at]] || len(s.inFlight(int32(partition))) > 0 {
			continue
		}
		switch {
		case s.now(loseTail):
			s.logs[partition] = log[:at]
		case s.now(loseOne):
			log[at] = history.None
		}
	}
}

// inFlight are written sends that are not answered yet.
func (s *simulation) inFlight(partition int32) []*pending {
	var all []*pending
	for _, p := range s.producers {
		for _, a := range p.pending {
			if a.partition == partition && a.written {
				all = append(all, a)
			}
		}
	}
	return all
}

// poll hands out the records of [from, to), in runs.
func (s *simulation) poll(process, partition int32, from int64, values []history.Value) {
	for len(values) > 0 {
		n := slices.Index(values, history.None)
		if n < 0 {
			n = len(values)
		}
		if n > 0 {
			text := ""
			for _, v := range values[:n] {
				text += " " + v.String()
			}
			s.line(process, "poll %d %d%s", partition, from, text)
		}
		skip := min(n+1, len(values))
		values, from = values[skip:], from+int64(skip)
	}
}

// read lets a reader hand out what it had fetched, or fetch.
func (s *simulation) read(r *reader) {
	if len(r.fetched) > 0 {
		s.poll(r.number, r.from, r.position[r.from], r.fetched)
		r.position[r.from] += int64(len(r.fetched))
		r.fetched = nil
		return
	}
	partition := int32(s.IntN(len(s.logs)))
	log, at := s.logs[partition], r.position[partition]
	if at > int64(len(log)) {
		at, r.position[partition] = int64(len(log)), int64(len(log))
	}
	rest := log[at:]
	if len(rest) == 0 {
		return
	}
	n := 1 + s.IntN(min(len(rest), 5))
	switch {
	case at > 0 && at+1 < int64(len(log)) && log[at] != history.None && s.now(skipRecord):
		s.poll(r.number, partition, at+1, log[at+1:at+2])
		r.position[partition] = at + 2
	case at > 0 && log[at-1] != history.None && s.now(repeatRecord):
		s.poll(r.number, partition, at-1, log[at-1:at])
	case s.now(flipBit):
		s.line(r.number, "bad %d %d byte 3", partition, at)
	case s.now(dirtyRead):
		p := s.newProducer()
		s.line(p.number, "send s0 %d", partition)
		s.poll(r.number, partition, int64(len(log)), []history.Value{history.ValueOf(p.number, 0)})
		r.position[partition] = int64(len(log)) + 1
	default:
		r.from, r.fetched = partition, slices.Clone(rest[:n])
	}
}

// rebalance ends the generation and shares the partitions out anew.
func (s *simulation) rebalance() {
	g := &s.group
	g.late = nil // the fence
	var old *member
	for _, m := range g.members {
		if len(m.owned) > 0 {
			s.line(m.number, "revoke g %d %s", g.generation, join(m.owned))
			old = m
		}
		m.owned = nil
	}
	if s.IntN(3) == 0 {
		g.members = append(g.members[1:], s.newMember())
	}
	g.generation++
	for partition := range s.logs {
		m := g.members[s.IntN(len(g.members))]
		m.owned = append(m.owned, int32(partition))
	}
	for _, m := range g.members {
		for _, partition := range m.owned {
			m.position[partition] = max(0, g.committed[partition])
		}
		s.line(m.number, "assign g %d %s %s", g.generation, join(m.owned), join(m.owned))
	}
	for _, m := range g.members {
		for _, partition := range m.owned {
			s.misplace(m, partition, old)
		}
	}
}

// misplace is what a coordinator does wrong at a rebalance.
func (s *simulation) misplace(m *member, partition int32, old *member) {
	g, at, log := &s.group, m.position[partition], s.logs[partition]
	switch {
	case at+1 < int64(len(log)) && log[at] != history.None && !s.unsettled[partition] && s.now(resumeTooFar):
		s.poll(m.number, partition, at+1, log[at+1:at+2])
		m.position[partition] = at + 2
	case at > 0 && at <= int64(len(log)) && log[at-1] != history.None && !s.unsettled[partition] && s.now(resumeTooNear):
		s.poll(m.number, partition, at-1, log[at-1:at])
	case s.now(twoMembers):
		other := s.newMember()
		s.line(other.number, "assign g %d %d %d", g.generation, partition, partition)
	case old != nil && old != m && s.now(acceptZombie):
		s.line(m.number, "commit c%d g %d %d %d", m.commits, g.generation, partition, at)
		s.line(m.number, "ok c%d", m.commits)
		s.line(old.number, "commit c%d g %d %d %d", old.commits, g.generation-1, partition, at)
		s.line(old.number, "ok c%d", old.commits)
		m.commits++
		old.commits++
		g.committed[partition] = at
	}
}

func join(partitions []int32) string {
	if len(partitions) == 0 {
		return "-"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(partitions), "[]"), " ", ",")
}

// consume lets a member poll one of its partitions.
func (s *simulation) consume(m *member) {
	if len(m.owned) == 0 {
		return
	}
	partition := m.owned[s.IntN(len(m.owned))]
	at := min(m.position[partition], int64(len(s.logs[partition])))
	rest := s.logs[partition][at:]
	if len(rest) == 0 {
		return
	}
	n := 1 + s.IntN(min(len(rest), 5))
	s.poll(m.number, partition, at, rest[:n])
	m.position[partition] = at + int64(n)
}

// commit lets a member commit its position.
func (s *simulation) commit(m *member) {
	if len(m.owned) == 0 {
		return
	}
	g := &s.group
	partition := m.owned[s.IntN(len(m.owned))]
	at := m.position[partition]
	s.line(m.number, "commit c%d g %d %d %d", m.commits, g.generation, partition, at)
	c := m.commits
	m.commits++
	apply := func() { g.committed[partition] = at }
	before := g.committed[partition]
	switch n := s.IntN(10); {
	case n < 3:
		s.unsettled[partition] = true
		s.line(m.number, "unknown c%d timeout", c)
		switch n {
		case 0: // still on the way
			g.late = append(g.late, apply)
		case 1: // only the answer is lost
			apply()
		}
	case at != before && !s.unsettled[partition] && s.now(forgetCommit):
		s.line(m.number, "ok c%d", c)
		s.told(partition, before)
	case before >= 0 && at > before && !s.unsettled[partition] && s.now(rollBack):
		s.line(m.number, "ok c%d", c)
		s.told(partition, before)
		apply()
	default:
		apply()
		s.line(m.number, "ok c%d", c)
	}
}

// ask asks for a committed offset.
func (s *simulation) ask() {
	partition := int32(s.IntN(len(s.logs)))
	if s.IntN(10) > 0 {
		s.told(partition, s.group.committed[partition])
		return
	}
	s.line(s.asker, "fetch f%d g %d", s.asked, partition)
	s.line(s.asker, "unknown f%d timeout", s.asked)
	s.asked++
}

// told asks for a committed offset and gets an answer.
func (s *simulation) told(partition int32, answer int64) {
	s.line(s.asker, "fetch f%d g %d", s.asked, partition)
	s.line(s.asker, "ok f%d %d", s.asked, answer)
	s.asked++
}

// crash replaces a producer or a reader.
func (s *simulation) crash() {
	if s.IntN(2) == 0 {
		s.producers[s.IntN(len(s.producers))] = s.newProducer()
		return
	}
	s.readers[s.IntN(len(s.readers))] = s.newReader()
}

// finish crashes everyone and reads everything.
func (s *simulation) finish() {
	r := s.number()
	s.line(r, "begin sim final")
	for partition, log := range s.logs {
		s.poll(r, int32(partition), 0, log)
		s.line(r, "final %d %d", partition, len(log))
		s.told(int32(partition), s.group.committed[partition])
	}
	s.line(r, "end")
}
