package api

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Produce (key 0, v3-13; v0-2 are advertised for old librdkafka and refused on use, KAFKA-18659).
//
//   - Every partition's batches are verified and appended before this returns, so that the next request of the connection
//     appends behind them; the answer waits for acks. By name, from v13 by topic id (KIP-516).
//   - acks other than -1, 0, 1 → INVALID_REQUIRED_ACKS on every partition.
//   - acks=all that are not satisfied within the request's timeout → REQUEST_TIMED_OUT; the records may be committed later.
//   - acks=0 gets no answer; when something went wrong, the connection is closed, which is the only way to tell.
//   - A transaction must have the partition of its first batch there: from v12 the leader adds it, before that the producer has
//     (KIP-890). That is seen in this broker's image, or asked of the transaction's coordinator: until then this connection waits.
//     TRANSACTION_ABORTABLE (v11+), INVALID_TXN_STATE; NOT_ENOUGH_REPLICAS, which every producer tries again, when nobody answers.
//   - zstd before v7 → UNSUPPORTED_COMPRESSION_TYPE (KIP-110).
//   - v8+ names the records at fault (KIP-467); v10+ hints at the real leader (KIP-951).
//   - Never UNKNOWN_SERVER_ERROR: Java's idempotent producer would duplicate (KAFKA-14034).

const (
	minProduceVersion     = 3
	produceZstdVersion    = 7
	produceTopicIDVersion = 13

	// flushTogether is up to how many bytes of records a request's partitions are flushed together: appending them
	// takes less time than a flush. Of a larger one the disk had better begin with the first partition at once.
	flushTogether = 256 << 10
)

// produceCall is one Produce on its way: the answer, being filled by the partitions. Pooled.
type produceCall struct {
	h     *Handler
	x     *wire.Exchange
	resp  *kmsg.ProduceResponse
	slots []*kmsg.ProduceResponseTopicPartition
	bytes int // of records, in all
	// left counts the slots without an outcome, and one for the handler itself while it still appends. Whoever takes it
	// to zero answers.
	left atomic.Int32
	// flushed is when the last of them was on this disk, in nanoseconds of the exchange's trace, if it has one.
	flushed atomic.Int64
	// failed is the first error met with acks=0.
	failed atomic.Pointer[error]
}

func (h *Handler) produce(x *wire.Exchange) {
	req := x.Request.(*kmsg.ProduceRequest)
	c := h.produces.Get().(*produceCall)
	c.x = x
	c.prepare(req)
	err := refuseProduce(x, req)
	if err == nil && req.TransactionID != nil && h.Transactions == nil {
		err = errNoTxn
	}
	if err != nil {
		for slot := range c.slots {
			c.Produced(slot, partition.Produced{Err: err, Base: -1, LogAppendTime: -1, LogStart: -1})
		}
		c.finished()
		return
	}
	h.expectProduce(x, req)
	var unverified error
	if req.TransactionID != nil {
		unverified = h.verifyProduce(x, req)
	}
	h.produceAll(c, x, req, unverified)
	if t := x.Trace; t != nil {
		t.Appended = t.Since()
		c.trace(req) // whoever reads the records first waits for them to come from memory
	}
	c.finished()
}

// produceAll appends to every partition of a request, all of a small one within one flush.
func (h *Handler) produceAll(c *produceCall, x *wire.Exchange, req *kmsg.ProduceRequest, unverified error) {
	if h.Appends != nil && len(c.slots) > 1 && c.bytes <= flushTogether {
		h.Appends.Begin()
		defer h.Appends.End()
	}
	m := h.quorum.Image()
	slot := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		topic, err := producedTopic(m, x.Version, t)
		if x.Trace != nil && x.Trace.Topic == "" && len(t.Partitions) > 0 {
			if x.Trace.Topic = t.Topic; err == nil {
				x.Trace.Topic = topic.Name
			}
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			h.produceTo(c, slot, topic, err, p, req, unverified)
			slot++
		}
	}
}

