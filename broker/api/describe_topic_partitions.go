package api

import (
	"slices"
	"sort"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// DescribeTopicPartitions (key 75, v0; KIP-966): topics in name order, a page of partitions at a time. The cursor is the first
// partition of the next page. No topics means all. A topic that does not exist is an entry with an error, and counts for
// nothing. A page has at most ResponsePartitionLimit partitions, and never more than partitionsPerPage. A cursor that no page has
// ended with (a partition below 0, a topic that is not among those named) is INVALID_REQUEST for each of the named.

// partitionsPerPage is Kafka's default of max.request.partition.size.limit.
const partitionsPerPage = 2000

func (h *Handler) describeTopicPartitions(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeTopicPartitionsRequest)
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	v := h.view.of(h.quorum.Image())
	names := make([]string, 0, len(req.Topics))
	for i := range req.Topics {
		names = append(names, req.Topics[i].Topic)
	}
	all := len(names) == 0
	if all {
		for i := range v.topics[:v.listed] {
			names = append(names, *v.topics[i].Topic)
		}
	}
	sort.Strings(names)
	if c := req.Cursor; c != nil && (c.Partition < 0 || !all && !slices.Contains(names, c.Topic)) {
		for _, t := range req.Topics {
			dt := kmsg.NewDescribeTopicPartitionsResponseTopic()
			dt.Topic, dt.AuthorizedOperations, dt.ErrorCode = &t.Topic, unauthorized, kerr.InvalidRequest.Code
			resp.Topics = append(resp.Topics, dt)
		}
		reply(x, resp)
		return
	}
	page := page{left: min(max(int(req.ResponsePartitionLimit), 1), partitionsPerPage)}
	if req.Cursor != nil {
		page.topic, page.from = req.Cursor.Topic, int(req.Cursor.Partition)
	}
	for i, name := range names {
		if name < page.topic || i > 0 && names[i-1] == name {
			continue
		}
		if !page.add(resp, v, name, all) {
			break
		}
	}
	reply(x, resp)
}

// page is where a page begins and how much of it is left.
type page struct {
	topic string
	from  int // partition of topic
	left  int
}

// add appends a topic, as far as the page goes; it returns false when the page is full and the cursor set.
func (p *page) add(resp *kmsg.DescribeTopicPartitionsResponse, v *view, name string, all bool) bool {
	dt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	dt.Topic, dt.AuthorizedOperations, dt.IsInternal = &name, unauthorized, internalTopic(name)
	i, ok := v.byName[name]
	if !ok {
		dt.ErrorCode = kerr.UnknownTopicOrPartition.Code
		if err := checkTopicName(name); err != nil {
			dt.ErrorCode = code(err)
		}
		if !all {
			resp.Topics = append(resp.Topics, dt)
		}
		return true
	}
	t := &v.topics[i]
	dt.TopicID, dt.AuthorizedOperations = t.TopicID, topicOperations
	from := 0
	if name == p.topic {
		from = min(p.from, len(t.Partitions))
	}
	if p.left == 0 {
		resp.NextCursor = cursor(name, from)
		return false
	}
	next := min(from+p.left, len(t.Partitions))
	for j := range t.Partitions[from:next] {
		mp := &t.Partitions[from+j]
		dp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		dp.ErrorCode, dp.Partition, dp.LeaderID, dp.LeaderEpoch = mp.ErrorCode, mp.Partition, mp.Leader, mp.LeaderEpoch
		dp.Replicas, dp.ISR, dp.OfflineReplicas = mp.Replicas, mp.ISR, mp.OfflineReplicas
		dp.EligibleLeaderReplicas, dp.LastKnownELR = none, none
		if p, ok := v.image.Partition(kafka.Partition{Topic: t.TopicID, Index: mp.Partition}); ok {
			dp.EligibleLeaderReplicas = ids(p.ELR)
		}
		dt.Partitions = append(dt.Partitions, dp)
	}
	p.left -= next - from
	resp.Topics = append(resp.Topics, dt)
	if next < len(t.Partitions) {
		resp.NextCursor = cursor(name, next)
		return false
	}
	return true
}

// none is an empty list where the protocol would allow null: Java's admin client fails on null.
var none = []int32{}

func cursor(topic string, partition int) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, int32(partition)
	return &c
}
