package partition

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// cluster is one partition on several brokers, each with a disk that can lose power, under a quorum that is image.Apply and a
// controller that is three functions. Nothing happens by itself: whoever drives it decides who flushes, fetches, hears of
// which image, crashes. Messages lie in the brokers' boxes until they are delivered, or dropped. It has no goroutines, and
// its clock moves when it is told to, so a seed is a schedule.
//
//	produce ─▸ leader's log ◂─ request ─ follower          proposals ─▸ images[0], images[1], …
//	            └─ response ─▸ follower's box ─▸ append                   │ each broker has seen some
//	                                                                      ▾
//	  after every step: what was committed is the same everywhere, and in every leader
type cluster struct {
	t        tb
	rng      *rand.Rand
	nowMs    atomic.Int64 // milliseconds since 1970
	id       kafka.Partition
	settings config.Topic
	images   []*image.Image
	nodes    []*node
	bucket   object.Bucket

	writers   []*writer
	values    int
	committed []named                // by offset: what lay below a high watermark once
	names     map[position]uint64    // the record that an epoch and offset name, ever since one was written
	acked     map[kafka.Offset]int64 // value by offset
	trace     []string
	calm      int // how many of 8 faults do not happen
}

type position struct {
	epoch  kafka.LeaderEpoch
	offset kafka.Offset
}

// named is a record's place and what it is.
type named struct {
	position
	sum uint64
}

// node is one broker.
type node struct {
	c       *cluster
	id      kafka.BrokerID
	disk    *vfs.Crash
	flusher *hot.Flusher
	p       *Partition // nil: down
	epoch   kafka.BrokerEpoch
	seen    int // the newest image that it has heard of
	reached kafka.Offset

	requests  []request           // to it, as leader
	responses []response          // to it, as follower
	proposals []command.ISRChange // its own, not yet applied
	paused    bool
}

type request struct {
	from  *node
	of    Replica
	epoch kafka.LeaderEpoch
	at    Position
}

type response struct {
	epoch     kafka.LeaderEpoch
	at        Position
	err       error
	diverging *EpochEnd
	fetched   Fetched
}

// writer is an idempotent producer with one batch in flight, which it sends again until it knows what became of it.
type writer struct {
	c        *cluster
	id       kafka.ProducerID
	sequence int32
	value    int64 // in flight; 0: none
	waiting  int   // answers outstanding
	maybe    bool  // an earlier try may have been written
	offset   kafka.Offset
}

