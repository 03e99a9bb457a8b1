package api

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ShareFetch (key 78, v1-2): a member of a share group is given records, and says what has become of those it was given before (KIP-932).
//
//   - Sessions: epoch 0 begins one, with the partitions named, and acknowledges nothing; -1 ends it, and gives back what the member has; between them
//     partitions are added and forgotten. A session ends with its connection. One that would have too many partitions: INVALID_REQUEST.
//   - An answer to a session's first request lists all partitions, later ones those with records, an error or acknowledgements.
//   - Waits up to max wait for records, but only for those: min bytes beyond one are not waited for.
//   - v1: how many records at most, rounded up to whole batches, and how many are told of together (KIP-1206); v2: or exactly so
//     many; renewal of locks, with which nothing is fetched (KIP-1222).
//   - A client that has had more than its consumer_byte_rate gets no records, and is told how long to wait; see Fetch.
//   - An acknowledgement is answered when what it says is durable.
//   - Errors of partitions are those that clients know: whatever they could not act on is NOT_LEADER_OR_FOLLOWER or KAFKA_STORAGE_ERROR.

func (h *Handler) shareFetch(x *wire.Exchange) {
	req := x.Request.(*kmsg.ShareFetchRequest)
	c, err := h.shareVisit(x, req)
	if err != nil {
		resp := kmsg.NewPtrShareFetchResponse()
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
		return
	}
	c.acknowledge()
	go c.fetch()
}

// shareFetchCall is a ShareFetch that is carried out.
type shareFetchCall struct {
	h        *Handler
	x        *wire.Exchange
	req      *kmsg.ShareFetchRequest
	group    string
	member   string
	fetched  []kafka.Partition
	acks     []shareleader.PartitionAcks
	acked    chan []error
	listsAll bool
}

// shareVisit checks a request and admits it to its session.
func (h *Handler) shareVisit(x *wire.Exchange, req *kmsg.ShareFetchRequest) (*shareFetchCall, error) {
	if err := h.shares(); err != nil {
		return nil, err
	}
	c := &shareFetchCall{h: h, x: x, req: req, acked: make(chan []error, 1), listsAll: req.ShareSessionEpoch == shareleader.InitialEpoch}
	var err error
	if c.group, c.member, err = shareMember(req.GroupID, req.MemberID); err != nil {
		return nil, err
	}
	if req.ShareAcquireMode < 0 || req.ShareAcquireMode > 1 {
		return nil, refuse(kerr.InvalidRequest, "acquire mode %d is none: 0 is batch-optimized, 1 record-limit", req.ShareAcquireMode)
	}
	if err := h.renews(c.group, req.IsRenewAck); err != nil {
		return nil, err
	}
	if req.IsRenewAck && (req.MaxBytes != 0 || req.MinBytes != 0 || req.MaxRecords != 0 || req.MaxWaitMillis != 0) {
		return nil, refuse(kerr.InvalidRequest, "a request that renews locks fetches nothing: its limits are 0")
	}
	m := h.quorum.Image()
	var named, forgotten []kafka.Partition
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			named = append(named, kafka.Partition{Topic: t.TopicID, Index: p.Partition})
			if len(p.AcknowledgementBatches) == 0 {
				if req.IsRenewAck {
					return nil, refuse(kerr.InvalidRequest, "a request that renews locks names partitions with acknowledgements only")
				}
				continue
			}
			var acks []share.Ack
			for _, b := range p.AcknowledgementBatches {
				acks = append(acks, shareAck(b.FirstOffset, b.LastOffset, b.AcknowledgeTypes))
			}
			c.acks = append(c.acks, shareAcks(m, t.TopicID, p.Partition, acks, req.IsRenewAck))
		}
	}
	for i := range req.ForgottenTopicsData {
		for _, p := range req.ForgottenTopicsData[i].Partitions {
			forgotten = append(forgotten, kafka.Partition{Topic: req.ForgottenTopicsData[i].TopicID, Index: p})
		}
	}
	if len(named) > maxFetchPartitions {
		return nil, refuse(kerr.InvalidRequest, "more than %d partitions in one fetch", maxFetchPartitions)
	}
	visit := shareleader.Visit{Group: c.group, Member: c.member, Epoch: req.ShareSessionEpoch, Gone: gone(x)}
	if c.listsAll {
		if len(c.acks) > 0 {
			return nil, refuse(kerr.InvalidRequest, "the request that begins a session acknowledges nothing")
		}
		c.fetched, err = h.Shares.OpenSession(visit, named)
	} else {
		c.fetched, err = h.Shares.UseSession(visit, named, forgotten)
	}
	return c, err
}

// acknowledge does what the request says of records; what became of that comes to acked.
func (c *shareFetchCall) acknowledge() {
	if len(c.acks) == 0 {
		c.acked <- nil
		return
	}
	c.h.Shares.Acknowledge(c.group, c.member, c.acks, func(errs []error) { c.acked <- errs })
}

