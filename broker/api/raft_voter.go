package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// AddRaftVoter and RemoveRaftVoter (keys 80, v0-1, and 81, v0; KIP-853): a member of the metadata quorum becomes a voter, or an
// observer. Every broker is a member, by having joined, so the listeners that a request names are not looked at. A directory
// that it names must be the member's. The last voter, and one without which there would be no majority, are refused with
// INVALID_REQUEST. Answered when the change is committed.

func (h *Handler) addRaftVoter(x *wire.Exchange) {
	req := x.Request.(*kmsg.AddRaftVoterRequest)
	ctx, cancel := within(x, req.TimeoutMillis)
	go func() {
		defer cancel()
		resp := kmsg.NewPtrAddRaftVoterResponse()
		err := h.changeVoter(ctx, req.ClusterID, kafka.BrokerID(req.VoterID), req.VoterDirectoryID, true)
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
	}()
}

func (h *Handler) removeRaftVoter(x *wire.Exchange) {
	req := x.Request.(*kmsg.RemoveRaftVoterRequest)
	ctx, cancel := within(x, adminWaitMs)
	go func() {
		defer cancel()
		resp := kmsg.NewPtrRemoveRaftVoterResponse()
		err := h.changeVoter(ctx, req.ClusterID, kafka.BrokerID(req.VoterID), req.VoterDirectoryID, false)
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
	}()
}

// changeVoter promotes or demotes a member.
func (h *Handler) changeVoter(ctx context.Context, cluster *string, node kafka.BrokerID, directory [16]byte, voter bool) error {
	if cluster != nil && *cluster != h.quorum.Image().ClusterID() {
		return refuse(kerr.InconsistentClusterID, "this is cluster %s", h.quorum.Image().ClusterID())
	}
	status, err := h.quorum.Describe(ctx)
	if err != nil {
		return err
	}
	member, votes := memberOf(&status, node)
	switch {
	case member == nil || !voter && !votes:
		return refuse(kerr.VoterNotFound, "broker %d is not a %s of the metadata quorum", node, map[bool]string{true: "member", false: "voter"}[voter])
	case directory != [16]byte{} && directory != member.Directory:
		return refuse(kerr.VoterNotFound, "broker %d has another directory", node)
	case voter && votes:
		return refuse(kerr.DuplicateVoter, "broker %d is a voter already", node)
	case voter:
		return h.quorum.Promote(ctx, node)
	}
	return h.quorum.Demote(ctx, node)
}

// memberOf finds a member and tells whether it votes; nil when there is none.
func memberOf(s *quorum.Status, node kafka.BrokerID) (m *quorum.Member, votes bool) {
	for i := range s.Voters {
		if s.Voters[i].ID == node {
			return &s.Voters[i], true
		}
	}
	for i := range s.NonVoters {
		if s.NonVoters[i].ID == node {
			return &s.NonVoters[i], false
		}
	}
	return nil, false
}
