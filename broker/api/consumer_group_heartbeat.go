package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ConsumerGroupHeartbeat (key 68, v0-1): a member of a consumer group joins, goes on or leaves, and is told its epoch and its partitions (KIP-848).
//
//   - Epoch 0 joins, -1 leaves, -2 leaves a static member's place for its next process. Null fields are as said before.
//   - v0: the coordinator draws the id of who joins without one. v1+: the client does; and subscriptions by regular expression.
//   - Answered when all that the answer tells is durable.
//   - Not served below the metadata level that knows ChangeGroup: see apiVersions.

func (h *Handler) consumerGroupHeartbeat(x *wire.Exchange) {
	req := x.Request.(*kmsg.ConsumerGroupHeartbeatRequest)
	b := consumer.Heartbeat{
		MemberID: req.MemberID, Epoch: req.MemberEpoch, InstanceID: req.InstanceID, Rack: req.RackID,
		ClientID: x.ClientID, ClientHost: clientHost(x), RebalanceMs: req.RebalanceTimeoutMillis,
		Topics: req.SubscribedTopicNames, HasTopics: req.SubscribedTopicNames != nil, Regex: req.SubscribedTopicRegex, Assignor: req.ServerAssignor,
		HasOwned: req.Topics != nil, NeedMemberID: x.Version >= 1,
	}
	if len(req.Topics) > 0 {
		var ps []kafka.Partition
		for i := range req.Topics {
			for _, p := range req.Topics[i].Partitions {
				ps = append(ps, kafka.Partition{Topic: req.Topics[i].TopicID, Index: p})
			}
		}
		b.Owned = assign.SetOf(ps)
	}
	h.Groups.ConsumerHeartbeat(req.Group, &b, func(r consumer.Reply) { reply(x, heartbeatResponse(r)) })
}

func heartbeatResponse(r consumer.Reply) *kmsg.ConsumerGroupHeartbeatResponse {
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	if r.Err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(r.Err), message(r.Err)
		return resp
	}
	resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = nullable(r.MemberID), r.Epoch, int32(r.Interval.Milliseconds())
	if !r.Assigned {
		return resp
	}
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	a.Topics = []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{}
	for id, indexes := range assign.ByTopic(r.Assignment) {
		a.Topics = append(a.Topics, kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{TopicID: id, Partitions: indexes})
	}
	resp.Assignment = &a
	return resp
}
