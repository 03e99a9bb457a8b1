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

	// mu is taken by who applies entries: never held over what a reader asks for.
	mu     sync.Mutex
	state  state
	since  uint64        // the image's index when it was opened
	queued []image.Touch // what came while it was being opened
	shown
	trimAt int // how many records are worth a look

	entry   uint64 // of the last touch
	ordinal kafka.Offset
	read    time.Time // the last time

	listeners []*partition.Listener
}

// shown is what there is at a moment. Nothing of it is written to: records are appended behind it, and what is dropped is dropped from a copy.
type shown struct {
	records []record // by offset
	start   kafka.Offset
	end     kafka.Offset
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
	left := make([]record, 0, len(p.records)/2)
	for _, r := range p.records {
		if r.gone() {
			if tombstones--; tombstones >= maxTombstones {
				continue
			}
		} else if !r.current(m) {
			continue
		}
		left = append(left, r)
	}
	p.records = left
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

// look opens the partition, and returns what it shows.
func (p *Partition) look() (shown, error) {
	for range 3 {
		p.mu.Lock()
		now, is := p.shown, p.state
		if is == open {
			p.read = time.Now()
		}
		p.mu.Unlock()
		if is == open {
			return now, nil
		}
		if err := p.logs.open(p); err != nil {
			return shown{}, err
		}
	}
	return shown{}, fmt.Errorf("%w: snapshots of the metadata come faster than they can be read", partition.ErrStorage)
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
	return partition.CompareEpochs(p.LeaderEpoch(), current)
}

// EpochEnd says that nothing was ever truncated: what entries have done is done, whoever shows it.
func (p *Partition) EpochEnd(requested kafka.LeaderEpoch) partition.EpochEnd {
	return partition.EpochEnd{Epoch: requested, End: math.MaxInt64}
}

// HighWatermark is the offset after the last record, 0 where it cannot be told: Read says why.
func (p *Partition) HighWatermark() kafka.Offset {
	now, _ := p.look()
	return now.end
}

// LastStable is the same: there are no transactions.
func (p *Partition) LastStable() kafka.Offset { return p.HighWatermark() }

// LogStart is the first record's offset, 0 where it cannot be told. Who asks for less gets this one: the view begins anew now and
// then, and that is no reason to be sent back.
func (p *Partition) LogStart() kafka.Offset {
	now, _ := p.look()
	return now.start
}

// Read is that of partition.Partition: what there is from an offset on, or from the first there is, as one batch.
func (p *Partition) Read(r partition.ReadRequest) (partition.ReadResult, error) {
	none := partition.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}
	if err := p.CheckEpoch(r.CurrentEpoch); err != nil {
		return none, err
	}
	now, err := p.look()
	if err != nil {
		return none, err
	}
	m := p.logs.quorum.Image()
	result := partition.ReadResult{HighWatermark: now.end, LastStable: now.end, LogStart: now.start}
	if r.From < 0 || r.From > kafka.Offset(m.Index()+ahead)*perEntry {
		return result, partition.ErrOutOfRange
	}
	if r.From >= now.end {
		return result, nil
	}
	b, err := now.gather(m, p.LeaderEpoch(), max(r.From, now.start), r.MaxBytes)
	if err != nil {
		return none, errors.Join(partition.ErrStorage, err)
	}
	result.Run = batch.Run{Bytes: b, N: len(b)}
	return result, nil
}

// gather makes a batch of what is up to date from an offset below the end on: one record at least, unless none is left.
func (s shown) gather(m *image.Image, epoch kafka.LeaderEpoch, from kafka.Offset, maxBytes int) ([]byte, error) {
	i := sort.Search(len(s.records), func(i int) bool { return s.records[i].offset >= from })
	b := batch.Builder{BaseOffset: from, LeaderEpoch: epoch}
	next := s.end
	for ; i < len(s.records); i++ {
		r := &s.records[i]
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
		timestamp, key, value, ok := r.encode(m)
		if !ok {
			continue
		}
		if b.Count() > 0 && b.Size()+len(key)+len(value)+recordOverhead > maxBytes {
			next = r.offset
			break
		}
		b.AddAt(r.offset, timestamp, key, value)
	}
	b.Through(min(next, b.BaseOffset+math.MaxInt32)) // over what is out of date, as a compacted log does
	return b.Build()
}

// recordOverhead is the most that a record adds to its key and value.
const recordOverhead = 32

// ListOffset is that of partition.Partition; nothing is in the bucket.
func (p *Partition) ListOffset(_ context.Context, timestamp int64, _ bool) (partition.Listed, error) {
	nothing := partition.Listed{Offset: -1, Timestamp: -1, Epoch: kafka.NoEpoch}
	epoch := p.LeaderEpoch()
	now, err := p.look()
	if err != nil {
		return nothing, err
	}
	const latest, earliest, newest, earliestLocal = -1, -2, -3, -4
	switch timestamp {
	case latest:
		return partition.Listed{Offset: now.end, Timestamp: -1, Epoch: epoch}, nil
	case earliest, earliestLocal:
		return partition.Listed{Offset: now.start, Timestamp: -1, Epoch: epoch}, nil
	}
	m := p.logs.quorum.Image()
	found := nothing
	for i := range now.records {
		if timestamp < newest || !now.records[i].current(m) {
			continue
		}
		at := now.records[i].timestamp()
		switch {
		case timestamp == newest && at > found.Timestamp:
			found = partition.Listed{Offset: now.records[i].offset, Timestamp: at, Epoch: epoch}
		case timestamp >= 0 && at >= timestamp:
			return partition.Listed{Offset: now.records[i].offset, Timestamp: at, Epoch: epoch}, nil
		}
	}
	return found, nil
}

// What it has none of: followers nearby, records on their way to a disk or in the bucket, bytes that count as served, producers.

func (p *Partition) Near(kafka.Offset, func(kafka.BrokerID) bool) (kafka.BrokerID, bool) {
	return kafka.NoBroker, false
}
func (p *Partition) MayBlock(int64) bool                 { return false }
func (p *Partition) Unsettled() bool                     { return false }
func (p *Partition) Settle(context.Context)              {}
func (p *Partition) Served(int, bool, bool)              {}
func (p *Partition) Producers() []partition.ProducerInfo { return nil }
