package api

import (
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/regex"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
)

// ListTransactions (key 66, v0-2; KIP-664, 994, 1152): the transactional ids that this broker coordinates, filtered by state, producer id, how
// long the transaction has been under way (v1), and a regular expression over the id (v2; RE2's syntax, INVALID_REGULAR_EXPRESSION).

func (h *Handler) listTransactions(x *wire.Exchange) {
	req := x.Request.(*kmsg.ListTransactionsRequest)
	resp := kmsg.NewPtrListTransactionsResponse()
	if err := h.transacts(); err != nil {
		resp.ErrorCode = code(err)
		reply(x, resp)
		return
	}
	req.StateFilters = once(req.StateFilters)
	for _, name := range req.StateFilters {
		if !slices.ContainsFunc(txnStates, func(s command.TxnState) bool { return s.String() == name }) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, name)
		}
	}
	var pattern *regexp.Regexp
	if p := req.TransactionalIDPattern; x.Version >= 2 && p != nil && *p != "" {
		err := regex.Check(*p)
		if err == nil {
			pattern, err = regex.Whole(*p)
		}
		if err != nil {
			resp.ErrorCode = kerr.InvalidRegularExpression.Code
			reply(x, resp)
			return
		}
	}
	states, producers := distinctOf(req.StateFilters), distinctOf(req.ProducerIDFilters)
	now := h.Clock().UnixMilli()
	h.quorum.Image().Transactions(func(r *txn.Record) bool {
		switch {
		case !states.passes(r.State.String()), !producers.passes(int64(r.Producer)),
			x.Version >= 1 && req.DurationFilterMillis >= 0 && (r.State != command.TxnOngoing || now-r.StartedMs <= req.DurationFilterMillis),
			pattern != nil && !pattern.MatchString(r.ID),
			h.Transactions.Coordinator.Serves(r.ID) != nil:
			return true
		}
		s := kmsg.NewListTransactionsResponseTransactionState()
		s.TransactionalID, s.ProducerID, s.TransactionState = r.ID, int64(r.Producer), r.State.String()
		resp.TransactionStates = append(resp.TransactionStates, s)
		return true
	})
	reply(x, resp)
}

var txnStates = []command.TxnState{
	command.TxnEmpty, command.TxnOngoing, command.TxnPrepareCommit, command.TxnPrepareAbort, command.TxnCompleteCommit, command.TxnCompleteAbort,
}
