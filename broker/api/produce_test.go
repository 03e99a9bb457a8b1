package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// produceRequest sends a batch to partitions of topic "t".
func produceRequest(id kafka.TopicID, acks int16, indexes ...int32) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 1000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = "t", id
	for _, i := range indexes {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = i, make([]byte, batch.HeaderLen)
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// Appends happen before the handler returns; the one answer comes when the last partition has what acks asks for.
func TestProduceWaitsForAll(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 3)
	for i := range int32(2) {
		s.log(id, i).hold = true
	}
	c := s.start(produceRequest(id, -1, 0, 1, 2, 9), 13)
	c.parked(t)
	s.log(id, 1).flush()
	c.parked(t)
	s.log(id, 0).flush()
	r := c.now(t).Message.(*kmsg.ProduceResponse)
	for i, want := range []int16{0, 0, 0, kerr.UnknownTopicOrPartition.Code} {
		if p := r.Topics[0].Partitions[i]; p.ErrorCode != want || r.Topics[0].TopicID != id {
			t.Errorf("%+v", p)
		}
	}
	if r := ask[*kmsg.ProduceResponse](s, produceRequest(id, 1, 0), 3); r.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("by name: %+v", r.Topics[0].Partitions[0])
	}
}

// Each thing that can be wrong with a produce has its code, which is never UNKNOWN_SERVER_ERROR.
func TestProduceErrors(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	txn := "x"
	for _, c := range []struct {
		what    string
		version int16
		want    *kerr.Error
		change  func(*kmsg.ProduceRequest)
		fail    error
	}{
		{what: "old", version: 2, want: kerr.UnsupportedVersion},
		{what: "acks", version: 9, want: kerr.InvalidRequiredAcks, change: func(r *kmsg.ProduceRequest) { r.Acks = 2 }},
		{what: "transaction", version: 9, want: kerr.UnsupportedVersion, change: func(r *kmsg.ProduceRequest) { r.TransactionID = &txn }},
		{what: "topic", version: 9, want: kerr.UnknownTopicOrPartition, change: func(r *kmsg.ProduceRequest) { r.Topics[0].Topic = "u" }},
		{what: "id", version: 13, want: kerr.UnknownTopicID, change: func(r *kmsg.ProduceRequest) { r.Topics[0].TopicID = kafka.TopicID{1} }},
		{what: "zstd", version: 6, want: kerr.UnsupportedCompressionType, change: func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Records[22] = 4 }},
		{what: "corrupt", version: 9, want: kerr.CorruptMessage, fail: partition.ErrCorruptBatch},
		{what: "magic", version: 9, want: kerr.InvalidRecord, fail: partition.ErrUnsupportedMagic},
		{what: "space", version: 9, want: kerr.KafkaStorageError, fail: partition.ErrNoSpace},
		{what: "sequence", version: 9, want: kerr.OutOfOrderSequenceNumber, fail: partition.ErrOutOfOrderSequence},
		{what: "unheard of", version: 9, want: kerr.KafkaStorageError, fail: fmt.Errorf("gremlins")},
	} {
		s.log(id, 0).fail = c.fail
		req := produceRequest(id, -1, 0)
		if c.change != nil {
			c.change(req)
		}
		p := ask[*kmsg.ProduceResponse](s, req, c.version).Topics[0].Partitions[0]
		if p.ErrorCode != c.want.Code || p.BaseOffset != -1 || p.ErrorMessage == nil {
			t.Errorf("%s: %v, want %v", c.what, kerr.ErrorForCode(p.ErrorCode), c.want)
		}
	}
}

// acks=0 gets no answer, unless something is wrong: then the connection is closed.
func TestProduceAcksZero(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	if r := s.start(produceRequest(id, 0, 0), 9).now(t); !r.None {
		t.Errorf("%+v", r)
	}
	if r := s.start(produceRequest(id, 0, 0, 5), 9).now(t); r.Close == nil {
		t.Errorf("%+v", r)
	}
	if r := s.start(produceRequest(id, 0), 9).now(t); !r.None {
		t.Errorf("nothing produced: %+v", r)
	}
}

// A producer at the wrong broker is told where the leader is (KIP-951).
func TestProduceLeaderHint(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	s.log(id, 0).epoch = -1
	r := ask[*kmsg.ProduceResponse](s, produceRequest(id, -1, 0), 12)
	if p := r.Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 1 {
		t.Errorf("%+v", p)
	}
	if len(r.Brokers) != 1 || r.Brokers[0].Host != "localhost" {
		t.Errorf("%+v", r.Brokers)
	}
}

// One produce with acks=1 to one partition, answered; the fake's own work included.
func BenchmarkProduce(b *testing.B) {
	s := newHarness(b)
	id := s.topic("t", 1)
	req := produceRequest(id, 1, 0)
	b.ReportAllocs()
	for b.Loop() {
		s.start(req, 13).now(b)
	}
}

// An incremental fetch of a session of 1,000 partitions, one of which has news; the fake's own work included.
func BenchmarkFetchIncremental(b *testing.B) {
	s := newHarness(b)
	id := s.topic("t", 1000)
	var at []wanted
	for i := range int32(1000) {
		at = append(at, wanted{id, i, 0})
	}
	session, epoch := s.fetchNow(fetchRequest(0, initialEpoch, 0, at...)).SessionID, int32(1)
	l := s.log(id, 7)
	b.ReportAllocs()
	for b.Loop() {
		l.append(1)
		r := s.fetchNow(fetchRequest(session, epoch, 0, wanted{id, 7, l.high - 1}))
		epoch++
		release(r)
	}
}

// A full Metadata answer for 1,000 topics, encoded.
func BenchmarkMetadata(b *testing.B) {
	s := newHarness(b)
	for i := range 1000 {
		s.meta.applied = nil
		id := kafka.TopicID{1, byte(i), byte(i >> 8)}
		s.meta.Propose(b.Context(), newTopicCommand(id, fmt.Sprintf("topic-%d", i), 3))
	}
	req := kmsg.NewPtrMetadataRequest()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = s.start(req, 12).now(b).Message.AppendTo(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}
