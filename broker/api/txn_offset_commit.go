package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// TxnOffsetCommit (key 28, v0-5; KIP-98, 447, 890): offsets of a group that become its own when the transaction is committed.
//
//   - v0-4: AddOffsetsToTxn came before; the quorum refuses what is not of a transaction under way that has the group. v5+: the group
//     is added here.
//   - v3+ may name the member, who must be one of the group's generation (KIP-447); without, anybody may commit.
//   - v4+ know TRANSACTION_ABORTABLE: what is not of the transaction under way ends that one, not the client.
//   - Partitions fail alone when they are unknown, or their metadata exceeds offset.metadata.max.bytes.

func (h *Handler) txnOffsetCommit(x *wire.Exchange) {
	req := x.Request.(*kmsg.TxnOffsetCommitRequest)
	c := h.readTxnOffsets(x, req)
	finish := func(gone []kafka.Partition, err error) {
		c.settle(9, gone, asTxnOffsets(err, x.Version)) // no version of this knows the codes of OffsetCommit v9 and on
		reply(x, c.txnResponse())
	}
	err := h.transacts()
	if err == nil {
		err = checkTxnID(req.TransactionalID)
	}
	if err == nil && req.Group == "" {
		err = group.ErrInvalidGroupID // OffsetCommit takes it, for old clients
	}
	if err == nil {
		err = h.Groups.Serves(req.Group)
	}
	who := identity(req.ProducerID, req.ProducerEpoch)
	if err == nil && x.Version >= txnOffsetsEnlistVersion && len(c.offsets) > 0 {
		err = h.enlisted(x, req.TransactionalID, txn.EnlistRequest{Identity: who, Groups: []string{req.Group}, Version: 2}, false)
	}
	if err != nil || len(c.offsets) == 0 {
		finish(nil, err)
		return
	}
	member := group.Identity{MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation}
	in := coordinator.Within{ID: req.TransactionalID, Producer: who.Producer, Epoch: who.Epoch}
	h.Groups.CommitWithin(req.Group, member, in, c.offsets, finish)
}

// asTxnOffsets is what a producer is told.
func asTxnOffsets(err error, version int16) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, txn.ErrFenced), errors.Is(err, image.ErrTransactionFenced):
		return refuse(kerr.InvalidProducerEpoch, "%v", err)
	case (errors.Is(err, image.ErrTransactionState) || errors.Is(err, txn.ErrTooLarge)) && version >= txnOffsetsAbortableVersion:
		return refuse(kerr.TransactionAbortable, "%v", err)
	case code(err) == kerr.NotCoordinator.Code || known(err) == nil || code(err) == kerr.RequestTimedOut.Code:
		if errors.Is(err, coordinator.ErrNotCoordinator) || errors.Is(err, coordinator.ErrCutOff) || errors.Is(err, image.ErrNotCoordinator) {
			return err
		}
		return refuse(kerr.CoordinatorLoadInProgress, "the transaction's coordinator does not answer: %v", err)
	}
	return err
}

// readTxnOffsets sorts out what can be committed. The response is OffsetCommit's until it is sent.
func (h *Handler) readTxnOffsets(x *wire.Exchange, req *kmsg.TxnOffsetCommitRequest) *offsetCommit {
	c := &offsetCommit{resp: kmsg.NewPtrOffsetCommitResponse()}
	m := h.quorum.Image()
	longest := h.Groups.Config().OffsetMetadataBytes
	c.resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		rt, out := &req.Topics[i], &c.resp.Topics[i]
		topic, err := findTopic(m, 0, rt.Topic, kafka.TopicID{})
		out.Topic = rt.Topic
		out.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(rt.Partitions))
		for j := range rt.Partitions {
			p := &rt.Partitions[j]
			out.Partitions[j].Partition = p.Partition
			like := kmsg.OffsetCommitRequestTopicPartition{Partition: p.Partition, Metadata: p.Metadata}
			if refused := commitRefusal(topic, err, &like, longest); refused != nil {
				out.Partitions[j].ErrorCode = code(refused)
				continue
			}
			epoch := kafka.NoEpoch
			if x.Version >= 2 {
				epoch = kafka.LeaderEpoch(p.LeaderEpoch)
			}
			c.at = append(c.at, position{i, j})
			c.offsets = append(c.offsets, command.OffsetCommit{
				Partition: kafka.Partition{Topic: topic.ID, Index: p.Partition}, Offset: kafka.Offset(p.Offset), LeaderEpoch: epoch, Metadata: deref(p.Metadata),
			})
		}
	}
	return c
}

// txnResponse is the response in this API's type.
func (c *offsetCommit) txnResponse() *kmsg.TxnOffsetCommitResponse {
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	resp.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(c.resp.Topics))
	for i, t := range c.resp.Topics {
		resp.Topics[i].Topic = t.Topic
		resp.Topics[i].Partitions = make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			resp.Topics[i].Partitions[j] = kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode}
		}
	}
	return resp
}
