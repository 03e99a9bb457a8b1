package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A Fetch response around runs has, once the runs are put in, the bytes that kmsg writes for the same response, in every
// version.
func TestFetchResponseIsKmsgs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for version := int16(4); version <= 18; version++ {
		for range 50 {
			ours, theirs := randomFetch(r, version)
			dst := []byte("before")
			dst, cuts := ours.AppendTo(dst, nil)
			want := theirs.AppendTo(nil)
			if got := assemble(dst, cuts)[len("before"):]; !bytes.Equal(got, want) {
				t.Fatalf("v%d:\n got %x\nwant %x", version, got, want)
			}
			back := kmsg.NewPtrFetchResponse()
			back.Version = version
			if err := back.ReadFrom(want); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func assemble(dst []byte, cuts []Cut) (out []byte) {
	from := 0
	for _, c := range cuts {
		out = append(append(out, dst[from:c.At]...), c.Run.Bytes...)
		from = c.At
	}
	return append(out, dst[from:]...)
}

func randomFetch(r *rand.Rand, version int16) (*FetchResponse, *kmsg.FetchResponse) {
	ours := &FetchResponse{Version: version, ThrottleMs: r.Int32N(9), ErrorCode: int16(r.IntN(9)), SessionID: r.Int32()}
	theirs := kmsg.NewPtrFetchResponse()
	theirs.Version, theirs.ThrottleMillis, theirs.ErrorCode, theirs.SessionID = version, ours.ThrottleMs, ours.ErrorCode, ours.SessionID
	for range r.IntN(3) {
		topic := FetchTopic{Topic: "topic", TopicID: kafka.TopicID{byte(r.Int())}}
		tt := kmsg.NewFetchResponseTopic()
		tt.Topic, tt.TopicID = topic.Topic, topic.TopicID
		for range r.IntN(4) {
			p, tp := randomPartition(r)
			topic.Partitions = append(topic.Partitions, p)
			tt.Partitions = append(tt.Partitions, tp)
		}
		ours.Topics = append(ours.Topics, topic)
		theirs.Topics = append(theirs.Topics, tt)
	}
	for range r.IntN(3) {
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port = r.Int32(), "host", 9092
		if r.IntN(2) == 0 {
			b.Rack = kmsg.StringPtr("rack")
		}
		ours.NodeEndpoints = append(ours.NodeEndpoints, b)
	}
	if version >= 16 { // kmsg leaves the check to its caller
		theirs.Brokers = ours.NodeEndpoints
	}
	return ours, theirs
}

func randomPartition(r *rand.Rand) (FetchPartition, kmsg.FetchResponseTopicPartition) {
	p := FetchPartition{Partition: r.Int32(), ErrorCode: int16(r.IntN(99)), HighWatermark: kafka.Offset(r.Int64()),
		LastStableOffset: kafka.Offset(r.Int64()), LogStartOffset: kafka.Offset(r.Int64()), PreferredReadReplica: r.Int32()}
	tp := kmsg.NewFetchResponseTopicPartition()
	tp.Partition, tp.ErrorCode, tp.HighWatermark = p.Partition, p.ErrorCode, int64(p.HighWatermark)
	tp.LastStableOffset, tp.LogStartOffset, tp.PreferredReadReplica = int64(p.LastStableOffset), int64(p.LogStartOffset), p.PreferredReadReplica
	tp.RecordBatches = make([]byte, r.IntN(300))
	p.Records = batch.Run{Bytes: tp.RecordBatches, N: len(tp.RecordBatches)}
	if r.IntN(2) == 0 {
		p.Aborted = []AbortedTxn{}
		tp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		for range r.IntN(3) {
			a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			a.ProducerID, a.FirstOffset = r.Int64(), r.Int64()
			tp.AbortedTransactions = append(tp.AbortedTransactions, a)
			p.Aborted = append(p.Aborted, AbortedTxn{Producer: kafka.ProducerID(a.ProducerID), First: kafka.Offset(a.FirstOffset)})
		}
	}
	if r.IntN(2) == 0 {
		tp.DivergingEpoch.Epoch, tp.DivergingEpoch.EndOffset = r.Int32N(3)-1, r.Int64N(3)-1
		p.DivergingEpoch = &tp.DivergingEpoch
	}
	if r.IntN(2) == 0 {
		tp.CurrentLeader.LeaderID, tp.CurrentLeader.LeaderEpoch = r.Int32N(3)-1, r.Int32N(3)-1
		p.CurrentLeader = &tp.CurrentLeader
	}
	return p, tp
}

// Every run of a response is released by Release, once.
func TestFetchResponseRelease(t *testing.T) {
	var released [3]count
	f := &FetchResponse{Topics: []FetchTopic{
		{Partitions: []FetchPartition{{Records: batch.Run{Hold: &released[0]}}, {Records: batch.Run{}}}},
		{Partitions: []FetchPartition{{Records: batch.Run{Hold: &released[1]}}, {Records: batch.Run{Hold: &released[2]}}}},
	}}
	f.Release()
	if released != [3]count{1, 1, 1} {
		t.Errorf("released %v times", released)
	}
}

type count int

func (c *count) Release() { *c++ }
