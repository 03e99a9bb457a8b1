package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// ConsumerGroupDescribe (key 69, v0-1): groups of the consumer protocol with their epochs and members, and for each member what it has and what it is
// to have.
//
//   - A group that does not exist, or is of another protocol: GROUP_ID_NOT_FOUND.
//   - v1+: whether a member uses the classic protocol.
//   - A topic that was deleted a moment ago is left out of assignments: it has no name any more.

// How the response says which protocol a member uses.
const (
	classicMember  int8 = 0
	consumerMember int8 = 1
)

func (h *Handler) consumerGroupDescribe(x *wire.Exchange) {
	req := x.Request.(*kmsg.ConsumerGroupDescribeRequest)
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	names := once(req.Groups)
	resp.Groups = make([]kmsg.ConsumerGroupDescribeResponseGroup, len(names))
	m := h.quorum.Image()
	for i, name := range names {
		out := &resp.Groups[i]
		out.Default()
		out.Group = name
		d, err := h.Groups.ConsumerDescribe(name)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = code(err), message(err)
			continue
		}
		out.State, out.Epoch, out.AssignmentEpoch, out.AssignorName = d.State.String(), d.Epoch, d.AssignmentEpoch, d.Assignor
		out.AuthorizedOperations = operations(req.IncludeAuthorizedOperations, groupOperations)
		for j := range d.Members {
			out.Members = append(out.Members, describedMember(m, &d.Members[j]))
		}
	}
	reply(x, resp)
}

func describedMember(m *image.Image, d *consumer.MemberDescription) kmsg.ConsumerGroupDescribeResponseGroupMember {
	out := kmsg.NewConsumerGroupDescribeResponseGroupMember()
	out.MemberID, out.InstanceID, out.RackID = d.ID, nullable(d.InstanceID), nullable(d.Rack)
	out.MemberEpoch, out.ClientID, out.ClientHost = d.Epoch, d.ClientID, d.ClientHost
	out.SubscribedTopics, out.SubscribedTopicRegex = d.Topics, nullable(d.Regex)
	out.Assignment, out.TargetAssignment = describedAssignment(m, d.Assigned), describedAssignment(m, d.Target)
	if out.MemberType = consumerMember; d.Classic {
		out.MemberType = classicMember
	}
	return out
}

func describedAssignment(m *image.Image, s assign.Set) kmsg.Assignment {
	out := kmsg.NewAssignment()
	for id, indexes := range assign.ByTopic(s) {
		if t, ok := m.TopicByID(id); ok {
			tp := kmsg.NewAssignmentTopicPartition()
			tp.TopicID, tp.Topic, tp.Partitions = id, t.Name, indexes
			out.TopicPartitions = append(out.TopicPartitions, tp)
		}
	}
	return out
}
