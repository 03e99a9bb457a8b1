package image

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A snapshot is a CBOR sequence (RFC 8742): a header, records, a trailer.
//
//	["qanat-image", version, cluster id, index, next producer id, level]
//	[type, {record}]  …   topics, partitions, brokers, configs, groups, offsets, sessions, coordinators, parts of groups, transactions,
//	                      offsets within transactions, shares of share groups
//	[0, number of records, CRC32C of every byte before this item]
//
// Records stand in the order of their types and, within a type, of their keys;
// equal images encode to equal bytes. docs/formats-metadata.md has the fields.
const (
	snapshotMagic   = "qanat-image"
	snapshotVersion = 3 // the newest; all from 1 on are read

	// levelless is what is written while the level is 0: releases that know of no levels read it.
	levelless = 2
)

// ErrCorrupt says that bytes are not a whole snapshot.
var ErrCorrupt = errors.New("metadata snapshot is corrupt")

// ErrVersion says that a later release wrote the snapshot.
var ErrVersion = errors.New("metadata snapshot is of a version that this release does not know: start the newer one that wrote it")

type recordType uint8

const (
	recordEnd       recordType = 0
	recordTopic     recordType = 1
	recordPartition recordType = 2
	recordBroker    recordType = 3
	recordConfigs   recordType = 4
	recordGroup     recordType = 5
	recordOffsets   recordType = 6
	recordSession   recordType = 7
	recordShard     recordType = 8  // since version 2
	recordParts     recordType = 9  // since level 2
	recordTxn       recordType = 10 // this and the next since level 3
	recordPending   recordType = 11
	recordShare     recordType = 12 // since level 4
)

// offsetsPerRecord keeps records small, whatever a group has committed.
const offsetsPerRecord = 1024

// partBytesPerRecord keeps records small, however large a group's parts are together.
const partBytesPerRecord = 64 << 10

type header struct {
	_              struct{} `cbor:",toarray"`
	Magic          string
	Version        uint64
	ClusterID      string
	Index          uint64
	NextProducerID kafka.ProducerID
}

// leveled is the header since version 3.
type leveled struct {
	_              struct{} `cbor:",toarray"`
	Magic          string
	Version        uint64
	ClusterID      string
	Index          uint64
	NextProducerID kafka.ProducerID
	Level          command.Level
}

type record struct {
	_    struct{} `cbor:",toarray"`
	Type recordType
	Body any
}

type trailer struct {
	_     struct{} `cbor:",toarray"`
	Type  recordType
	Count uint64
	CRC   uint32
}

type topicRecord struct {
	ID         kafka.TopicID `cbor:"1,keyasint"`
	Name       string        `cbor:"2,keyasint"`
	Partitions int32         `cbor:"3,keyasint"`
	Created    int64         `cbor:"4,keyasint"`
}

type partitionRecord struct {
	Partition      kafka.Partition      `cbor:"1,keyasint"`
	Replicas       []kafka.BrokerID     `cbor:"2,keyasint"`
	ISR            []kafka.BrokerID     `cbor:"3,keyasint"`
	Leader         kafka.BrokerID       `cbor:"4,keyasint"`
	LeaderEpoch    kafka.LeaderEpoch    `cbor:"5,keyasint"`
	PartitionEpoch kafka.PartitionEpoch `cbor:"6,keyasint"`
	LogStart       kafka.Offset         `cbor:"7,keyasint"`
	Remote         manifest.Manifest    `cbor:"8,keyasint"`
	ELR            []kafka.BrokerID     `cbor:"9,keyasint,omitempty"` // this and what follows since version 2
	Adding         []kafka.BrokerID     `cbor:"10,keyasint,omitempty"`
	Removing       []kafka.BrokerID     `cbor:"11,keyasint,omitempty"`
}

type brokerRecord struct {
	Registration command.RegisterBroker `cbor:"1,keyasint"`
	Epoch        kafka.BrokerEpoch      `cbor:"2,keyasint"`
	State        command.BrokerState    `cbor:"3,keyasint,omitempty"` // this and what follows since version 2
	Drain        bool                   `cbor:"4,keyasint,omitempty"`
}

// shardRecord is a shard of the groups that was ever placed.
type shardRecord struct {
	Shard  int32                  `cbor:"1,keyasint"`
	Broker kafka.BrokerID         `cbor:"2,keyasint"`
	Epoch  kafka.CoordinatorEpoch `cbor:"3,keyasint"`
}

