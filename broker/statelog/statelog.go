package statelog

import (
	"sync"
	"time"
	"unicode/utf16"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Partitions is how many each topic has: Kafka's default, from which programs work out where a group is.
const Partitions = 50

// Offsets and Transactions are the topics. Their ids are the same in every cluster, as nothing of them belongs to one.
var (
	Offsets      = &image.Topic{ID: kafka.TopicID{'q', 'a', 'n', 'a', 't', 0, 0x40, 0, 0x80, 0, 0, 'g', 'r', 'o', 'u', 'p'}, Name: "__consumer_offsets", Partitions: Partitions}
	Transactions = &image.Topic{ID: kafka.TopicID{'q', 'a', 'n', 'a', 't', 0, 0x40, 0, 0x80, 0, 0, 't', 'x', 'n', 'i', 'd'}, Name: "__transaction_state", Partitions: Partitions}
)

// Named finds a topic by name, nil when it is none of the two.
func Named(name string) *image.Topic {
	switch name {
	case Offsets.Name:
		return Offsets
	case Transactions.Name:
		return Transactions
	}
	return nil
}

// WithID finds a topic by id, nil when it is none of the two.
func WithID(id kafka.TopicID) *image.Topic {
	switch id {
	case Offsets.ID:
		return Offsets
	case Transactions.ID:
		return Transactions
	}
	return nil
}

// Leader is who serves a partition: the coordinator of the shard of the same number. Every broker could, as each has the image.
func Leader(m *image.Image, index int32) image.Coordinator { return m.Coordinator(index) }

// PartitionOf is the partition of a group, or of a transactional id. Source: Kafka's GroupCoordinator.partitionFor.
func PartitionOf(name string) int32 {
	hash := int32(0) // Java's String.hashCode
	for _, unit := range utf16.Encode([]rune(name)) {
		hash = 31*hash + int32(unit)
	}
	if hash < 0 {
		hash = max(-hash, 0) // the least has no opposite
	}
	return hash % Partitions
}

// Quorum is what this package asks of a *quorum.Quorum.
type Quorum interface {
	Image() *image.Image
	Watch(f quorum.Watcher) (start *image.Image, stop func())
}

// idle is for how long a partition that nobody reads is kept in memory.
const idle = 10 * time.Minute

// Logs are the partitions of both topics on one broker. Safe for concurrent use.
type Logs struct {
	node   kafka.BrokerID
	quorum Quorum

	offsets, transactions [Partitions]Partition

	// mu orders opening and closing. Never taken by who applies entries.
	mu      sync.Mutex
	unwatch func()      // nil while nothing is open
	timer   *time.Timer // runs while something is open
	closed  bool
}

// New returns logs of which nothing is open.
func New(node kafka.BrokerID, q Quorum) *Logs {
	l := &Logs{node: node, quorum: q}
	for i := range int32(Partitions) {
		l.offsets[i].init(l, Offsets, i)
		l.transactions[i].init(l, Transactions, i)
	}
	return l
}

// Close forgets everything; reads fail from now on.
func (l *Logs) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.each(func(p *Partition) { p.forget() })
	l.rest()
}

// Get finds a partition, nil when p is of neither topic.
func (l *Logs) Get(p kafka.Partition) *Partition {
	switch {
	case p.Index < 0 || p.Index >= Partitions:
	case p.Topic == Offsets.ID:
		return &l.offsets[p.Index]
	case p.Topic == Transactions.ID:
		return &l.transactions[p.Index]
	}
	return nil
}

func (l *Logs) each(do func(*Partition)) {
	for i := range l.offsets {
		do(&l.offsets[i])
		do(&l.transactions[i])
	}
}

// open opens a partition, if it is not: others that open wait, who applies entries does not.
func (l *Logs) open(p *Partition) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if l.unwatch == nil {
		_, l.unwatch = l.quorum.Watch(l.touched)
		l.timer = time.AfterFunc(idle, l.sweep)
	}
	p.load()
	return nil
}

// touched is the quorum.Watcher.
func (l *Logs) touched(m *image.Image, touches []image.Touch, restored bool) {
	if restored {
		l.each(func(p *Partition) { p.forget(); p.notify() })
		return
	}
	var told [2][Partitions]bool
	for i := range touches {
		t := &touches[i]
		parts, which := &l.offsets, 0
		if t.Kind == image.TouchTransaction {
			parts, which = &l.transactions, 1
		}
		index := PartitionOf(t.Name)
		told[which][index] = parts[index].add(m, t) || told[which][index]
	}
	for i := range Partitions {
		if told[0][i] {
			l.offsets[i].notify()
		}
		if told[1][i] {
			l.transactions[i].notify()
		}
	}
}

// sweep forgets what nobody has read for a while.
func (l *Logs) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unwatch == nil {
		return
	}
	open := false
	before := time.Now().Add(-idle)
	l.each(func(p *Partition) { open = !p.forgetUnread(before) || open })
	if open {
		l.timer.Reset(idle / 2)
		return
	}
	l.rest()
}

// rest stops what runs while something is open. mu is held.
func (l *Logs) rest() {
	if l.unwatch != nil {
		l.unwatch()
		l.timer.Stop()
		l.unwatch, l.timer = nil, nil
	}
}
