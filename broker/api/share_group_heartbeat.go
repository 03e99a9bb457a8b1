package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/wire"
)

// ShareGroupHeartbeat (key 76, v1): a member of a share group joins, goes on or leaves, and is told its epoch and its partitions (KIP-932).
//
//   - Epoch 0 joins, -1 leaves. Null fields are as said before. The client draws the member's id.
//   - A name that another kind of group has: GROUP_ID_NOT_FOUND.
//   - Answered when all that the answer tells is durable.
//   - Not served below the metadata level that knows ChangeShare, as all of share groups: see apiVersions.

func (h *Handler) shareGroupHeartbeat(x *wire.Exchange) {
	req := x.Request.(*kmsg.ShareGroupHeartbeatRequest)
	b := share.Heartbeat{
		MemberID: req.MemberID, Epoch: req.MemberEpoch, Rack: req.RackID, ClientID: x.ClientID, ClientHost: clientHost(x),
		Topics: req.SubscribedTopicNames, HasTopics: req.SubscribedTopicNames != nil,
	}
	h.Groups.ShareHeartbeat(req.GroupID, &b, func(r share.Reply) { reply(x, shareHeartbeatResponse(r)) })
}

func shareHeartbeatResponse(r share.Reply) *kmsg.ShareGroupHeartbeatResponse {
	resp := kmsg.NewPtrShareGroupHeartbeatResponse()
	if r.Err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(r.Err), message(r.Err)
		return resp
	}
	resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = nullable(r.MemberID), r.Epoch, int32(r.Interval.Milliseconds())
	if !r.Assigned {
		return resp
	}
	a := kmsg.NewShareGroupHeartbeatResponseAssignment()
	a.TopicPartitions = []kmsg.ShareGroupHeartbeatResponseAssignmentTopicPartition{}
	for id, indexes := range assign.ByTopic(r.Assignment) {
		a.TopicPartitions = append(a.TopicPartitions, kmsg.ShareGroupHeartbeatResponseAssignmentTopicPartition{TopicID: id, Partitions: indexes})
	}
	resp.Assignment = &a
	return resp
}
