package coordinator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

const historyPartitions = 12

// world is a group in hard times: consumers that come, stall, crash and leave, a quorum that is slow and now and then
// gone, a broker that restarts. It keeps the books that the invariants are held against.
type world struct {
	t     *testing.T
	q     *fakeQuorum
	topic kafka.TopicID
	c     atomic.Pointer[Coordinator]

	mu       sync.Mutex
	owners   map[int32]map[int32]string // generation → partition → member
	newest   int32
	accepted map[int32]kafka.Offset // partition → highest offset whose commit was answered
	waiting  map[int]time.Time      // parked requests → since
	requests int
	answered int // commits
	assigned int // generations that somebody was assigned in
}

// request is a call that is answered by a callback; longer than an hour is for ever.
func request[T any](w *world, call func(reply func(T))) T {
	w.mu.Lock()
	n := w.requests
	w.requests++
	w.waiting[n] = time.Now()
	w.mu.Unlock()
	ch := make(chan T, 1)
	call(func(v T) { ch <- v })
	v := <-ch
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, n)
	return v
}

func (w *world) checkParked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, since := range w.waiting {
		if time.Since(since) > time.Hour {
			w.t.Errorf("request %d is parked since %v", n, time.Since(since))
		}
	}
}

// own books an assignment: one owner for each partition of a generation.
func (w *world) own(generation int32, member string, ps []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owners[generation] == nil {
		w.owners[generation] = map[int32]string{}
		w.assigned++
		if generation < w.newest {
			w.t.Errorf("generation %d is assigned after %d", generation, w.newest)
		}
		w.newest = generation
	}
	for _, p := range ps {
		if other := w.owners[generation][p]; other != "" && other != member {
			w.t.Errorf("generation %d: partition %d belongs to %s and %s", generation, p, other, member)
		}
		w.owners[generation][p] = member
	}
}

// committed is where an owner begins; it is never below what was answered.
func (w *world) committed(p int32) kafka.Offset {
	w.mu.Lock()
	low := w.accepted[p]
	w.mu.Unlock()
	at := kafka.Offset(0)
	if o, ok := w.q.Image().Offset("g", kafka.Partition{Topic: w.topic, Index: p}); ok {
		at = o.Offset
	}
	if at < low {
		w.t.Errorf("partition %d: committed offset is %d, %d was answered", p, at, low)
	}
	return at
}

func (w *world) accept(p int32, o kafka.Offset) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted[p] = max(w.accepted[p], o)
	w.answered++
}

// reader is a client of the classic protocol with a range assignor.
type reader struct {
	w        *world
	rng      *rand.Rand
	name     string
	instance string

	id         string
	generation int32
	owned      map[int32]kafka.Offset
}

func (k *reader) identity() group.Identity {
	return group.Identity{MemberID: k.id, InstanceID: k.instance, Generation: k.generation}
}

// run lives until ctx ends: joins, works, and does every now and then what it should not.
func (k *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !k.join() {
			k.sleep(ctx, time.Second)
			continue
		}
		for ctx.Err() == nil && k.work() {
			switch k.rng.IntN(60) {
			case 0: // stalls, and goes on as if nothing had happened
				k.sleep(ctx, time.Duration(k.rng.IntN(40))*time.Second)
			case 1: // crashes: a new process, which does not know its id
				k.id, k.owned = "", nil
				k.sleep(ctx, time.Duration(k.rng.IntN(30))*time.Second)
			case 2:
				_, _ = k.w.c.Load().Leave("g", []group.Leaver{{MemberID: k.id, InstanceID: k.instance}})
				k.id, k.owned = "", nil
				k.sleep(ctx, time.Duration(k.rng.IntN(60))*time.Second)
			case 3: // wants another assignment
				k.owned = nil
			default:
				k.sleep(ctx, time.Duration(1000+k.rng.IntN(2000))*time.Millisecond)
				continue
			}
			break
		}
	}
}

