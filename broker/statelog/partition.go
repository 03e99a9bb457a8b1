package statelog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// perEntry is how many offsets each entry of the metadata log has in a partition: more than an entry can hold commands.
const perEntry = 1 << 16

const (
	// fewRecords are not worth looking through for what is out of date.
	fewRecords = 4096
	// maxTombstones bounds those that a partition keeps; the oldest go first.
	maxTombstones = 10_000
	// ahead is by how many entries a position may be beyond this broker's image: that of a broker that was faster.
	ahead = 1 << 20
)

var errClosed = fmt.Errorf("%w: the broker stops", partition.ErrStorage)

// Partition is one partition of a view. Its methods are those of *partition.Partition that who reads needs, and mean the same.
type Partition struct {
	logs  *Logs
	topic *image.Topic
	index int32

	mu      sync.Mutex
	state   state
	since   uint64        // the image's index when it was opened
	queued  []image.Touch // what came while it was being opened
	records []record      // by offset
	start   kafka.Offset
	end     kafka.Offset
	trimAt  int // how many records are worth a look

	entry   uint64 // of the last touch
	ordinal kafka.Offset
	read    time.Time // the last time

	listeners []*partition.Listener
}

type state uint8

const (
	unread  state = iota
	loading       // touches are queued
	open
)

// record is what is shown at an offset, as long as it is what the image holds.
type record struct {
	offset kafka.Offset
	entity
}

func (p *Partition) init(l *Logs, t *image.Topic, index int32) {
	p.logs, p.topic, p.index = l, t, index
}

// load opens the partition, unless it is open. Nobody else opens it meanwhile.
func (p *Partition) load() {
	p.mu.Lock()
	if p.state == open {
		p.mu.Unlock()
		return
	}
	m := p.logs.quorum.Image()
	p.state, p.since = loading, m.Index()
	p.mu.Unlock()

	found := all(m, p.topic, p.index)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != loading {
		return // another image has come as a snapshot; who wants to read comes again
	}
	first := kafka.Offset(p.since) * perEntry
	p.start = max(first-kafka.Offset(len(found)), 0)
	p.end = max(p.end, first) // of the same entry there were records, when it was open before
	p.records = make([]record, len(found))
	for i, e := range found {
		p.records[i] = record{p.start + kafka.Offset(i), e}
	}
	p.state, p.read, p.trimAt = open, time.Now(), max(fewRecords, 2*len(found))
	queued := p.queued
	p.queued = nil
	for i := range queued {
		p.append(p.logs.quorum.Image(), &queued[i])
	}
}

// add takes what an entry has touched, and tells whether anybody could read it.
func (p *Partition) add(m *image.Image, t *image.Touch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case loading:
		p.queued = append(p.queued, *t)
	case open:
		p.append(m, t)
		return true
	}
	return false
}

// append is add to an open partition. mu is held.
func (p *Partition) append(m *image.Image, t *image.Touch) {
	if t.Index <= p.since {
		return
	}
	if t.Index != p.entry {
		p.entry, p.ordinal = t.Index, 0
	} else {
		p.ordinal = min(p.ordinal+1, perEntry-1)
	}
	e, ok := entityOf(m, t)
	offset := kafka.Offset(t.Index)*perEntry + p.ordinal
	if !ok || offset < p.end {
		return
	}
	p.records = append(p.records, record{offset, e})
	p.end = offset + 1
	if len(p.records) >= p.trimAt {
		p.trim(m)
	}
}

// trim drops what is out of date. mu is held.
func (p *Partition) trim(m *image.Image) {
	tombstones := 0
	for i := range p.records {
		if p.records[i].gone() {
			tombstones++
		}
	}
	p.records = slices.DeleteFunc(p.records, func(r record) bool {
		if r.gone() {
			tombstones--
			return tombstones >= maxTombstones
		}
		return !r.current(m)
	})
	p.trimAt = max(fewRecords, 2*len(p.records))
}

// forget closes the partition.
func (p *Partition) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.records, p.queued = unread, nil, nil
}

// forgetUnread closes the partition if it was last read before, and tells whether it is closed.
func (p *Partition) forgetUnread(before time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == open && p.read.Before(before) {
		p.state, p.records = unread, nil
	}
	return p.state == unread
}

// bounds opens the partition and tells where it begins and ends.
func (p *Partition) bounds() (start, end kafka.Offset) {
	if p.opened() != nil {
		return 0, 0
	}
	defer p.mu.Unlock()
	return p.start, p.end
}

// opened returns with mu held and the partition open, or with an error and without mu.
func (p *Partition) opened() error {
	for range 3 {
		p.mu.Lock()
		if p.state == open {
			p.read = time.Now()
			return nil
		}
		p.mu.Unlock()
		if err := p.logs.open(p); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: snapshots of the metadata come faster than they can be read", partition.ErrStorage)
}

// Subscribe has l told of new records, until cancel.
func (p *Partition) Subscribe(l partition.Listener) (cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(slices.Clone(p.listeners), &l)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.listeners = slices.DeleteFunc(slices.Clone(p.listeners), func(o *partition.Listener) bool { return o == &l })
	}
}

func (p *Partition) notify() {
	p.mu.Lock()
	listeners := p.listeners
	p.mu.Unlock()
	for _, l := range listeners {
		(*l).Advanced(nil)
	}
}

