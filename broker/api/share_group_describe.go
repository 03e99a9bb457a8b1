package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// ShareGroupDescribe (key 77, v1): share groups with their epoch and members, and which partitions each reads.
//
//   - A group that does not exist, or is of another kind: GROUP_ID_NOT_FOUND.
//   - A topic that was deleted a moment ago is left out of assignments: it has no name any more.

func (h *Handler) shareGroupDescribe(x *wire.Exchange) {
	req := x.Request.(*kmsg.ShareGroupDescribeRequest)
	resp := kmsg.NewPtrShareGroupDescribeResponse()
	names := once(req.GroupIDs)
	resp.Groups = make([]kmsg.ShareGroupDescribeResponseGroup, len(names))
	m := h.quorum.Image()
	for i, name := range names {
		out := &resp.Groups[i]
		out.Default()
		out.GroupID = name
		d, err := h.Groups.ShareDescribe(name)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = code(err), message(err)
			continue
		}
		out.GroupState, out.GroupEpoch, out.AssignmentEpoch, out.Assignor = d.State.String(), d.Epoch, d.Epoch, share.AssignorName
		out.AuthorizedOperations = operations(req.IncludeAuthorizedOperations, groupOperations)
		for j := range d.Members {
			out.Members = append(out.Members, describedShareMember(m, &d.Members[j]))
		}
	}
	reply(x, resp)
}

func describedShareMember(m *image.Image, d *share.MemberDescription) kmsg.ShareGroupDescribeResponseGroupMember {
	out := kmsg.NewShareGroupDescribeResponseGroupMember()
	out.MemberID, out.RackID, out.MemberEpoch, out.ClientID, out.ClientHost = d.ID, nullable(d.Rack), d.Epoch, d.ClientID, d.ClientHost
	out.SubscribedTopicNames = d.Topics
	for _, t := range describedAssignment(m, d.Assigned).TopicPartitions {
		tp := kmsg.NewShareGroupDescribeResponseGroupMemberAssignmentTopicPartition()
		tp.TopicID, tp.Topic, tp.Partitions = t.TopicID, t.Topic, t.Partitions
		out.Assignment.TopicPartitions = append(out.Assignment.TopicPartitions, tp)
	}
	return out
}
