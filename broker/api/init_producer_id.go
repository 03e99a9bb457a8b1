package api

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// InitProducerId (key 22, v0-5; KIP-98, 360): a producer id for an idempotent producer. Without a transactional id a fresh id at
// epoch 0 is given, whatever id the producer had (as Kafka does). An id without its epoch, or the reverse → INVALID_REQUEST. A
// transactional id has its coordinator answer: the client before is fenced, its transaction aborted, for which this waits a moment and
// then is CONCURRENT_TRANSACTIONS; a producer may go on with the id and epoch that it had (v3+). PRODUCER_FENCED is
// INVALID_PRODUCER_EPOCH before v4. Ids come
// from blocks that the quorum hands out, so none is ever given twice; a broker that dies loses the rest of its block.

// producerIDBlock is how many ids a broker takes from the quorum at once. Kafka's number.
const producerIDBlock = 1000

// maxProducerIDWaitMs bounds the wait for a block; the request has no timeout of its own.
const maxProducerIDWaitMs = 10_000

func (h *Handler) initProducerID(x *wire.Exchange) {
	req := x.Request.(*kmsg.InitProducerIDRequest)
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	ctx, cancel := within(x, maxProducerIDWaitMs)
	defer cancel()
	if req.TransactionalID != nil {
		h.initTransactions(ctx, x, req)
		return
	}
	id, err := h.newProducerID(ctx, req)
	switch {
	case errors.Is(err, quorum.ErrNotReady), errors.Is(err, context.DeadlineExceeded):
		// What producers know to retry.
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
	case err != nil:
		resp.ErrorCode = code(err)
	default:
		resp.ProducerID, resp.ProducerEpoch = int64(id), 0
	}
	reply(x, resp)
}

func (h *Handler) newProducerID(ctx context.Context, req *kmsg.InitProducerIDRequest) (kafka.ProducerID, error) {
	if (req.ProducerID == -1) != (req.ProducerEpoch == -1) {
		return 0, refuse(kerr.InvalidRequest, "producer id %d with epoch %d: give both or neither", req.ProducerID, req.ProducerEpoch)
	}
	return h.NewProducerID(ctx)
}

// NewProducerID gives an id that nobody had.
func (h *Handler) NewProducerID(ctx context.Context) (kafka.ProducerID, error) {
	return h.producers.next(ctx, h.quorum.Propose)
}

const producerFencedVersion = 4

// initTransactions gives a transactional producer its identity.
func (h *Handler) initTransactions(ctx context.Context, x *wire.Exchange, req *kmsg.InitProducerIDRequest) {
	answer := func(me txn.Identity, err error) {
		resp := kmsg.NewPtrInitProducerIDResponse()
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		switch {
		case errors.Is(err, quorum.ErrNotReady), errors.Is(err, context.DeadlineExceeded):
			resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		case err != nil:
			resp.ErrorCode = fencedCode(err, x.Version, producerFencedVersion)
		default:
			resp.ProducerID, resp.ProducerEpoch = int64(me.Producer), int16(me.Epoch)
		}
		reply(x, resp)
	}
	var expected *txn.Identity
	err := checkTxnID(*req.TransactionalID)
	switch {
	case err != nil:
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		err = refuse(kerr.InvalidRequest, "producer id %d with epoch %d: give both or neither", req.ProducerID, req.ProducerEpoch)
	default:
		err = h.transacts()
	}
	if err != nil {
		answer(txn.Identity{}, err)
		return
	}
	if x.Version >= 3 && req.ProducerID != -1 {
		me := identity(req.ProducerID, req.ProducerEpoch)
		expected = &me
	}
	h.Transactions.Coordinator.Init(ctx, *req.TransactionalID, req.TransactionTimeoutMillis, expected, answer)
}

// producerIDs gives out the ids of a block. The zero value has none left.
type producerIDs struct {
	fetching chan struct{} // a token: who holds it may fetch a block
	once     sync.Once

	mu         sync.Mutex
	first, end kafka.ProducerID // [first, end) are left
}

// next is the next id, from a new block if need be. One caller fetches; the others wait for it, or for their context.
func (p *producerIDs) next(ctx context.Context, propose func(context.Context, command.Command) (any, error)) (kafka.ProducerID, error) {
	p.once.Do(func() { p.fetching = make(chan struct{}, 1) })
	if id, ok := p.take(); ok {
		return id, nil
	}
	select {
	case p.fetching <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-p.fetching }()
	if id, ok := p.take(); ok {
		return id, nil
	}
	result, err := propose(ctx, command.AllocateProducerIDs{Count: producerIDBlock})
	if err != nil {
		return 0, fmt.Errorf("allocate producer ids: %w", err)
	}
	first, ok := result.(kafka.ProducerID)
	if !ok {
		return 0, fmt.Errorf("allocate producer ids: the quorum answered %T", result)
	}
	p.mu.Lock()
	p.first, p.end = first+1, first+producerIDBlock
	p.mu.Unlock()
	return first, nil
}

func (p *producerIDs) take() (kafka.ProducerID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == p.end {
		return 0, false
	}
	p.first++
	return p.first - 1, true
}