type configsRecord struct {
	Type      command.ResourceType `cbor:"1,keyasint"`
	Name      string               `cbor:"2,keyasint"`
	Overrides map[string]string    `cbor:"3,keyasint"`
}

type groupRecord struct {
	Name  string `cbor:"1,keyasint"`
	Type  string `cbor:"2,keyasint"`
	State []byte `cbor:"3,keyasint"`

	Version uint64 `cbor:"4,keyasint,omitempty"` // since level 2
}

// pendingRecord is what a group has committed in transactions under way.
type pendingRecord struct {
	Group   string         `cbor:"1,keyasint"`
	Offsets []pendingEntry `cbor:"2,keyasint"`
}

type pendingEntry struct {
	ID          string               `cbor:"1,keyasint"`
	Commit      command.OffsetCommit `cbor:"2,keyasint"`
	CommittedMs int64                `cbor:"3,keyasint"`
	Index       uint64               `cbor:"4,keyasint"`
}

// shareRecord is a share group's share of a partition.
type shareRecord struct {
	Group     string             `cbor:"1,keyasint"`
	Partition kafka.Partition    `cbor:"2,keyasint"`
	Version   uint64             `cbor:"3,keyasint"`
	Start     kafka.Offset       `cbor:"4,keyasint"`
	Runs      []command.ShareRun `cbor:"5,keyasint,omitempty"`
}

// partsRecord is some of a group's parts.
type partsRecord struct {
	Group string              `cbor:"1,keyasint"`
	Parts []command.GroupPart `cbor:"2,keyasint"`
}

type offsetsRecord struct {
	Group   string         `cbor:"1,keyasint"`
	Offsets []offsetRecord `cbor:"2,keyasint"`
}

type offsetRecord struct {
	Commit      command.OffsetCommit `cbor:"1,keyasint"`
	CommittedMs int64                `cbor:"2,keyasint"`
}

type sessionRecord struct {
	Broker   kafka.BrokerID  `cbor:"1,keyasint"`
	ID       uint64          `cbor:"2,keyasint"`
	Index    uint64          `cbor:"3,keyasint"`
	First    uint64          `cbor:"4,keyasint"`
	Last     uint64          `cbor:"5,keyasint"`
	Outcomes []outcomeRecord `cbor:"6,keyasint"`
}

