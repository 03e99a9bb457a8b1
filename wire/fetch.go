package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// FetchResponse is a Fetch response whose records are runs. Encoded by hand around them; sent with sendfile where possible.
type FetchResponse struct {
	Version       int16
	ThrottleMs    int32
	ErrorCode     int16
	SessionID     int32
	Topics        []FetchTopic
	NodeEndpoints []kmsg.FetchResponseBroker // v16+ (KIP-951)
}

// FetchTopic is one topic of a Fetch response.
type FetchTopic struct {
	Topic      string // versions < 13
	TopicID    kafka.TopicID
	Partitions []FetchPartition
}

// FetchPartition is one partition of a Fetch response.
type FetchPartition struct {
	Partition            int32
	ErrorCode            int16
	HighWatermark        kafka.Offset
	LastStableOffset     kafka.Offset
	LogStartOffset       kafka.Offset
	Aborted              []AbortedTxn // nil encodes as null
	PreferredReadReplica int32
	DivergingEpoch       *kmsg.FetchResponseTopicPartitionDivergingEpoch // v12+ tag 0
	CurrentLeader        *kmsg.FetchResponseTopicPartitionCurrentLeader  // v12+ tag 1
	Records              batch.Run
}

// AbortedTxn is a transaction whose records a read_committed client skips, from First on.
type AbortedTxn struct {
	Producer kafka.ProducerID
	First    kafka.Offset
}

// Release releases all runs.
func (f *FetchResponse) Release() {
	for i := range f.Topics {
		for j := range f.Topics[i].Partitions {
			f.Topics[i].Partitions[j].Records.Release()
		}
	}
}

// Cut is a place in encoded bytes where a run belongs: before the byte at At.
type Cut struct {
	At  int
	Run batch.Run
}

// First versions of what changed in Fetch.
const (
	fetchLogStart      = 5
	fetchSessions      = 7
	fetchReadReplica   = 11
	fetchFlexible      = 12
	fetchTopicIDs      = 13
	fetchNodeEndpoints = 16
)

// AppendTo appends the body to dst, without the records, and to cuts where each run belongs; empty runs make no cut. What
// goes out is dst with the runs put in, so its length is that of dst and all runs. Versions 4-18 are known; of those, a
// field that a version does not have is left out.
//
// Records that are absent are sent as empty, not as null: that is what Kafka does, and some clients know nothing else.
func (f *FetchResponse) AppendTo(dst []byte, cuts []Cut) ([]byte, []Cut) {
	e := fetchEncoder{dst: dst, cuts: cuts, version: f.Version, flexible: f.Version >= fetchFlexible}
	e.int32(f.ThrottleMs)
	if f.Version >= fetchSessions {
		e.int16(f.ErrorCode)
		e.int32(f.SessionID)
	}
	e.length(len(f.Topics))
	for i := range f.Topics {
		e.topic(&f.Topics[i])
	}
	if e.flexible {
		if f.Version >= fetchNodeEndpoints && len(f.NodeEndpoints) > 0 {
			e.uvarint(1)
			e.endpoints(f.NodeEndpoints)
		} else {
			e.uvarint(0)
		}
	}
	return e.dst, e.cuts
}

// fetchEncoder appends fields in one version.
type fetchEncoder struct {
	dst      []byte
	cuts     []Cut
	version  int16
	flexible bool
}

func (e *fetchEncoder) int16(v int16)    { e.dst = binary.BigEndian.AppendUint16(e.dst, uint16(v)) }
func (e *fetchEncoder) int32(v int32)    { e.dst = binary.BigEndian.AppendUint32(e.dst, uint32(v)) }
func (e *fetchEncoder) int64(v int64)    { e.dst = binary.BigEndian.AppendUint64(e.dst, uint64(v)) }
func (e *fetchEncoder) uvarint(v uint32) { e.dst = binary.AppendUvarint(e.dst, uint64(v)) }

