package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// leaderWait is how long a proposal waits for a leader, first or again, until it fails with ErrNotReady.
const leaderWait = 10 * time.Second

// ErrStalled says that the log store did not finish an entry in time.
var ErrStalled = errors.New("metadata log store has stalled")

// apply has Raft store and apply an entry, and returns what became of each
// of its commands. The errors are Raft's.
type apply func(entry []byte) ([]answer, error)

func (q *Quorum) apply(entry []byte) ([]answer, error) {
	f := q.raft.Apply(entry, 0)
	if err := q.await(f); err != nil {
		return nil, err
	}
	answers, ok := f.Response().([]answer)
	if !ok {
		return nil, errHalted
	}
	return answers, nil
}

// await is f.Error, which in Raft 1.8 never returns for what is under way
// when Raft is shut down: then it is given up.
func (q *Quorum) await(f raft.Future) error {
	answered := make(chan error, 1)
	go func() { answered <- f.Error() }()
	select {
	case err := <-answered:
		return err
	case <-q.down:
	}
	select {
	case err := <-answered:
		return err
	default:
		return raft.ErrRaftShutdown
	}
}

// proposer turns what waits into entries, one at a time. It belongs to its
// goroutine alone.
type proposer struct {
	apply apply
	queue *queue
	ready func(context.Context) error // returns when proposals can be made
	fail  func(error)
	clock func() time.Time
	stall time.Duration

	// next is the envelope of the entry to come. BrokerEpoch is 0 until this
	// process has registered its broker. Request: see command.Envelope.
	next command.Envelope
}

func (q *Quorum) newProposer() (*proposer, error) {
	session, err := newSession()
	if err != nil {
		return nil, err
	}
	return &proposer{
		apply: q.apply, queue: q.queue, ready: q.lead.wait, fail: q.fail, clock: q.clock, stall: q.cfg.StallTimeout,
		next: command.Envelope{Broker: q.cfg.ID, Session: session, Request: 1},
	}, nil
}

// run proposes until ctx ends, then fails what still waits.
func (p *proposer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			for batch := p.queue.take(); batch != nil; batch = p.queue.take() {
				failAll(batch, ErrClosed)
			}
			return
		case <-p.queue.filled:
		}
		for batch := p.queue.take(); batch != nil; batch = p.queue.take() {
			p.propose(ctx, batch)
		}
	}
}

// propose brings one batch to an end: applied, or failed. The same bytes are
// proposed again when leadership was lost under them; should both copies be
// committed, the second is recognized by its request numbers.
func (p *proposer) propose(ctx context.Context, batch []*proposal) {
	ctx, cancel := context.WithDeadline(ctx, batch[0].at.Add(leaderWait)) // the oldest's
	defer cancel()
	if err := p.ready(ctx); err != nil {
		failAll(batch, notReady(err))
		return
	}
	bodies := make([]command.Body, len(batch))
	for i, w := range batch {
		bodies[i] = w.body
	}
	p.next.TimeMs = p.clock().UnixMilli()
	entry := command.Join(p.next, bodies)
	p.next.Request += uint64(len(batch))

	for {
		answers, err := p.watched(entry)
		if err == nil {
			p.answer(batch, answers)
			return
		}
		if !lostLeadership(err) {
			failAll(batch, notReady(err))
			return
		}
		if err := p.ready(ctx); err != nil {
			failAll(batch, notReady(err))
			return
		}
	}
}

// watched is apply under the eyes of the watchdog. A log store that hangs would keep
// this node leader for ever, since it is Raft's main loop that hangs with it.
func (p *proposer) watched(entry []byte) ([]answer, error) {
	watchdog := time.AfterFunc(p.stall, func() {
		p.fail(fmt.Errorf("%w: an entry of %d bytes took longer than %v", ErrStalled, len(entry), p.stall))
	})
	defer watchdog.Stop()
	return p.apply(entry)
}

func (p *proposer) answer(batch []*proposal, answers []answer) {
	for i, w := range batch {
		a := answers[i]
		if epoch, ok := a.result.(kafka.BrokerEpoch); ok && w.body.Kind() == command.KindRegisterBroker {
			p.next.BrokerEpoch = epoch
		}
		w.done(a.result, a.err)
	}
}

func failAll(batch []*proposal, err error) {
	for _, w := range batch {
		w.done(nil, err)
	}
}

// notReady makes an error of the quorum's into one that callers decide by.
func notReady(err error) error {
	switch {
	case errors.Is(err, ErrNotReady):
		return err
	case errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, context.Canceled):
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrNotReady, err)
}

// lostLeadership tells whether an entry may be proposed again.
func lostLeadership(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrAbortedByRestore)
}
