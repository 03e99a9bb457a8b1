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

// apply has this node's Raft store and apply an entry, and returns what became
// of each of its commands. The errors are Raft's.
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

// watched is apply under the eyes of the watchdog. A log store that hangs would keep
// this node leader for ever, since it is Raft's main loop that hangs with it. A leader
// that has lost its followers is told so by Raft, long before.
func (q *Quorum) watched(bytes int, apply func() ([]answer, error)) ([]answer, error) {
	watchdog := time.AfterFunc(q.cfg.StallTimeout, func() {
		q.fail(fmt.Errorf("%w: an entry of %d bytes took longer than %v", ErrStalled, bytes, q.cfg.StallTimeout))
	})
	defer watchdog.Stop()
	return apply()
}

// proposer turns what waits into entries, one at a time. It belongs to its
// goroutine alone.
type proposer struct {
	queue *queue
	fsm   *fsm
	clock func() time.Time

	self   kafka.BrokerID
	leader func(context.Context) (kafka.BrokerID, error) // returns when there is one to propose to
	pause  func(context.Context, time.Duration) error    // returns early when leaders change
	// known is the leader of the moment, and closes its channel when there is another.
	known func() (Leader, <-chan struct{})
	apply func(entry []byte) ([]answer, error) // here
	send  func(ctx context.Context, leader kafka.BrokerID, entry []byte) error

	// next is the envelope of the entry to come. BrokerEpoch is 0 until this
	// process has registered its broker. Request: see command.Envelope.
	next command.Envelope
}

func (q *Quorum) newProposer() (*proposer, error) {
	session, err := newSession()
	if err != nil {
		return nil, err
	}
	stamp := q.clock
	if q.cfg.Stamp != nil {
		stamp = q.cfg.Stamp
	}
	return &proposer{
		queue: q.queue, fsm: q.fsm, clock: stamp, self: q.cfg.ID, leader: q.lead.wait, pause: q.lead.pause, known: q.lead.get, send: q.send,
		apply: func(entry []byte) ([]answer, error) {
			return q.watched(len(entry), func() ([]answer, error) { return q.apply(entry) })
		},
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

// propose brings one batch to an end: applied, or failed.
func (p *proposer) propose(ctx context.Context, batch []*proposal) {
	ctx, cancel := context.WithDeadline(ctx, batch[0].at.Add(leaderWait)) // the oldest's
	defer cancel()
	if _, err := p.leader(ctx); err != nil {
		failAll(batch, notReady(err))
		return
	}
	bodies := make([]command.Body, len(batch))
	for i, w := range batch {
		bodies[i] = w.body
	}
	p.next.TimeMs = p.clock().UnixMilli()
	entry := command.Join(p.next, bodies)
	e := expect(p.next.Session, p.next.Request)
	p.next.Request += uint64(len(batch))
	p.fsm.expected.Store(e)
	answers, err := p.submit(ctx, e, entry)
	p.fsm.expected.Store(nil)
	if err != nil {
		failAll(batch, notReady(err))
		return
	}
	p.answer(batch, answers)
}

// submit has the leader append the entry, until this node has applied it. The
// same bytes are proposed again when leadership was lost under them, or a
// snapshot has come in the place of what would have answered; should both
// copies be committed, the second is recognized by its request numbers.
func (p *proposer) submit(ctx context.Context, e *expectation, entry []byte) ([]answer, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		leader, err := p.leader(ctx)
		if err == nil && leader == p.self {
			answers, failed := p.apply(entry)
			if failed == nil {
				return answers, nil
			}
			if err = failed; !lostLeadership(err) {
				return nil, err
			}
		} else if err == nil {
			answers, failed := p.elsewhere(ctx, leader, e, entry)
			if answers != nil {
				return answers, nil
			}
			err = failed
		}
		select {
		case answers := <-e.answers: // the entry had made it all the same
			return answers, nil
		default:
		}
		if ctx.Err() != nil {
			return nil, notReady(err)
		}
		if errors.Is(err, ErrClosed) || errors.Is(err, errMalformed) {
			return nil, err
		}
		if err := p.pause(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// errSkipped says that a snapshot has come, perhaps in the entry's place.
var errSkipped = errors.New("a snapshot has come in the entry's place")

// elsewhere has another node append the entry, and returns when this one has applied it: perhaps before the other has
// answered. It gives up on a leader that is none any more.
func (p *proposer) elsewhere(ctx context.Context, leader kafka.BrokerID, e *expectation, entry []byte) ([]answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- p.send(ctx, leader, entry) }()
	for {
		now, changed := p.known()
		if now.ID != leader && sent != nil {
			return nil, ErrNotLeader
		}
		select {
		case answers := <-e.answers:
			return answers, nil
		case <-e.skipped:
			return nil, errSkipped
		case err := <-sent:
			if err != nil {
				return nil, err
			}
			sent = nil // committed: it will be applied here
		case <-changed:
		case <-ctx.Done():
			return nil, ErrNotReady
		}
	}
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
	case lostLeadership(err):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrNotReady, err)
}

// lostLeadership tells whether an entry may be proposed again.
func lostLeadership(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrAbortedByRestore)
}