func (k *reader) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// join brings the reader into a generation with an assignment, or tells that it must try again.
func (k *reader) join() bool {
	r := ask(k.id)
	r.InstanceID, r.ClientID = k.instance, k.name
	r.RequireKnownID, r.SkipAssignment = true, true
	r.Protocols[0].Metadata = append(r.Protocols[0].Metadata, byte(k.rng.IntN(2)))
	j := request(k.w, func(reply func(group.JoinResult)) { k.w.c.Load().Join("g", r, reply) })
	switch {
	case errors.Is(j.Err, group.ErrMemberIDRequired):
		k.id = j.MemberID
		return k.join()
	case errors.Is(j.Err, group.ErrUnknownMember), errors.Is(j.Err, group.ErrFencedInstance):
		k.id = ""
		return false
	case j.Err != nil:
		return false
	}
	k.id, k.generation = j.MemberID, j.Generation
	s := group.SyncRequest{MemberID: k.id, InstanceID: k.instance, Generation: k.generation}
	if j.Leader == k.id && !j.SkipAssignment {
		s.Assignments = rangeAssignor(j.Members)
	}
	a := request(k.w, func(reply func(group.SyncResult)) { k.w.c.Load().Sync("g", s, reply) })
	if a.Err != nil {
		if errors.Is(a.Err, group.ErrUnknownMember) || errors.Is(a.Err, group.ErrFencedInstance) {
			k.id = ""
		}
		return false
	}
	ps := decodePartitions(a.Assignment)
	who := k.id
	if k.instance != "" {
		who = k.instance // its place outlives its ids
	}
	k.w.own(k.generation, who, ps)
	k.owned = map[int32]kafka.Offset{}
	for _, p := range ps {
		k.owned[p] = k.w.committed(p)
	}
	return true
}

// work heartbeats, consumes and commits; false when the reader must join again.
func (k *reader) work() bool {
	if err := k.w.c.Load().Heartbeat("g", k.identity()); err != nil {
		if errors.Is(err, group.ErrRebalanceInProgress) {
			k.commit() // what it has done so far, before it gives its partitions up
		}
		if errors.Is(err, group.ErrUnknownMember) || errors.Is(err, group.ErrFencedInstance) {
			k.id = ""
		}
		return errors.Is(err, ErrLoading) || errors.Is(err, ErrStopped)
	}
	return k.commit()
}

func (k *reader) commit() bool {
	var os []command.OffsetCommit
	for p := range k.owned {
		k.owned[p] += kafka.Offset(1 + k.rng.IntN(5))
		os = append(os, at(k.w.topic, p, k.owned[p]))
	}
	if len(os) == 0 {
		return true
	}
	type answer struct{ err error }
	a := request(k.w, func(reply func(answer)) {
		k.w.c.Load().Commit("g", k.identity(), os, func(_ []kafka.Partition, err error) { reply(answer{err}) })
	})
	if a.err != nil {
		for p := range k.owned { // it knows what is committed no better than that
			k.owned[p] = max(k.w.committedQuietly(p), 0)
		}
		return errors.Is(a.err, ErrLoading) || errors.Is(a.err, ErrStopped) || errors.Is(a.err, group.ErrNotAvailable)
	}
	for _, o := range os {
		k.w.accept(o.Partition.Index, o.Offset)
	}
	return true
}

func (w *world) committedQuietly(p int32) kafka.Offset {
	if o, ok := w.q.Image().Offset("g", kafka.Partition{Topic: w.topic, Index: p}); ok {
		return o.Offset
	}
	return 0
}

