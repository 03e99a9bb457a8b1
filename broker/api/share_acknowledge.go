package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/wire"
)

// ShareAcknowledge (key 79, v1-2): a member of a share group says what has become of records that it was given (KIP-932).
//
//   - In the session that ShareFetch has begun, whose epochs both count up: epoch 0 → INVALID_SHARE_SESSION_EPOCH, -1 ends the session.
//   - For records that the member does not have, or does not have any more: INVALID_RECORD_STATE, and nothing of that partition is done.
//   - v2: renewal of locks (KIP-1222).
//   - Answered when everything is durable.

func (h *Handler) shareAcknowledge(x *wire.Exchange) {
	req := x.Request.(*kmsg.ShareAcknowledgeRequest)
	group, acks, err := h.acknowledged(x, req)
	if err != nil {
		resp := kmsg.NewPtrShareAcknowledgeResponse()
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
		return
	}
	h.Shares.Acknowledge(group, *req.MemberID, acks, func(errs []error) {
		if req.ShareSessionEpoch == shareleader.FinalEpoch {
			h.Shares.CloseSession(group, *req.MemberID)
		}
		reply(x, h.acknowledgedResponse(x, group, acks, errs))
	})
}

// acknowledged checks a request and admits it to its session.
func (h *Handler) acknowledged(x *wire.Exchange, req *kmsg.ShareAcknowledgeRequest) (group string, acks []shareleader.PartitionAcks, err error) {
	if err := h.shares(); err != nil {
		return "", nil, err
	}
	group, member, err := shareMember(req.GroupID, req.MemberID)
	if err == nil {
		err = h.renews(group, req.IsRenewAck)
	}
	if err == nil && req.ShareSessionEpoch == shareleader.InitialEpoch {
		err = refuse(kerr.InvalidShareSessionEpoch, "sessions are begun by ShareFetch")
	}
	if err == nil {
		_, err = h.Shares.UseSession(shareleader.Visit{Group: group, Member: member, Epoch: req.ShareSessionEpoch}, nil, nil)
	}
	if err != nil {
		return "", nil, err
	}
	m := h.quorum.Image()
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			var of []share.Ack
			for _, b := range p.AcknowledgementBatches {
				of = append(of, shareAck(b.FirstOffset, b.LastOffset, b.AcknowledgeTypes))
			}
			acks = append(acks, shareAcks(m, t.TopicID, p.Partition, of, req.IsRenewAck))
		}
	}
	return group, acks, nil
}

func (h *Handler) acknowledgedResponse(x *wire.Exchange, group string, acks []shareleader.PartitionAcks, errs []error) *kmsg.ShareAcknowledgeResponse {
	resp := kmsg.NewPtrShareAcknowledgeResponse()
	resp.AcquisitionLockTimeoutMillis = h.lockTimeout(group)
	m := h.quorum.Image()
	hinted := map[int32]bool{}
	for i, a := range acks {
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].TopicID != a.Partition.Topic {
			t := kmsg.NewShareAcknowledgeResponseTopic()
			t.TopicID = a.Partition.Topic
			resp.Topics = append(resp.Topics, t)
		}
		out := kmsg.NewShareAcknowledgeResponseTopicPartition()
		out.Partition, out.ErrorCode, out.ErrorMessage = a.Partition.Index, code(errs[i]), message(errs[i])
		id, epoch, ok := h.shareHint(m, a.Partition, errs[i])
		if out.CurrentLeader.LeaderID, out.CurrentLeader.LeaderEpoch = id, epoch; ok {
			hinted[id] = true
		}
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, out)
	}
	for _, e := range h.shareEndpoints(m, x, hinted) {
		resp.NodeEndpoints = append(resp.NodeEndpoints, kmsg.ShareAcknowledgeResponseNodeEndpoint(e))
	}
	return resp
}
