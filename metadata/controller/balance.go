package controller

import (
	"cmp"
	"slices"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Move is a partition's new replicas, the preferred one first.
type Move struct {
	Partition kafka.Partition
	Target    []kafka.BrokerID
	Bytes     int64 // to be copied; 0 for a mere change of order
}

// Bytes are balanced when the fullest broker has less than this above the emptiest one, or less than a fifth of the mean:
// finer balance is undone by the next hour's records.
const (
	bytesSlack   = 256 << 20
	bytesSlackOf = 5
)

// Plan is what would balance the cluster, in the order in which it is to be done: racks first (no two replicas of a
// partition share one without need), then the number of replicas, then their bytes, and when nothing of that is left to do
// or under way, the preferred leaders. At most limit moves that copy.
//
// It moves little: a replica only goes from a broker that has more than its share to one that has less, the smallest first.
// Partitions that are being reassigned, or have no leader to copy from, stay as they are. Brokers that are not active keep
// what they have, for they may come back.
func Plan(w World, limit int) []Move {
	b := newBalance(w)
	if len(b.loads) < 2 {
		return nil
	}
	for _, step := range []func() bool{b.spreadRack, b.spreadReplica, b.spreadBytes} {
		for len(b.copies) < limit && step() {
		}
	}
	if len(b.copies) == 0 && !b.underWay {
		for b.spreadLeader() {
		}
	}
	return b.moves()
}

// balance is a plan in the making.
type balance struct {
	w        World
	loads    []*weight // the takers, in id order
	byID     map[kafka.BrokerID]*weight
	racks    map[kafka.BrokerID]string
	parts    []*part
	copies   map[*part]bool // that a copy is made of
	underWay bool
}

// weight is what a broker has.
type weight struct {
	id       kafka.BrokerID
	replicas int
	leaders  int
	bytes    int64
}

// part is a partition as the plan has it.
type part struct {
	was      *image.Partition
	replicas []kafka.BrokerID
	bytes    int64
	fixed    bool
}

func newBalance(w World) *balance {
	b := &balance{w: w, byID: map[kafka.BrokerID]*weight{}, racks: map[kafka.BrokerID]string{}, copies: map[*part]bool{}}
	w.Image.Brokers(func(r *image.Broker) bool {
		b.racks[r.ID] = r.Rack
		return true
	})
	for _, id := range Takers(w.Image) {
		l := &weight{id: id}
		b.loads, b.byID[id] = append(b.loads, l), l
	}
	w.Image.AllPartitions(func(p *image.Partition) bool {
		q := &part{was: p, replicas: without(p.Replicas, p.Removing...), fixed: moving(p) || p.Leader == kafka.NoBroker}
		b.underWay = b.underWay || moving(p)
		if w.Bytes != nil {
			q.bytes = w.Bytes(p.Partition)
		}
		for i, id := range q.replicas {
			b.count(id, q, 1)
			if l := b.byID[id]; l != nil && i == 0 {
				l.leaders++
			}
		}
		b.parts = append(b.parts, q)
		return true
	})
	return b
}

func (b *balance) count(id kafka.BrokerID, q *part, n int) {
	if l := b.byID[id]; l != nil {
		l.replicas += n
		l.bytes += int64(n) * q.bytes
	}
}

// replace moves one replica, which keeps its place in the order.
func (b *balance) replace(q *part, from, to kafka.BrokerID) {
	at := slices.Index(q.replicas, from)
	q.replicas = slices.Clone(q.replicas)
	q.replicas[at] = to
	b.count(from, q, -1)
	b.count(to, q, 1)
	if at == 0 {
		b.byID[from].leaders--
		b.byID[to].leaders++
	}
	b.copies[q] = true
}

// collisions counts the replicas that share a rack with one before them.
func (b *balance) collisions(replicas []kafka.BrokerID) (n int) {
	for i, id := range replicas {
		if rack := b.racks[id]; rack != "" && slices.ContainsFunc(replicas[:i], func(o kafka.BrokerID) bool { return b.racks[o] == rack }) {
			n++
		}
	}
	return n
}

// gain is by how many collisions a move makes a partition better; negative when it makes it worse.
func (b *balance) gain(q *part, from, to kafka.BrokerID) int {
	after := slices.Clone(q.replicas)
	after[slices.Index(after, from)] = to
	return b.collisions(q.replicas) - b.collisions(after)
}

// may tells whether a replica may go from one broker to another. A partition moves once in a plan.
func (b *balance) may(q *part, from, to kafka.BrokerID) bool {
	return !q.fixed && !b.copies[q] && slices.Contains(q.replicas, from) && !slices.Contains(q.replicas, to)
}

// spreadRack takes one replica out of a rack that a partition has two in.
func (b *balance) spreadRack() bool {
	byReplicas := b.ordered(func(x, y *weight) int { return cmp.Compare(x.replicas, y.replicas) })
	for _, q := range b.parts {
		if q.fixed || b.copies[q] || b.collisions(q.replicas) == 0 {
			continue
		}
		for _, from := range slices.Backward(byReplicas) {
			for _, to := range byReplicas {
				if b.may(q, from.id, to.id) && b.gain(q, from.id, to.id) > 0 {
					b.replace(q, from.id, to.id)
					return true
				}
			}
		}
	}
	return false
}

// spreadReplica moves one replica from a broker to one that has at least two fewer.
func (b *balance) spreadReplica() bool {
	byReplicas := b.ordered(func(x, y *weight) int { return cmp.Compare(x.replicas, y.replicas) })
	for _, from := range slices.Backward(byReplicas) {
		for _, to := range byReplicas {
			if from.replicas-to.replicas < 2 {
				break
			}
			if q := b.lightest(from.id, to.id); q != nil {
				b.replace(q, from.id, to.id)
				return true
			}
		}
	}
	return false
}

// lightest is the smallest partition that may go; of equals the first whose leader it does not move.
func (b *balance) lightest(from, to kafka.BrokerID) (best *part) {
	cost := func(q *part) (int64, int) {
		if q.replicas[0] == from {
			return q.bytes, 1
		}
		return q.bytes, 0
	}
	for _, q := range b.parts {
		if !b.may(q, from, to) || b.gain(q, from, to) < 0 {
			continue
		}
		if best != nil {
			size, leads := cost(q)
			bestSize, bestLeads := cost(best)
			if cmp.Or(cmp.Compare(size, bestSize), cmp.Compare(leads, bestLeads)) >= 0 {
				continue
			}
		}
		best = q
	}
	return best
}

// spreadBytes exchanges two replicas between the fullest and the emptiest broker: their numbers stay as they are.
func (b *balance) spreadBytes() bool {
	byBytes := b.ordered(func(x, y *weight) int { return cmp.Compare(x.bytes, y.bytes) })
	low, high := byBytes[0], byBytes[len(byBytes)-1]
	var total int64
	for _, l := range b.loads {
		total += l.bytes
	}
	gap := high.bytes - low.bytes
	if slack := total / int64(len(b.loads)) / bytesSlackOf; gap <= max(slack, bytesSlack) {
		return false
	}
	var large, small *part
	miss := gap // how far from level the exchange leaves the two; at least a quarter must be gained for two copies
	limit := gap * 3 / 4
	for _, x := range b.parts {
		if !b.may(x, high.id, low.id) || x.bytes < gap/8 || b.gain(x, high.id, low.id) < 0 {
			continue
		}
		for _, y := range b.parts {
			if x == y || !b.may(y, low.id, high.id) || b.gain(y, low.id, high.id) < 0 {
				continue
			}
			left := gap - 2*(x.bytes-y.bytes)
			if left < 0 {
				left = -left
			}
			if left < miss && left <= limit {
				large, small, miss = x, y, left
			}
		}
	}
	if large == nil {
		return false
	}
	b.replace(large, high.id, low.id)
	b.replace(small, low.id, high.id)
	return true
}

// spreadLeader takes one preferred leadership from a broker that has at least two more than another, which gets one: by one
// change of order, or by several in a chain where the two share no partition.
func (b *balance) spreadLeader() bool {
	byLeaders := b.ordered(func(x, y *weight) int { return cmp.Compare(x.leaders, y.leaders) })
	for _, from := range slices.Backward(byLeaders) {
		if from.leaders-byLeaders[0].leaders < 2 {
			return false
		}
		if b.chain(from) {
			return true
		}
	}
	return false
}

// chain finds the shortest way from a broker to one with at least two fewer leaders, and hands one leadership along it.
func (b *balance) chain(from *weight) bool {
	type step struct {
		by   *part
		prev kafka.BrokerID
	}
	reached := map[kafka.BrokerID]step{from.id: {}}
	for queue := []kafka.BrokerID{from.id}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if l := b.byID[at]; from.leaders-l.leaders >= 2 {
			for id := at; id != from.id; id = reached[id].prev {
				lead(reached[id].by, id)
			}
			from.leaders--
			l.leaders++
			return true
		}
		for _, q := range b.parts {
			if q.fixed || q.replicas[0] != at {
				continue
			}
			for _, id := range q.replicas[1:] {
				if _, seen := reached[id]; !seen && b.byID[id] != nil {
					reached[id] = step{q, at}
					queue = append(queue, id)
				}
			}
		}
	}
	return false
}

// lead puts a replica first; the others keep their order.
func lead(q *part, id kafka.BrokerID) {
	q.replicas = append([]kafka.BrokerID{id}, without(q.replicas, id)...)
}

// ordered are the loads by some measure, equals by id.
func (b *balance) ordered(by func(x, y *weight) int) []*weight {
	list := slices.Clone(b.loads)
	slices.SortStableFunc(list, by)
	return list
}

func (b *balance) moves() (list []Move) {
	for _, q := range b.parts {
		if slices.Equal(q.replicas, q.was.Replicas) || q.fixed {
			continue
		}
		m := Move{Partition: q.was.Partition, Target: q.replicas}
		m.Bytes = q.bytes * int64(len(without(q.replicas, q.was.Replicas...)))
		list = append(list, m)
	}
	return list
}