// length is that of an array or of bytes.
func (e *fetchEncoder) length(n int) {
	if e.flexible {
		e.uvarint(uint32(n) + 1)
	} else {
		e.int32(int32(n))
	}
}

func (e *fetchEncoder) text(s string) {
	if e.flexible {
		e.uvarint(uint32(len(s)) + 1)
	} else {
		e.int16(int16(len(s)))
	}
	e.dst = append(e.dst, s...)
}

// noTags ends a struct.
func (e *fetchEncoder) noTags() {
	if e.flexible {
		e.uvarint(0)
	}
}

func (e *fetchEncoder) topic(t *FetchTopic) {
	if e.version >= fetchTopicIDs {
		e.dst = append(e.dst, t.TopicID[:]...)
	} else {
		e.text(t.Topic)
	}
	e.length(len(t.Partitions))
	for i := range t.Partitions {
		e.partition(&t.Partitions[i])
	}
	e.noTags()
}

func (e *fetchEncoder) partition(p *FetchPartition) {
	e.int32(p.Partition)
	e.int16(p.ErrorCode)
	e.int64(int64(p.HighWatermark))
	e.int64(int64(p.LastStableOffset))
	if e.version >= fetchLogStart {
		e.int64(int64(p.LogStartOffset))
	}
	e.aborted(p.Aborted)
	if e.version >= fetchReadReplica {
		e.int32(p.PreferredReadReplica)
	}
	e.length(p.Records.Len())
	if p.Records.Len() > 0 {
		e.cuts = append(e.cuts, Cut{At: len(e.dst), Run: p.Records})
	}
	if e.flexible {
		e.partitionTags(p)
	}
}

func (e *fetchEncoder) aborted(list []AbortedTxn) {
	switch {
	case list == nil && e.flexible:
		e.uvarint(0)
	case list == nil:
		e.int32(-1)
	default:
		e.length(len(list))
	}
	for _, a := range list {
		e.int64(int64(a.Producer))
		e.int64(int64(a.First))
		e.noTags()
	}
}

// partitionTags writes those of a partition that differ from their defaults (KIP-595, KIP-951).
func (e *fetchEncoder) partitionTags(p *FetchPartition) {
	const (
		divergingTag, divergingLen = 0, 4 + 8 + 1
		leaderTag, leaderLen       = 1, 4 + 4 + 1
	)
	d, l := p.DivergingEpoch, p.CurrentLeader
	diverging := d != nil && (d.Epoch != -1 || d.EndOffset != -1)
	leader := l != nil && (l.LeaderID != -1 || l.LeaderEpoch != -1)
	n := uint32(0)
	if diverging {
		n++
	}
	if leader {
		n++
	}
	e.uvarint(n)
	if diverging {
		e.uvarint(divergingTag)
		e.uvarint(divergingLen)
		e.int32(d.Epoch)
		e.int64(d.EndOffset)
		e.noTags()
	}
	if leader {
		e.uvarint(leaderTag)
		e.uvarint(leaderLen)
		e.int32(l.LeaderID)
		e.int32(l.LeaderEpoch)
		e.noTags()
	}
}

// endpoints writes tag 0 of the response: where the leaders named in it are.
func (e *fetchEncoder) endpoints(list []kmsg.FetchResponseBroker) {
	// The size stands before the content: write that first, behind, and move.
	start := len(e.dst)
	e.length(len(list))
	for i := range list {
		b := &list[i]
		e.int32(b.NodeID)
		e.text(b.Host)
		e.int32(b.Port)
		if b.Rack == nil {
			e.uvarint(0)
		} else {
			e.text(*b.Rack)
		}
		e.noTags()
	}
	content := append([]byte(nil), e.dst[start:]...)
	e.dst = e.dst[:start]
	e.uvarint(0)
	e.uvarint(uint32(len(content)))
	e.dst = append(e.dst, content...)
}
