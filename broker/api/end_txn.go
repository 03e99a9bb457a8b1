package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/wire"
)

// EndTxn (key 26, v0-5; KIP-98, 890): commit or abort. Answered when the decision is applied: offsets that the transaction has
// committed are their groups' then, and its records become readable as their partitions' markers are written, which follows.
//
//   - v5: the client's next epoch is in the answer, with which it goes on (transaction.version 2).
//   - A retry of what was decided gets the answer again; while markers are being written it waits for them a moment, and
//     only then is CONCURRENT_TRANSACTIONS.
//   - v0-1 do not know PRODUCER_FENCED: INVALID_PRODUCER_EPOCH.

func (h *Handler) endTxn(x *wire.Exchange) {
	req := x.Request.(*kmsg.EndTxnRequest)
	answer := func(me txn.Identity, err error) {
		resp := kmsg.NewPtrEndTxnResponse()
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = fencedCode(err, x.Version, txnFencedVersion), -1, -1
		if err == nil && x.Version >= endTxnBumpVersion {
			resp.ProducerID, resp.ProducerEpoch = int64(me.Producer), int16(me.Epoch)
		}
		reply(x, resp)
	}
	err := h.transacts()
	if err == nil {
		err = checkTxnID(req.TransactionalID)
	}
	if err != nil {
		answer(txn.Identity{}, err)
		return
	}
	ctx, cancel := context.WithTimeout(gone(x), enlistTimeout)
	defer cancel()
	h.Transactions.Coordinator.End(ctx, req.TransactionalID, txn.EndRequest{
		Identity: identity(req.ProducerID, req.ProducerEpoch), Commit: req.Commit, Bump: x.Version >= endTxnBumpVersion,
	}, answer)
}
