package workload

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/history"
)

// transactionTimeout is what the cluster gives a transaction whose client has crashed and has no successor.
const transactionTimeout = 6 * time.Second

// transacting is what every writer of transactions says.
func (c *client) transacting() []kgo.Opt {
	return []kgo.Opt{kgo.TransactionalID(c.TransactionalID), kgo.TransactionTimeout(transactionTimeout), kgo.ProducerLinger(0)}
}

// transact sends in transactions of a few records, of which it aborts a quarter. Its successor in its place has the same
// transactional id, and ends what it has left open.
func (c *client) transact(ctx context.Context) error {
	for ctx.Err() == nil {
		cl, err := c.connect(c.transacting()...)
		if err != nil {
			return err
		}
		// After an error the client is another, for which what is open is aborted first.
		for every := time.NewTicker(4 * time.Second / time.Duration(c.Rate)); ctx.Err() == nil; <-every.C {
			if !c.transaction(ctx, cl) {
				every.Stop()
				break
			}
		}
		cl.Close()
		wait(ctx)
	}
	return nil
}

// transaction is one from its begin to its end; false says that the client is not to go on.
func (c *client) transaction(ctx context.Context, cl *kgo.Client) bool {
	if err := cl.BeginTransaction(); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*transactionTimeout)
	defer cancel()
	values := make([]history.Value, 1+c.rng.IntN(7))
	records := make([]*kgo.Record, len(values))
	for i := range values {
		values[i], records[i] = c.record(c.source())
	}
	err := cl.ProduceSync(ctx, records...).FirstErr()
	if err != nil || c.rng.IntN(4) == 0 {
		for _, v := range values {
			c.NotSent(v, true, "aborted") // whatever becomes of the abort: nobody has asked for a commit
		}
		return cl.EndTransaction(ctx, kgo.TryAbort) == nil && err == nil
	}
	c.Transaction(values[0], values[len(values)-1])
	err = cl.EndTransaction(ctx, kgo.TryCommit)
	for i, v := range values {
		c.sent(v, records[i], err)
	}
	return err == nil
}