type outcomeRecord struct {
	Request    uint64            `cbor:"1,keyasint"`
	Refusal    refusalCode       `cbor:"2,keyasint,omitempty"`
	Kind       resultKind        `cbor:"3,keyasint,omitempty"`
	Number     int64             `cbor:"4,keyasint,omitempty"`
	Partitions []kafka.Partition `cbor:"5,keyasint,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode streams the image to w. It runs beside later transactions: m does not change.
func (m *Image) Encode(w io.Writer) error {
	e := newEncoder(w)
	if m.level == 0 {
		e.item(header{Magic: snapshotMagic, Version: levelless, ClusterID: m.clusterID, Index: m.index, NextProducerID: m.nextProducerID})
	} else {
		e.item(leveled{
			Magic: snapshotMagic, Version: snapshotVersion, ClusterID: m.clusterID, Index: m.index, NextProducerID: m.nextProducerID, Level: m.level,
		})
	}
	walk(m.names, func(t *Topic) bool {
		return e.record(recordTopic, topicRecord{ID: t.ID, Name: t.Name, Partitions: t.Partitions, Created: t.Created})
	})
	walk(m.partitions, func(p *Partition) bool {
		return e.record(recordPartition, partitionRecord{
			Partition: p.Partition, Replicas: p.Replicas, ISR: p.ISR, Leader: p.Leader,
			LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, LogStart: p.LogStart, Remote: p.Remote,
			ELR: p.ELR, Adding: p.Adding, Removing: p.Removing,
		})
	})
	walk(m.brokers, func(b *Broker) bool {
		return e.record(recordBroker, brokerRecord{Registration: b.RegisterBroker, Epoch: b.Epoch, State: b.State, Drain: b.Drain})
	})
	m.configs.Root().Walk(func(k []byte, overrides map[string]string) bool {
		return !e.record(recordConfigs, configsRecord{Type: command.ResourceType(k[0]), Name: string(k[1:]), Overrides: overrides})
	})
	walk(m.groups, func(g *groupState) bool {
		return e.record(recordGroup, groupRecord(g.Group))
	})
	walk(m.groups, func(g *groupState) bool { return e.offsets(g) })
	walk(m.sessions, func(s *session) bool { return e.record(recordSession, s.record()) })
	for shard, c := range m.coordinators {
		if c.Epoch > 0 {
			e.record(recordShard, shardRecord{Shard: int32(shard), Broker: c.Broker, Epoch: c.Epoch})
		}
	}
	walk(m.groups, func(g *groupState) bool { return e.parts(g) })
	walk(m.transactions, func(t *command.Transaction) bool { return e.record(recordTxn, t) })
	walk(m.groups, func(g *groupState) bool { return e.pending(g) })
	walk(m.groups, func(g *groupState) bool { return e.shares(g) })
	return e.finish()
}

// encoder keeps the first error; what is written after it is not.
type encoder struct {
	w     *bufio.Writer
	crc   uint32
	count uint64
	err   error
}

func newEncoder(w io.Writer) *encoder { return &encoder{w: bufio.NewWriterSize(w, 1<<16)} }

func (e *encoder) item(v any) {
	if e.err != nil {
		return
	}
	b, err := cbor.Marshal(v)
	if err != nil {
		e.err = fmt.Errorf("encode metadata snapshot: %w", err)
		return
	}
	e.crc = crc32.Update(e.crc, castagnoli, b)
	if _, err := e.w.Write(b); err != nil {
		e.err = fmt.Errorf("write metadata snapshot: %w", err)
	}
}

// record writes one record and tells whether to go on.
func (e *encoder) record(t recordType, body any) bool {
	e.item(record{Type: t, Body: body})
	e.count++
	return e.err == nil
}

func (e *encoder) offsets(g *groupState) bool {
	r := offsetsRecord{Group: g.Name}
	walk(g.offsets, func(o *Offset) bool {
		r.Offsets = append(r.Offsets, offsetRecord{Commit: o.OffsetCommit, CommittedMs: o.CommittedMs})
		if len(r.Offsets) < offsetsPerRecord {
			return true
		}
		ok := e.record(recordOffsets, r)
		r.Offsets = r.Offsets[:0]
		return ok
	})
	if len(r.Offsets) > 0 {
		e.record(recordOffsets, r)
	}
	return e.err == nil
}

func (e *encoder) pending(g *groupState) bool {
	r := pendingRecord{Group: g.Name}
	walk(g.pending, func(o *pendingOffset) bool {
		r.Offsets = append(r.Offsets, pendingEntry{ID: o.id, Commit: o.OffsetCommit, CommittedMs: o.CommittedMs, Index: o.index})
		if len(r.Offsets) < offsetsPerRecord {
			return true
		}
		ok := e.record(recordPending, r)
		r.Offsets = r.Offsets[:0]
		return ok
	})
	if len(r.Offsets) > 0 {
		e.record(recordPending, r)
	}
	return e.err == nil
}

func (e *encoder) shares(g *groupState) bool {
	walk(g.shares, func(s *Share) bool {
		return e.record(recordShare, shareRecord{Group: g.Name, Partition: s.Partition, Version: s.Version, Start: s.Start, Runs: s.Runs})
	})
	return e.err == nil
}

func (e *encoder) parts(g *groupState) bool {
	r, size := partsRecord{Group: g.Name}, 0
	g.parts.Root().Walk(func(k []byte, v []byte) bool {
		r.Parts = append(r.Parts, command.GroupPart{Key: string(k), Value: v})
		if size += len(k) + len(v); size < partBytesPerRecord {
			return false
		}
		ok := e.record(recordParts, r)
		r.Parts, size = r.Parts[:0], 0
		return !ok
	})
	if len(r.Parts) > 0 {
		e.record(recordParts, r)
	}
	return e.err == nil
}

func (e *encoder) finish() error {
	e.item(trailer{Type: recordEnd, Count: e.count, CRC: e.crc})
	if e.err != nil {
		return e.err
	}
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("write metadata snapshot: %w", err)
	}
	return nil
}

func (s *session) record() sessionRecord {
	r := sessionRecord{Broker: s.broker, ID: s.id, Index: s.index, First: s.first, Last: s.last, Outcomes: []outcomeRecord{}}
	for _, o := range s.outcomes {
		or := outcomeRecord{Request: o.request, Refusal: o.refusal, Kind: o.kind, Number: o.number, Partitions: o.partitions}
		r.Outcomes = append(r.Outcomes, or)
	}
	return r
}

// snapshotDecoding takes tags: a manifest stands in one.
var snapshotDecoding = cbor.Limits{Depth: 12, Elements: 1 << 20, Pairs: math.MaxUint16, AnyText: true, Tags: true}.Decoding()
