package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/wire"
)

// AddOffsetsToTxn (key 25, v0-4; KIP-98): a producer says that its transaction is about to commit offsets of a group. Errors as in
// AddPartitionsToTxn.

func (h *Handler) addOffsetsToTxn(x *wire.Exchange) {
	req := x.Request.(*kmsg.AddOffsetsToTxnRequest)
	answer := func(err error) {
		resp := kmsg.NewPtrAddOffsetsToTxnResponse()
		resp.ErrorCode = fencedCode(err, x.Version, txnFencedVersion)
		reply(x, resp)
	}
	err := h.transacts()
	if err == nil {
		err = checkTxnID(req.TransactionalID)
	}
	if err != nil {
		answer(err)
		return
	}
	h.Transactions.Coordinator.Enlist(req.TransactionalID, txn.EnlistRequest{
		Identity: identity(req.ProducerID, req.ProducerEpoch), Groups: []string{req.Group}, Version: 1,
	}, answer)
}