// produceTo appends to one partition, or says why not.
func (h *Handler) produceTo(c *produceCall, slot int, t *image.Topic, err error, p *kmsg.ProduceRequestTopicPartition, req *kmsg.ProduceRequest, unverified error) {
	var l leader
	if err == nil {
		l, err = h.leading(t, p.Partition)
	}
	if err == nil && c.x.Version < produceZstdVersion && len(p.Records) >= batch.HeaderLen &&
		batch.View(p.Records).Attributes().Codec() == batch.Zstd {
		err = errOldZstd
	}
	if err != nil {
		c.Produced(slot, partition.Produced{Err: err, Base: -1, LogAppendTime: -1, LogStart: -1})
		return
	}
	seen := c.x.Arrival.Of(p.Records)
	acks, timeout := partition.Acks(req.Acks), time.Duration(req.TimeoutMillis)*time.Millisecond
	if req.TransactionID == nil || len(p.Records) < batch.HeaderLen {
		l.Produce(p.Records, seen, acks, timeout, c, slot)
		return
	}
	within := h.transaction(*req.TransactionID, c.x.Version, whoseBatch(p.Records), l.ID())
	if unverified != nil {
		within.Verify = func() error { return unverified }
	}
	l.ProduceWithin(within, p.Records, seen, acks, timeout, c, slot)
}

func whoseBatch(records []byte) txn.Identity {
	v := batch.View(records)
	return txn.Identity{Producer: v.ProducerID(), Epoch: v.ProducerEpoch()}
}

// verifyProduce has the transaction enlist the partitions of a request where it is to write for the first time. The error is for
// the first batches of the transaction in their partitions; others do not ask.
func (h *Handler) verifyProduce(x *wire.Exchange, req *kmsg.ProduceRequest) error {
	if err := h.transacts(); err != nil {
		return err
	}
	if err := checkTxnID(*req.TransactionID); err != nil {
		return err
	}
	m := h.quorum.Image()
	var e txn.EnlistRequest
	for i := range req.Topics {
		t, err := producedTopic(m, x.Version, &req.Topics[i])
		if err != nil {
			continue
		}
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			l, err := h.leading(t, p.Partition)
			if err != nil || !l.Enlists(p.Records) {
				continue
			}
			if e.Identity = whoseBatch(p.Records); h.Transactions.Leader.Verify(*req.TransactionID, e.Identity, l.ID()) != nil {
				e.Partitions = append(e.Partitions, l.ID())
			}
		}
	}
	if len(e.Partitions) == 0 {
		return nil
	}
	e.Version = 2
	return asProduced(h.enlisted(x, *req.TransactionID, e, x.Version < produceEnlistVersion), x.Version)
}

var (
	errOldZstd = refuse(kerr.UnsupportedCompressionType, "zstd needs Produce v7 or later")
	errOldAPI  = refuse(kerr.UnsupportedVersion, "Produce v0-2 carry message formats that are no longer served")
	errNoTxn   = refuse(kerr.UnsupportedVersion, "transactions are not served by this broker")
)

// refuseProduce finds what makes a whole request inadmissible.
func refuseProduce(x *wire.Exchange, req *kmsg.ProduceRequest) error {
	switch {
	case x.Version < minProduceVersion:
		return errOldAPI
	case req.Acks < -1 || req.Acks > 1:
		return refuse(kerr.InvalidRequiredAcks, "acks must be -1, 0 or 1, not %d", req.Acks)
	}
	return nil
}

func producedTopic(m *image.Image, version int16, t *kmsg.ProduceRequestTopic) (*image.Topic, error) {
	if version >= produceTopicIDVersion {
		return topicWithID(m, t.TopicID)
	}
	return topicNamed(m, t.Topic)
}

// prepare builds the answer's shape from the request's.
func (c *produceCall) prepare(req *kmsg.ProduceRequest) {
	total := 0
	c.bytes = 0
	for i := range req.Topics {
		total += len(req.Topics[i].Partitions)
	}
	c.resp = kmsg.NewPtrProduceResponse()
	c.resp.Version = c.x.Version
	c.resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	parts := make([]kmsg.ProduceResponseTopicPartition, total)
	for i := range req.Topics {
		t, rt := &req.Topics[i], &c.resp.Topics[i]
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions, parts = parts[:len(t.Partitions):len(t.Partitions)], parts[len(t.Partitions):]
		for j := range rt.Partitions {
			rt.Partitions[j] = kmsg.NewProduceResponseTopicPartition()
			rt.Partitions[j].Partition = t.Partitions[j].Partition
			c.slots = append(c.slots, &rt.Partitions[j])
			c.bytes += len(t.Partitions[j].Records)
		}
	}
	c.left.Store(int32(total) + 1)
}