// rangeAssignor splits the partitions among the members, in the order of their ids.
func rangeAssignor(ms []group.JoinedMember) (as []group.Assignment) {
	slices.SortFunc(ms, func(a, b group.JoinedMember) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	next := 0
	for i, m := range ms {
		n := historyPartitions / len(ms)
		if i < historyPartitions%len(ms) {
			n++
		}
		var b []byte
		for range n {
			b = binary.BigEndian.AppendUint32(b, uint32(next))
			next++
		}
		as = append(as, group.Assignment{MemberID: m.ID, Data: b})
	}
	return as
}

func decodePartitions(b []byte) (ps []int32) {
	for ; len(b) >= 4; b = b[4:] {
		ps = append(ps, int32(binary.BigEndian.Uint32(b)))
	}
	return ps
}

// Hours of hard times: a partition has one owner in a generation, generations are assigned in growing order, what was
// answered as committed is never lost and never goes back, no request is parked for ever, and when all have left,
// nothing is left in memory.
func TestHardTimes(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hardTimes(t, seed) })
		})
	}
}

func hardTimes(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 42))
	q := newFakeQuorum(t)
	q.setDelay(jitter(300 * time.Millisecond))
	w := &world{t: t, q: q, owners: map[int32]map[int32]string{}, accepted: map[int32]kafka.Offset{}, waiting: map[int]time.Time{}}
	w.topic = q.topic("t", historyPartitions)
	q.applied = w.neverBack
	qctx, endQuorum := context.WithCancel(t.Context())
	defer endQuorum()
	go q.run(qctx)
	cfg := DefaultConfig()
	cfg.Node = 1
	c, stop := running(t, cfg, q)
	w.c.Store(c)
	cfg.Node = 2 // one that stands by
	other, stopOther := running(t, cfg, q)
	synctest.Wait()

	ctx, cancel := context.WithCancel(t.Context())
	var consumers sync.WaitGroup
	for i := range 8 {
		k := &reader{w: w, rng: rand.New(rand.NewPCG(seed, uint64(i))), name: fmt.Sprint("c", i), generation: -1}
		if i >= 5 {
			k.instance = fmt.Sprint("i", i)
		}
		consumers.Go(func() { k.run(ctx) })
	}
	for range 60 { // about two hours
		time.Sleep(time.Duration(20+rng.IntN(200)) * time.Second)
		switch rng.IntN(8) {
		case 0:
			q.setDown(true)
			time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
			q.setDown(false)
		case 1:
			stop()
			time.Sleep(time.Duration(rng.IntN(10)) * time.Second)
			cfg.Node = c.cfg.Node
			c, stop = running(t, cfg, q)
			w.c.Store(c)
		case 2, 3: // the groups move; for a while their consumers ask whoever had them
			c, other, stop, stopOther = other, c, stopOther, stop
			q.place(c.cfg.Node)
			time.Sleep(time.Duration(rng.IntN(3)) * time.Second)
			w.c.Store(c)
		}
		w.checkParked()
	}
	cancel()
	consumers.Wait()
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := c.groups.Load(); n != 0 || len(c.timers.heap) != 0 || c.inFlight.Load() != 0 {
		t.Errorf("%d groups, %d deadlines, %d commits are left in memory", n, len(c.timers.heap), c.inFlight.Load())
	}
	if w.assigned < 50 || w.answered < 1000 {
		t.Errorf("a dull history: %d generations, %d commits", w.assigned, w.answered)
	}
	if n := other.groups.Load(); n != 0 || len(other.timers.heap) != 0 || other.inFlight.Load() != 0 {
		t.Errorf("%d groups, %d deadlines, %d commits are left where the groups are not", n, len(other.timers.heap), other.inFlight.Load())
	}
	t.Logf("%d generations assigned, %d commits answered, newest generation %d", w.assigned, w.answered, w.newest)
	stop()
	stopOther()
}

// neverBack watches every applied command: a committed offset only grows.
func (w *world) neverBack(old, next *image.Image, c command.Command) {
	cs, ok := c.(command.CommitOffsets)
	if !ok {
		return
	}
	for _, o := range cs.Offsets {
		if was, ok := old.Offset(cs.Group, o.Partition); ok && was.Offset > o.Offset {
			w.t.Errorf("partition %d: committed offset goes back from %d to %d", o.Partition.Index, was.Offset, o.Offset)
		}
	}
}
