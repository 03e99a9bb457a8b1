package api

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// AddPartitionsToTxn (key 24, v0-5; KIP-98, 890): a producer says to which partitions its transaction is about to write.
//
//   - One unknown partition, and none is added: the others are OPERATION_NOT_ATTEMPTED.
//   - v0-1 do not know PRODUCER_FENCED: INVALID_PRODUCER_EPOCH. v4+ have several transactions, which may be asked of only (VerifyOnly).
//   - While the transaction before is being ended the request waits a moment, and only then is CONCURRENT_TRANSACTIONS.
//   - Answered when the quorum has applied it.

const txnFencedVersion = 2

// addedTxn is one transaction of a request.
type addedTxn struct {
	id     string
	who    txn.Identity
	verify bool
	topics []kmsg.AddPartitionsToTxnRequestTransactionTopic
	out    []kmsg.AddPartitionsToTxnResponseTransactionTopic
}

func (h *Handler) addPartitionsToTxn(x *wire.Exchange) {
	req := x.Request.(*kmsg.AddPartitionsToTxnRequest)
	var txns []*addedTxn
	if x.Version >= 4 {
		for i := range req.Transactions {
			t := &req.Transactions[i]
			txns = append(txns, &addedTxn{id: t.TransactionalID, who: identity(t.ProducerID, t.ProducerEpoch), verify: t.VerifyOnly, topics: t.Topics})
		}
	} else {
		t := &addedTxn{id: req.TransactionalID, who: identity(req.ProducerID, req.ProducerEpoch)}
		for _, topic := range req.Topics {
			t.topics = append(t.topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: topic.Topic, Partitions: topic.Partitions})
		}
		txns = append(txns, t)
	}
	var left atomic.Int32
	left.Store(int32(len(txns)) + 1)
	done := func() {
		if left.Add(-1) == 0 {
			h.replyAdded(x, txns)
		}
	}
	for _, t := range txns {
		h.addToTxn(x, t, done)
	}
	done()
}

func identity(id int64, epoch int16) txn.Identity {
	return txn.Identity{Producer: kafka.ProducerID(id), Epoch: kafka.ProducerEpoch(epoch)}
}

// addToTxn has one transaction grow; done is called once.
func (h *Handler) addToTxn(x *wire.Exchange, t *addedTxn, done func()) {
	partitions, err := t.resolve(h.quorum.Image())
	if err == nil {
		err = h.transacts()
	}
	if err == nil {
		err = checkTxnID(t.id)
	}
	if err != nil {
		t.fill(code(err))
		done()
		return
	}
	answer := func(err error) {
		t.fill(fencedCode(err, x.Version, txnFencedVersion))
		done()
	}
	if t.verify {
		h.Transactions.Coordinator.Verify(t.id, t.who, partitions, answer)
		return
	}
	h.Transactions.Coordinator.Enlist(t.id, txn.EnlistRequest{Identity: t.who, Partitions: partitions, Version: 1}, answer)
}

// resolve prepares the answer; with an error, those that have none themselves are not attempted.
func (t *addedTxn) resolve(m *image.Image) (list []kafka.Partition, err error) {
	t.out = make([]kmsg.AddPartitionsToTxnResponseTransactionTopic, len(t.topics))
	for i := range t.topics {
		t.out[i].Topic = t.topics[i].Topic
		t.out[i].Partitions = make([]kmsg.AddPartitionsToTxnResponseTransactionTopicPartition, len(t.topics[i].Partitions))
		for j, index := range t.topics[i].Partitions {
			p, failed := txnPartition(m, t.topics[i].Topic, index)
			t.out[i].Partitions[j].Partition = index
			if failed != nil {
				t.out[i].Partitions[j].ErrorCode = code(failed)
				err = refuse(kerr.OperationNotAttempted, "another partition does not exist")
			}
			list = append(list, p)
		}
	}
	return list, err
}

// fill gives a code to those that have none.
func (t *addedTxn) fill(code int16) {
	for i := range t.out {
		for j := range t.out[i].Partitions {
			if p := &t.out[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode = code
			}
		}
	}
}

func (h *Handler) replyAdded(x *wire.Exchange, txns []*addedTxn) {
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	if x.Version >= 4 {
		for _, t := range txns {
			resp.Transactions = append(resp.Transactions, kmsg.AddPartitionsToTxnResponseTransaction{TransactionalID: t.id, Topics: t.out})
		}
		reply(x, resp)
		return
	}
	for _, topic := range txns[0].out {
		rt := kmsg.AddPartitionsToTxnResponseTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	reply(x, resp)
}