// fetch waits for records and for acknowledgements to be durable, and answers.
func (c *shareFetchCall) fetch() {
	var got map[kafka.Partition]shareleader.Result
	if c.req.ShareSessionEpoch != shareleader.FinalEpoch && !c.req.IsRenewAck {
		got = c.await()
	}
	errs := <-c.acked
	if c.req.ShareSessionEpoch == shareleader.FinalEpoch {
		c.h.Shares.CloseSession(c.group, c.member)
	}
	reply(c.x, c.respond(got, errs))
}

func (c *shareFetchCall) await() map[kafka.Partition]shareleader.Result {
	meter := c.h.meter(c.x)
	if owed := meter.FetchOwed(); owed > 0 {
		holdOff(c.x, owed)
		return nil
	}
	m := c.h.quorum.Image()
	var there []kafka.Partition
	results := map[kafka.Partition]shareleader.Result{}
	for _, p := range c.fetched {
		if _, err := topicWithID(m, p.Topic); err != nil {
			results[p] = shareleader.Result{Err: err}
		} else if _, ok := m.Partition(p); !ok {
			results[p] = shareleader.Result{Err: errNoPartition}
		} else {
			there = append(there, p)
		}
	}
	c.h.expectShares(c.x, there)
	r := shareleader.Request{
		Request: share.Request{Member: c.member, Records: int(c.req.MaxRecords), Exactly: c.req.ShareAcquireMode == 1, Batch: int(c.req.BatchSize)},
		Group:   c.group, Partitions: there, MaxBytes: max(min(int(c.req.MaxBytes), c.h.settings.fetchMaxBytes), 0), Wait: millis(c.req.MaxWaitMillis),
	}
	if len(results) > 0 || c.req.MinBytes <= 0 {
		r.Wait = 0
	}
	hurry := make(chan struct{})
	c.x.OnHurry(func() { close(hurry) }) // the acknowledgement behind this request is not to wait for it
	r.Hurry = hurry
	ctx, cancel := context.WithCancel(gone(c.x))
	defer cancel()
	bytes := 0
	for p, res := range c.h.Shares.Fetch(ctx, r) {
		results[p] = res
		bytes += len(res.Records)
	}
	meter.Fetched(bytes)
	return results
}

// respond makes the answer.
func (c *shareFetchCall) respond(got map[kafka.Partition]shareleader.Result, errs []error) *kmsg.ShareFetchResponse {
	resp := kmsg.NewPtrShareFetchResponse()
	resp.AcquisitionLockTimeoutMillis = c.h.lockTimeout(c.group)
	m := c.h.quorum.Image()
	acked := make(map[kafka.Partition]error, len(c.acks))
	listed := make([]kafka.Partition, 0, len(got)+len(c.acks))
	for p := range got {
		listed = append(listed, p)
	}
	for i, a := range c.acks {
		acked[a.Partition] = errs[i]
		listed = append(listed, a.Partition)
	}
	if c.listsAll {
		listed = append(listed, c.fetched...)
	}
	slices.SortFunc(listed, kafka.Partition.Compare)
	hinted := map[int32]bool{}
	for _, p := range slices.Compact(listed) {
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].TopicID != p.Topic {
			t := kmsg.NewShareFetchResponseTopic()
			t.TopicID = p.Topic
			resp.Topics = append(resp.Topics, t)
		}
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, c.filled(m, p, got[p], acked[p], hinted))
	}
	resp.NodeEndpoints = c.h.shareEndpoints(m, c.x, hinted)
	return resp
}

// filled is one partition's part of the answer.
func (c *shareFetchCall) filled(m *image.Image, p kafka.Partition, r shareleader.Result, acked error, hinted map[int32]bool) kmsg.ShareFetchResponseTopicPartition {
	out := kmsg.NewShareFetchResponseTopicPartition()
	out.Partition = p.Index
	out.CurrentLeader.LeaderID, out.CurrentLeader.LeaderEpoch = -1, -1
	out.ErrorCode, out.ErrorMessage = shareFetchCode(r.Err), message(r.Err)
	out.AcknowledgeErrorCode, out.AcknowledgeErrorMessage = code(acked), message(acked)
	if out.Records = r.Records; out.Records == nil { // Java clients take no null
		out.Records = []byte{}
	}
	for _, a := range r.Acquired {
		out.AcquiredRecords = append(out.AcquiredRecords, kmsg.ShareFetchResponseTopicPartitionAcquiredRecord{
			FirstOffset: int64(a.First), LastOffset: int64(a.Next) - 1, DeliveryCount: a.Deliveries,
		})
	}
	for _, err := range []error{r.Err, acked} {
		if id, epoch, ok := c.h.shareHint(m, p, err); ok {
			out.CurrentLeader.LeaderID, out.CurrentLeader.LeaderEpoch = id, epoch
			hinted[id] = true
		}
	}
	return out
}

// shareFetchCode is a code that share consumers know what to do about.
func shareFetchCode(err error) int16 {
	switch known(err) {
	case nil, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.CorruptMessage, kerr.KafkaStorageError:
		return code(err)
	}
	return kerr.NotLeaderForPartition.Code
}