// ID names the partition.
func (p *Partition) ID() kafka.Partition { return kafka.Partition{Topic: p.topic.ID, Index: p.index} }

// LeaderEpoch is the epoch under which this broker serves it, kafka.NoEpoch when another one does.
func (p *Partition) LeaderEpoch() kafka.LeaderEpoch {
	if c := Leader(p.logs.quorum.Image(), p.index); c.Broker == p.logs.node {
		return kafka.LeaderEpoch(c.Epoch)
	}
	return kafka.NoEpoch
}

// CheckEpoch is that of partition.Partition.
func (p *Partition) CheckEpoch(current kafka.LeaderEpoch) error {
	switch epoch := p.LeaderEpoch(); {
	case epoch < 0:
		return partition.ErrNotLeader
	case current < 0 || current == epoch:
		return nil
	case current < epoch:
		return partition.ErrFencedEpoch
	}
	return partition.ErrUnknownEpoch
}

// EpochEnd says that nothing was ever truncated: what entries have done is done, whoever shows it.
func (p *Partition) EpochEnd(requested kafka.LeaderEpoch) partition.EpochEnd {
	return partition.EpochEnd{Epoch: requested, End: math.MaxInt64}
}

// HighWatermark is the offset after the last record.
func (p *Partition) HighWatermark() kafka.Offset { _, end := p.bounds(); return end }

// LastStable is the same: there are no transactions.
func (p *Partition) LastStable() kafka.Offset { return p.HighWatermark() }

// LogStart is the first record's offset. Who asks for less gets this one: the view begins anew now and then, and that is no reason to be sent back.
func (p *Partition) LogStart() kafka.Offset { start, _ := p.bounds(); return start }

// Read is that of partition.Partition: what there is from an offset on, or from the first there is, as one batch.
func (p *Partition) Read(r partition.ReadRequest) (partition.ReadResult, error) {
	none := partition.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}
	if err := p.CheckEpoch(r.CurrentEpoch); err != nil {
		return none, err
	}
	if err := p.opened(); err != nil {
		return none, err
	}
	defer p.mu.Unlock()
	m := p.logs.quorum.Image()
	result := partition.ReadResult{HighWatermark: p.end, LastStable: p.end, LogStart: p.start}
	if r.From < 0 || r.From > kafka.Offset(m.Index()+ahead)*perEntry {
		return result, partition.ErrOutOfRange
	}
	if r.From >= p.end {
		return result, nil
	}
	b, err := p.gather(m, max(r.From, p.start), r.MaxBytes)
	if err != nil {
		return none, errors.Join(partition.ErrStorage, err)
	}
	result.Run = batch.Run{Bytes: b, N: len(b)}
	return result, nil
}

// gather makes a batch of what is up to date from an offset below the end on: one record at least, unless none is left. mu is held.
func (p *Partition) gather(m *image.Image, from kafka.Offset, maxBytes int) ([]byte, error) {
	i := sort.Search(len(p.records), func(i int) bool { return p.records[i].offset >= from })
	b := batch.Builder{BaseOffset: from, LeaderEpoch: p.LeaderEpoch()}
	next := p.end
	for ; i < len(p.records); i++ {
		r := &p.records[i]
		if r.offset-b.BaseOffset >= math.MaxInt32 { // the furthest that a record may be from the first
			if b.Count() > 0 {
				next = r.offset
				break
			}
			b.BaseOffset = r.offset
		}
		if !r.current(m) {
			continue
		}
		timestamp, key, value, err := r.encode(m)
		if err != nil {
			continue // what cannot be read is not shown
		}
		if b.Count() > 0 && b.Size()+len(key)+len(value)+recordOverhead > maxBytes {
			next = r.offset
			break
		}
		b.AddAt(r.offset, timestamp, key, value)
	}
	if next-b.BaseOffset > math.MaxInt32 {
		next = b.BaseOffset + math.MaxInt32
	}
	b.Through(next) // over what is out of date, as a compacted log does
	return b.Build()
}

// recordOverhead is the most that a record adds to its key and value.
const recordOverhead = 32

// ListOffset is that of partition.Partition; nothing is in the bucket.
func (p *Partition) ListOffset(_ context.Context, timestamp int64, _ bool) (partition.Listed, error) {
	nothing := partition.Listed{Offset: -1, Timestamp: -1, Epoch: kafka.NoEpoch}
	epoch := p.LeaderEpoch()
	if err := p.opened(); err != nil {
		return nothing, err
	}
	defer p.mu.Unlock()
	const latest, earliest, newest, earliestLocal = -1, -2, -3, -4
	switch timestamp {
	case latest:
		return partition.Listed{Offset: p.end, Timestamp: -1, Epoch: epoch}, nil
	case earliest, earliestLocal:
		return partition.Listed{Offset: p.start, Timestamp: -1, Epoch: epoch}, nil
	}
	m := p.logs.quorum.Image()
	found := nothing
	for i := range p.records {
		if timestamp < newest || !p.records[i].current(m) {
			continue
		}
		at := p.records[i].timestamp()
		switch {
		case timestamp == newest && at > found.Timestamp:
			found = partition.Listed{Offset: p.records[i].offset, Timestamp: at, Epoch: epoch}
		case timestamp >= 0 && at >= timestamp:
			return partition.Listed{Offset: p.records[i].offset, Timestamp: at, Epoch: epoch}, nil
		}
	}
	return found, nil
}