// Produced implements partition.Waiter.
func (c *produceCall) Produced(slot int, r partition.Produced) {
	rp := c.slots[slot]
	rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = int64(r.Base), r.LogAppendTime, int64(r.LogStart)
	if r.Err != nil {
		rp.ErrorCode, rp.ErrorMessage = produceCode(r.Err), message(r.Err)
		for _, e := range r.RecordErrors {
			re := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			re.RelativeOffset, re.ErrorMessage = e.Index, &e.Message
			rp.ErrorRecords = append(rp.ErrorRecords, re)
		}
		if err := r.Err; c.failed.Load() == nil {
			c.failed.CompareAndSwap(nil, &err)
		}
		if known(r.Err) == nil {
			c.h.complain(c.x, slog.LevelError, "produce failed for a reason without a code", "error", r.Err)
		}
	}
	if t := c.x.Trace; t != nil && !r.Flushed.IsZero() {
		at := int64(r.Flushed.Sub(t.Start))
		for was := c.flushed.Load(); was < at && !c.flushed.CompareAndSwap(was, at); was = c.flushed.Load() {
		}
	}
	c.finished()
}

// produceCode never lets UNKNOWN_SERVER_ERROR out: what nobody decided on is a storage error, which is retriable.
func produceCode(err error) int16 {
	if c := known(err); c != nil {
		return c.Code
	}
	return kerr.KafkaStorageError.Code
}

// finished takes one off what is left, and answers after the last.
func (c *produceCall) finished() {
	if c.left.Add(-1) > 0 {
		return
	}
	x, resp, h := c.x, c.resp, c.h
	failed := c.failed.Load()
	if t := x.Trace; t != nil {
		if t.Flushed = time.Duration(c.flushed.Swap(0)); failed != nil {
			t.Fail(produceCode(*failed))
		}
	}
	holdOff(x, h.meter(x).Produced(c.bytes))
	c.x, c.resp = nil, nil
	clear(c.slots)
	c.slots = c.slots[:0]
	c.failed.Store(nil)
	h.produces.Put(c)

	switch {
	case x.Request.(*kmsg.ProduceRequest).Acks != 0:
		if failed != nil {
			h.hintLeaders(x, resp)
		}
		x.Reply(wire.Reply{Message: resp})
	case failed != nil:
		x.Reply(wire.Reply{Close: fmt.Errorf("produce with acks=0: %w", *failed)})
	default:
		x.Reply(wire.Reply{None: true})
	}
}

// hintLeaders adds KIP-951's leader hints to partitions that this broker does not lead.
func (h *Handler) hintLeaders(x *wire.Exchange, resp *kmsg.ProduceResponse) {
	m := h.quorum.Image()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode != kerr.NotLeaderForPartition.Code && p.ErrorCode != kerr.FencedLeaderEpoch.Code {
				continue
			}
			topic, err := producedTopic(m, x.Version, &kmsg.ProduceRequestTopic{Topic: t.Topic, TopicID: t.TopicID})
			if err != nil {
				continue
			}
			ip, ok := m.Partition(kafka.Partition{Topic: topic.ID, Index: p.Partition})
			if !ok || ip.Leader == kafka.NoBroker {
				continue
			}
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(ip.Leader), int32(ip.LeaderEpoch)
			resp.Brokers = hintBroker(m, listener(x), ip.Leader, resp.Brokers)
		}
	}
}

// hintBroker adds a broker's address to the hints, once.
func hintBroker(m *image.Image, w way, id kafka.BrokerID, hints []kmsg.ProduceResponseBroker) []kmsg.ProduceResponseBroker {
	for i := range hints {
		if hints[i].NodeID == int32(id) {
			return hints
		}
	}
	b, ok := m.Broker(id)
	if !ok {
		return hints
	}
	host, port, ok := endpoint(b, w)
	if !ok {
		return hints
	}
	hint := kmsg.NewProduceResponseBroker()
	hint.NodeID, hint.Host, hint.Port, hint.Rack = int32(id), host, port, rack(b)
	return append(hints, hint)
}