func newCluster(t tb, seed uint64, replicas int, change func(*config.Topic)) *cluster {
	c := &cluster{
		t: t, rng: rand.New(rand.NewPCG(seed, 4)), id: kafka.Partition{Topic: kafka.TopicID{1}},
		names: map[position]uint64{}, acked: map[kafka.Offset]int64{}, bucket: object.NewMem(time.Now),
		settings: emptyWorld(t, func(s *config.Topic) { s.MinISR = 2; s.SegmentBytes = 2000 }).settings,
	}
	c.nowMs.Store(1e12)
	if change != nil {
		change(&c.settings)
	}
	var ids []kafka.BrokerID
	c.images = []*image.Image{image.Empty()}
	for i := range replicas {
		n := &node{c: c, id: kafka.BrokerID(i + 1), disk: vfs.NewCrash()}
		if err := errors.Join(n.disk.MkdirAll("/data"), n.disk.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
		ids = append(ids, n.id)
		n.register()
	}
	c.apply(command.CreateTopic{ID: c.id.Topic, Name: "t", Partitions: [][]kafka.BrokerID{ids}})
	for i := range 2 {
		c.writers = append(c.writers, &writer{c: c, id: kafka.ProducerID(i)})
	}
	for _, n := range c.nodes {
		n.open()
		n.hear(len(c.images) - 1)
	}
	return c
}

// traced is how many steps a failure prints.
var traced = 60

// say notes a step, for whoever has to understand a failure.
func (c *cluster) say(format string, args ...any) {
	c.trace = append(c.trace, fmt.Sprintf(format, args...))
}

func (c *cluster) failf(format string, args ...any) {
	c.t.Fatalf("%s\nafter these steps, the last of which failed:\n%s", fmt.Sprintf(format, args...), strings.Join(c.trace[max(0, len(c.trace)-traced):], "\n"))
}

// image is the newest; partition what it says.
func (c *cluster) image() *image.Image { return c.images[len(c.images)-1] }

func (c *cluster) partition() *image.Partition {
	p, _ := c.image().Partition(c.id)
	return p
}

func (c *cluster) node(id kafka.BrokerID) *node { return c.nodes[id-1] }

// apply is the quorum.
func (c *cluster) apply(cmd command.Command) (left bool) {
	next, result, _, err := image.Apply(c.image(), uint64(len(c.images)), command.Envelope{}, cmd)
	if err != nil {
		c.failf("%T: %v", cmd, err)
	}
	c.images = append(c.images, next)
	out, _ := result.([]kafka.Partition)
	if p := c.partition(); p != nil {
		c.say("  image %d: leader %d epoch %d, ISR %v, ELR %v, partition epoch %d (%T, left out: %v)",
			len(c.images)-1, p.Leader, p.LeaderEpoch, p.ISR, p.ELR, p.PartitionEpoch, cmd, len(out) > 0)
	}
	return len(out) > 0
}

// elect is the controller's reaction to brokers it believes dead: who is gone leaves the ISR, and as long as the rest is too small
// stays eligible; the leader is one of the ISR, or else of the eligible ones, or nobody.
func (c *cluster) elect(prefer kafka.BrokerID, gone ...kafka.BrokerID) {
	p := c.partition()
	dead := func(id kafka.BrokerID) bool { return slices.Contains(gone, id) || c.node(id).p == nil }
	e := command.Election{Partition: c.id, Leader: kafka.NoBroker, Expected: p.PartitionEpoch}
	for _, id := range p.ISR {
		if !dead(id) {
			e.ISR = append(e.ISR, id)
		}
	}
	known := slices.Concat(p.ISR, p.ELR)
	if len(e.ISR) == 0 {
		for _, id := range p.ELR {
			if !dead(id) && len(e.ISR) == 0 {
				e.ISR = append(e.ISR, id)
			}
		}
	}
	if len(e.ISR) > 0 {
		e.Leader = e.ISR[0]
		if slices.Contains(e.ISR, prefer) {
			e.Leader = prefer
		}
	} else {
		e.ISR = p.ISR // its last member is awaited
	}
	if len(e.ISR) < min(c.settings.MinISR, len(p.Replicas)) {
		for _, id := range known {
			if !slices.Contains(e.ISR, id) && !slices.Contains(e.ELR, id) {
				e.ELR = append(e.ELR, id)
			}
		}
		slices.Sort(e.ELR)
	}
	c.apply(command.ElectLeaders{Elections: []command.Election{e}})
	c.checkLeader()
}

// register is what a broker does first: it gets a new epoch.
func (n *node) register() {
	n.c.apply(command.RegisterBroker{ID: n.id, Incarnation: [16]byte{byte(n.id), byte(len(n.c.images)), byte(len(n.c.images) >> 8)}})
	b, _ := n.c.image().Broker(n.id)
	n.epoch = b.Epoch
}

// open starts a broker on its disk.
func (n *node) open() {
	c := n.c
	quiet := slog.New(slog.DiscardHandler)
	var err error
	n.flusher, err = hot.NewFlusher(n.disk, "/data", journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, c.clock, quiet, func(err error) { c.failf("flush of %d: %v", n.id, err) })
	if err != nil {
		c.failf("open %d: %v", n.id, err)
	}
	settings := c.settings
	spec := Spec{Partition: c.id, Topic: "t", Dir: hot.Dir("/data", c.id), Settings: &settings}
	if p := c.partition(); p != nil {
		spec.Manifest, spec.LogStart = p.Remote, p.LogStart
	}
	var rec tierlog.Recovered
	n.p, rec, err = Open(context.Background(), Env{
		Log: tierlog.Env{
			Hot:  hot.Env{FS: n.disk, Flusher: n.flusher, Clock: c.clock, Log: quiet},
			Cold: cold.NewReader(c.bucket, "c", cold.Config{}, quiet), Log: quiet,
		},
		Node: n.id, Clock: c.clock, ProducerExpiry: 1e6 * time.Hour, Deadlines: NewDeadlines(c.clock), Logger: quiet,
	}, spec)
	if err != nil || rec.Damage != nil {
		c.failf("open %d: %v, %v", n.id, err, rec.Damage)
	}
	n.reached = 0
}

// clock may be read by timers.
func (c *cluster) clock() time.Time { return time.UnixMilli(c.nowMs.Load()) }

func (c *cluster) pass(d time.Duration) { c.nowMs.Add(d.Milliseconds()) }

// hear makes a broker act on an image, which may be older than the newest.
func (n *node) hear(i int) {
	n.seen = i
	p, ok := n.c.images[i].Partition(n.c.id)
	if !ok {
		return
	}
	n.p.Publish(p.Remote, p.LogStart)
	switch p.Leader {
	case n.id:
		n.p.Lead(Leadership{Epoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Replicas: p.Replicas, ISR: p.ISR, ELR: p.ELR})
	case kafka.NoBroker:
		n.p.Resign()
	default:
		n.p.Follow(p.Leader, p.LeaderEpoch)
	}
}

func (n *node) flush() {
	if err := n.flusher.FlushLogs([]*hot.Log{n.p.Log().Hot()}); err != nil {
		n.c.failf("flush of %d: %v", n.id, err)
	}
}

// ask sends a fetch to whom the broker believes to lead. What it has is on disk then.
func (n *node) ask() {
	leader, epoch, ok := n.p.Following()
	if !ok {
		return
	}
	at, flushed := n.p.Position()
	if !flushed {
		n.flush()
		if at, flushed = n.p.Position(); !flushed {
			n.c.failf("%d is flushed and not durable", n.id)
		}
	}
	to := n.c.node(leader)
	if len(to.requests) < 8 {
		to.requests = append(to.requests, request{n, Replica{n.id, n.epoch}, epoch, at})
	}
}

// serve answers a fetch.
func (n *node) serve(i int) {
	r := n.requests[i]
	n.requests = slices.Delete(n.requests, i, i+1)
	if r.from.p == nil || r.from.epoch != r.of.Epoch {
		return // nobody waits for the answer
	}
	answer := response{epoch: r.epoch, at: r.at}
	answer.diverging, answer.err = n.p.ReplicaFetched(r.of, r.epoch, r.at)
	if answer.err == nil && answer.diverging == nil {
		res, err := n.p.Read(ReadRequest{From: r.at.From, CurrentEpoch: r.epoch, LastFetchedEpoch: r.at.Last, MaxBytes: 1 + n.c.rng.IntN(2000), Replica: true})
		answer.err = err
		if err == nil {
			answer.fetched = Fetched{Epoch: r.epoch, At: r.at, Records: bytesOf(n.c.t, res.Run), HighWatermark: res.HighWatermark}
		}
	}
	r.from.responses = append(r.from.responses, answer)
}

// take acts on an answer.
func (n *node) take(i int) {
	r := n.responses[i]
	n.responses = slices.Delete(n.responses, i, i+1)
	_, epoch, ok := n.p.Following()
	var err error
	switch {
	case r.err != nil:
		return // it asks again
	case r.diverging != nil:
		err = n.p.Truncate(r.epoch, r.at, *r.diverging)
	default:
		_, err = n.p.AppendFetched(r.fetched)
	}
	stale := !ok || epoch != r.epoch
	if err != nil && !(stale && errors.Is(err, ErrFencedEpoch)) && !errors.Is(err, ErrStale) {
		n.c.failf("%d takes %+v: %v", n.id, r.diverging, err)
	}
}

// isr has a leader look who is in sync.
func (n *node) isr(lag time.Duration) {
	seen := n.c.images[n.seen]
	change, ok := n.p.ProposeISR(lag, func(r Replica) bool {
		b, ok := seen.Broker(r.ID)
		return ok && b.Epoch == r.Epoch
	})
	if ok {
		n.proposals = append(n.proposals, change)
	}
}

// settle brings a proposal to the quorum, or loses it, or its answer.
func (n *node) settle(lost, unheard bool) {
	change := n.proposals[0]
	n.proposals = n.proposals[1:]
	outcome := ISRUnsettled
	if !lost {
		if n.c.apply(command.AlterISR{Changes: []command.ISRChange{change}}) {
			outcome = ISRRefused
		} else {
			outcome = ISRApplied
		}
		if unheard {
			outcome = ISRUnsettled
		}
	}
	if n.p != nil {
		n.p.SettleISR(change, outcome)
	}
}

// crash ends a broker, with what its disk makes of that.
func (n *node) crash(cut vfs.Cut) {
	n.c.note(n)
	n.p.Resign() // what waits is never answered: the writers take it for unknown
	n.p = nil
	n.disk = n.disk.CutNow(cut)
	n.requests, n.responses, n.proposals, n.paused = nil, nil, nil, false
}

// start brings a broker back under a new registration. If it is still to lead, it does so under an epoch of its own: it may have
// lost what it wrote under the last one (KAFKA-10527).
func (n *node) start() {
	n.register()
	n.open()
	if p := n.c.partition(); p.Leader == n.id {
		n.c.elect(n.id)
	}
	n.seen = len(n.c.images) - 1
	n.hear(n.seen)
	n.c.note(n)
}

// send has the writer's batch produced at a broker.
func (w *writer) send(n *node) {
	c := w.c
	if w.value == 0 {
		c.values++
		w.value, w.maybe, w.offset = int64(c.values), false, -1
	}
	b := build(1, func(b *batch.Builder) {
		b.Idempotent, b.ProducerID, b.BaseSequence = true, w.id, w.sequence
		b.Add(w.value, nil, fmt.Appendf(nil, "%d", w.value))
	})
	w.waiting++
	n.p.Produce(b, nil, -1, time.Hour, answerTo{w, w.value}, 0)
	c.note(n)
}

type answerTo struct {
	w     *writer
	value int64
}

// Produced implements Waiter.
func (a answerTo) Produced(_ int, r Produced) {
	w, c := a.w, a.w.c
	w.waiting--
	if a.value != w.value {
		if r.Err == nil && c.acked[r.Base] != a.value {
			c.failf("value %d was acknowledged at %d and earlier elsewhere", a.value, r.Base)
		}
		return
	}
	c.say("  value %d: %d, %v", a.value, r.Base, r.Err)
	if r.Err != nil {
		w.maybe = true
		return
	}
	c.acked[r.Base] = a.value
	w.value, w.sequence = 0, w.sequence+2
}

// note takes notice of what a broker holds: below its high watermark is what everybody must have, and the same.
func (c *cluster) note(n *node) {
	if n.p == nil {
		return
	}
	hw := n.p.HighWatermark()
	if hw < n.reached {
		c.failf("the high watermark of %d went back from %d to %d", n.id, n.reached, hw)
	}
	n.reached = hw
	for _, r := range n.records(0) {
		if sum, ok := c.names[r.position]; ok && sum != r.sum {
			c.failf("epoch %d and offset %d name two records, one of them on %d", r.epoch, r.offset, n.id)
		}
		c.names[r.position] = r.sum
		if r.offset < hw && int(r.offset) >= len(c.committed) {
			if int(r.offset) != len(c.committed) {
				c.failf("%d has a hole before %d", n.id, r.offset)
			}
			c.committed = append(c.committed, r)
		}
	}
	if hw > kafka.Offset(len(c.committed)) {
		c.failf("high watermark of %d is %d, its log ends at %d", n.id, hw, n.p.LocalEnd())
	}
}

// records are those of a broker's log from an offset on.
func (n *node) records(from kafka.Offset) (list []named) {
	log := n.p.Log()
	if from < log.Hot().Start() {
		from = log.Hot().Start()
	}
	for from < log.End() {
		run, err := log.Hot().Read(from, log.End(), 1<<20)
		if err != nil {
			n.c.failf("read %d at %d: %v", n.id, from, err)
		}
		for rest := bytesOf(n.c.t, run); len(rest) > 0; {
			v, next, err := batch.Next(rest)
			if err != nil {
				break
			}
			sum := crc64.Checksum(v, table)
			for o := max(from, v.BaseOffset()); o < v.NextOffset(); o++ {
				list = append(list, named{position{v.LeaderEpoch(), o}, sum})
			}
			from, rest = v.NextOffset(), next
		}
	}
	return list
}

var table = crc64.MakeTable(crc64.ECMA)

// checkLeader fails when whom the quorum has elected lacks what was committed.
func (c *cluster) checkLeader() {
	p := c.partition()
	if p.Leader == kafka.NoBroker {
		return
	}
	n := c.node(p.Leader)
	have := n.records(0)
	for i, want := range c.committed {
		if i >= len(have) || have[i] != want {
			c.failf("leader %d of epoch %d lacks what was committed at %d (its log ends at %d)", n.id, p.LeaderEpoch, want.offset, n.p.LocalEnd())
		}
	}
}

// check compares everything with everything.
func (c *cluster) check() {
	for _, n := range c.nodes {
		if n.p == nil {
			continue
		}
		c.note(n)
		for i, r := range n.records(0) {
			if i < len(c.committed) && r.offset < n.p.HighWatermark() && r != c.committed[i] {
				c.failf("%d has another record below its high watermark, at %d", n.id, r.offset)
			}
			if sum := c.names[r.position]; sum != r.sum {
				c.failf("epoch %d and offset %d name two records, one of them on %d", r.epoch, r.offset, n.id)
			}
		}
	}
}

// settleDown ends all faults and lets the cluster work until nothing is left to do; then all logs are the same, everyone is in
// sync, and everything that was acknowledged is there, once.
func (c *cluster) settleDown() {
	c.say("the faults end")
	for _, n := range c.nodes {
		n.paused = false
		if n.p == nil {
			n.start()
		}
	}
	for round := 0; ; round++ {
		if round == 200 {
			c.failf("the cluster does not come to rest: %+v", c.partition())
		}
		p := c.partition()
		if p.Leader == kafka.NoBroker {
			c.elect(kafka.NoBroker)
		}
		c.pass(time.Millisecond)
		for _, n := range c.nodes {
			if n.seen < len(c.images)-1 {
				n.hear(len(c.images) - 1)
			}
			for len(n.proposals) > 0 {
				n.settle(false, false)
			}
			n.flush()
			n.ask()
		}
		for _, n := range c.nodes {
			for len(n.requests) > 0 {
				n.serve(0)
			}
			for len(n.responses) > 0 {
				n.take(0)
			}
			n.flush()
			n.isr(time.Hour)
		}
		idle := len(p.ISR) == len(c.nodes) && p.Leader != kafka.NoBroker
		for _, w := range c.writers {
			if w.value != 0 && w.waiting == 0 && idle {
				w.send(c.node(p.Leader))
			}
			idle = idle && w.value == 0
		}
		for _, n := range c.nodes {
			idle = idle && len(n.proposals) == 0 && n.seen == len(c.images)-1 && n.p.HighWatermark() == n.p.LocalEnd() && n.p.LocalEnd() == c.nodes[0].p.LocalEnd()
		}
		if idle {
			break
		}
	}
	c.check()
	c.checkContent()
}

// checkContent reads the values and compares them with what was acknowledged.
func (c *cluster) checkContent() {
	n := c.node(c.partition().Leader)
	seen := map[string]kafka.Offset{}
	for from := kafka.Offset(0); from < n.p.LocalEnd(); {
		run, err := n.p.Log().Hot().Read(from, n.p.LocalEnd(), 1<<20)
		if err != nil {
			c.failf("final read at %d: %v", from, err)
		}
		for rest := bytesOf(c.t, run); len(rest) > 0; {
			v, next, err := batch.Next(rest)
			if err != nil {
				break
			}
			it := batch.Records(v)
			for r := range it.All {
				if at, twice := seen[string(r.Value)]; twice && !strings.HasPrefix(string(r.Value), "value") {
					c.failf("value %s is at %d and at %d", r.Value, at, r.Offset)
				}
				seen[string(r.Value)] = r.Offset
			}
			from, rest = v.NextOffset(), next
		}
	}
	for offset, value := range c.acked {
		if at, ok := seen[fmt.Sprint(value)]; !ok || at != offset {
			c.failf("value %d was acknowledged at %d and is at %d (%v)", value, offset, at, ok)
		}
	}
	for _, o := range c.nodes {
		if !slices.Equal(o.records(0), n.records(0)) {
			c.failf("the logs of %d and %d differ", o.id, n.id)
		}
	}
}
