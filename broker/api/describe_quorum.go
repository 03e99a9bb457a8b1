package api

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
)

// DescribeQuorum (key 55, v0-2; KIP-595, 836, 853): the metadata quorum in KRaft's terms. Its log is the partition 0 of
// __cluster_metadata: the Raft term is the leader epoch, the commit index the high watermark, voters and non-voters are voters
// and observers. How far each is only the leader knows: other brokers ask it, and answer without it when it cannot be reached.

const metadataLog = "__cluster_metadata"

// describeWait bounds the question to the leader.
const describeWait = 3 * time.Second

func (h *Handler) describeQuorum(x *wire.Exchange) {
	ctx, cancel := context.WithTimeout(gone(x), describeWait)
	go func() {
		defer cancel()
		h.describedQuorum(ctx, x)
	}()
}

func (h *Handler) describedQuorum(ctx context.Context, x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeQuorumRequest)
	resp := kmsg.NewPtrDescribeQuorumResponse()
	status, err := h.quorum.Describe(ctx)
	if err != nil {
		h.Log.Debug("ask the metadata leader how far its members are", "error", err)
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewDescribeQuorumResponseTopic()
		rt.Topic = t.Topic
		for j := range t.Partitions {
			rt.Partitions = append(rt.Partitions, quorumPartition(&status, t.Topic, t.Partitions[j].Partition))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	for _, m := range append(status.Voters[:len(status.Voters):len(status.Voters)], status.NonVoters...) {
		if node, ok := quorumNode(m); ok {
			resp.Nodes = append(resp.Nodes, node)
		}
	}
	reply(x, resp)
}

func quorumPartition(s *quorum.Status, topic string, partition int32) kmsg.DescribeQuorumResponseTopicPartition {
	rp := kmsg.NewDescribeQuorumResponseTopicPartition()
	rp.Partition = partition
	if topic != metadataLog || partition != 0 {
		err := refuse(kerr.UnknownTopicOrPartition, "the quorum's log is partition 0 of %s", metadataLog)
		rp.ErrorCode, rp.ErrorMessage = code(err), message(err)
		return rp
	}
	rp.LeaderID, rp.LeaderEpoch, rp.HighWatermark = int32(s.LeaderID), int32(s.Term), int64(s.CommitIndex)
	for _, m := range s.Voters {
		rp.CurrentVoters = append(rp.CurrentVoters, quorumReplica(m))
	}
	for _, m := range s.NonVoters {
		rp.Observers = append(rp.Observers, quorumReplica(m))
	}
	return rp
}

func quorumReplica(m quorum.Member) kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	r := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
	r.ReplicaID, r.ReplicaDirectoryID, r.LogEndOffset = int32(m.ID), m.Directory, int64(m.LastIndex)
	r.LastFetchTimestamp, r.LastCaughtUpTimestamp = unixMillis(m.LastFetch), unixMillis(m.LastCaughtUp)
	return r
}

// unixMillis is a time on the wire; -1 when it is not known.
func unixMillis(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// quorumNode is where a member's Raft listener is.
func quorumNode(m quorum.Member) (kmsg.DescribeQuorumResponseNode, bool) {
	n := kmsg.NewDescribeQuorumResponseNode()
	n.NodeID = int32(m.ID)
	host, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		return n, false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return n, false
	}
	l := kmsg.NewDescribeQuorumResponseNodeListener()
	l.Name, l.Host, l.Port = "CONTROLLER", host, uint16(number)
	n.Listeners = append(n.Listeners, l)
	return n, true
}
