package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// DescribeTransactions (key 65, v0; KIP-664): what is known of transactional ids, by their coordinator: NOT_COORDINATOR elsewhere, and
// TRANSACTIONAL_ID_NOT_FOUND for one that is not known.

func (h *Handler) describeTransactions(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeTransactionsRequest)
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	for _, id := range once(req.TransactionalIDs) {
		resp.TransactionStates = append(resp.TransactionStates, h.describeTransaction(id))
	}
	reply(x, resp)
}

func (h *Handler) describeTransaction(id string) kmsg.DescribeTransactionsResponseTransactionState {
	s := kmsg.NewDescribeTransactionsResponseTransactionState()
	s.TransactionalID = id
	err := h.transacts()
	if err == nil {
		err = checkTxnID(id)
	}
	if err == nil {
		err = h.Transactions.Coordinator.Serves(id)
	}
	m := h.quorum.Image()
	r, ok := m.Transaction(id)
	if err == nil && !ok {
		err = refuse(kerr.TransactionalIDNotFound, "no transactional id %q", id)
	}
	if err != nil {
		s.ErrorCode = code(err)
		return s
	}
	s.State, s.TimeoutMillis, s.StartTimestamp = r.State.String(), r.TimeoutMs, startedMs(r)
	s.ProducerID, s.ProducerEpoch = int64(r.Producer), int16(r.Epoch)
	s.Topics = transactionTopics(m, r.Partitions, r.Groups)
	return s
}

func startedMs(r *txn.Record) int64 {
	if r.StartedMs == 0 {
		return -1
	}
	return r.StartedMs
}

// transactionTopics groups partitions, which are in order, by topic; those of topics that are gone are left out. Groups whose offsets are part
// of the transaction show as where Kafka keeps them.
func transactionTopics(m *image.Image, partitions []kafka.Partition, groups []string) (list []kmsg.DescribeTransactionsResponseTransactionStateTopic) {
	for i, p := range partitions {
		t, ok := m.TopicByID(p.Topic)
		if !ok {
			continue
		}
		if i == 0 || partitions[i-1].Topic != p.Topic || len(list) == 0 {
			list = append(list, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: t.Name})
		}
		last := &list[len(list)-1]
		last.Partitions = append(last.Partitions, p.Index)
	}
	if len(groups) > 0 {
		offsets := kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: statelog.Offsets.Name}
		for _, g := range groups {
			offsets.Partitions = append(offsets.Partitions, statelog.PartitionOf(g))
		}
		slices.Sort(offsets.Partitions)
		offsets.Partitions = slices.Compact(offsets.Partitions)
		list = append(list, offsets)
	}
	return list
}
