package txncoordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// How leaders of partitions, and coordinators of groups, have a transaction enlist what it is about to write to.

// verdicts are the decisions as they travel between brokers. Numbers are never used again.
var verdicts = map[uint8]error{
	1: txn.ErrUnknownProducer, 2: txn.ErrFenced, 3: txn.ErrConcurrent, 4: txn.ErrState, 5: txn.ErrNotEnlisted,
	6: ErrLoading, 7: ErrNotAvailable, 8: ErrNotCoordinator, 9: txn.ErrTooLarge,
}

// notKept is for what has no number: whoever asked asks again.
const notKept = 7

func verdictOf(err error) uint8 {
	if err == nil {
		return 0
	}
	for n, v := range verdicts {
		if errors.Is(err, v) {
			return n
		}
	}
	return notKept
}

// answerWithin bounds the wait for the transaction before to be ended: answers leave in the order of requests, and others wait behind
// this one. Whoever asked asks again.
const answerWithin = 50 * time.Millisecond

// ServeEnlist serves the private request; see enlistRequest.
func (c *Coordinator) ServeEnlist(ctx context.Context, body []byte) ([]byte, error) {
	var r enlistRequest
	if err := decoding.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := c.enlistHere(wait, r)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = txn.ErrConcurrent // what was asked may yet be done, which does no harm
	}
	return cbor.Marshal(enlistAnswer{Index: c.quorum.Image().Index(), Verdict: verdictOf(err)})
}

// enlistHere asks this broker's own coordinator, and waits.
func (c *Coordinator) enlistHere(ctx context.Context, r enlistRequest) error {
	answered := make(chan error, 1)
	who := txn.Identity{Producer: r.Producer, Epoch: r.Epoch}
	if r.Verify {
		c.Verify(r.ID, who, r.Partitions, func(err error) { answered <- err })
	} else {
		c.Enlist(r.ID, txn.EnlistRequest{Identity: who, Partitions: r.Partitions, Groups: r.Groups, Version: r.Version}, func(err error) { answered <- err })
	}
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// elsewherePause is between two looks for a coordinator that has just moved, or is about to.
const elsewherePause = 20 * time.Millisecond

// EnlistAnywhere has whoever coordinates the id enlist something, or, with verify, tell whether it is enlisted. When it returns nil this
// broker's image shows that.
func (c *Coordinator) EnlistAnywhere(ctx context.Context, id string, e txn.EnlistRequest, verify bool) error {
	r := enlistRequest{
		ID: id, Producer: e.Producer, Epoch: e.Epoch, Partitions: e.Partitions, Groups: e.Groups, Version: e.Version, Verify: verify,
	}
	until := c.clock().Add(parkFor)
	for {
		err := c.enlistOnce(ctx, r)
		pause := time.NewTimer(elsewherePause)
		switch {
		case errors.Is(err, txn.ErrConcurrent) && c.clock().Before(until):
			pause.Reset(0)
		case !errors.Is(err, ErrNotCoordinator) && !errors.Is(err, ErrNotAvailable) && !errors.Is(err, ErrLoading):
			pause.Stop()
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

func (c *Coordinator) enlistOnce(ctx context.Context, r enlistRequest) error {
	at := c.quorum.Image().Coordinator(image.CoordinatorShard(r.ID)).Broker
	switch at {
	case kafka.NoBroker:
		return ErrNotCoordinator
	case c.cfg.Node:
		return c.enlistHere(ctx, r)
	}
	body, err := cbor.Marshal(r)
	if err != nil {
		return err
	}
	answer, err := c.peers.Enlist(ctx, at, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAvailable, err)
	}
	var a enlistAnswer
	if err := decoding.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAvailable, err)
	}
	if a.Verdict != 0 {
		if v := verdicts[a.Verdict]; v != nil {
			return v
		}
		return ErrNotAvailable
	}
	return c.quorum.Reached(ctx, a.Index)
}
