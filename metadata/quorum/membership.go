package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire/kafka"
)

// changeWait is how long a change of the membership waits for the one before it.
const changeWait = 10 * time.Second

// change waits until a change of the membership is committed.
func (q *Quorum) change(f raft.IndexFuture) error {
	if err := q.await(f); err != nil {
		if lostLeadership(err) {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return fmt.Errorf("change metadata quorum's members: %w", err)
	}
	return nil
}

// Operation is a change of the membership.
type Operation uint8

const (
	opRemove   Operation = 1 // out of the quorum altogether
	opPromote  Operation = 2 // a non-voter becomes a voter
	opDemote   Operation = 3 // a voter becomes a non-voter
	opTransfer Operation = 4 // lead
)

// RemoveServer takes a node out of the quorum: for a broker that is gone for good, and is not heard again under this directory.
func (q *Quorum) RemoveServer(ctx context.Context, node kafka.BrokerID) error {
	return q.operate(ctx, opRemove, node)
}

// Promote makes a non-voter a voter, now, whatever autopilot thinks of it.
func (q *Quorum) Promote(ctx context.Context, node kafka.BrokerID) error {
	return q.operate(ctx, opPromote, node)
}

// Demote makes a voter a non-voter. The last voter stays one.
func (q *Quorum) Demote(ctx context.Context, node kafka.BrokerID) error {
	return q.operate(ctx, opDemote, node)
}

// TransferLeadership hands the leadership to a voter, or with kafka.NoBroker to the one that is furthest.
func (q *Quorum) TransferLeadership(ctx context.Context, to kafka.BrokerID) error {
	return q.operate(ctx, opTransfer, to)
}

// operate carries an operation out, or has the leader do it.
func (q *Quorum) operate(ctx context.Context, op Operation, node kafka.BrokerID) error {
	leader, err := q.lead.wait(ctx)
	if err != nil {
		return notReady(err)
	}
	if leader == q.cfg.ID {
		return q.obey(ctx, op, node)
	}
	_, err = ask[adminAnswer](ctx, q.cfg.Peers, leader, CallAdmin, adminQuestion{Operation: op, Node: node})
	return err
}

// obey carries out what a person has asked for. A voter that was demoted so is not promoted again by autopilot while this
// node leads.
func (q *Quorum) obey(ctx context.Context, op Operation, node kafka.BrokerID) error {
	if node == q.cfg.ID && (op == opRemove || op == opDemote) {
		return q.stepAside(ctx, op)
	}
	if err := q.carryOut(ctx, op, node); err != nil {
		return err
	}
	switch op {
	case opDemote:
		q.demoted.set(node, true)
	case opPromote, opRemove:
		q.demoted.set(node, false)
	}
	return nil
}

// stepAside has another node lead and take this one, the leader, out. A leader that takes itself out leaves the others to find out
// by themselves, after the timeouts of an election, that there is none.
func (q *Quorum) stepAside(ctx context.Context, op Operation) error {
	before, _ := q.lead.get()
	if err := q.exclusively(ctx, func() error {
		if err := q.mayGo(q.cfg.ID); err != nil {
			return err
		}
		return q.transfer(q.raft.LeadershipTransfer())
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	began := q.clock()
	for {
		now, changed := q.lead.get()
		err := error(ErrNotReady)
		if now.ID != kafka.NoBroker && now.ID != q.cfg.ID {
			_, err = ask[adminAnswer](ctx, q.cfg.Peers, now.ID, CallAdmin, adminQuestion{Operation: op, Node: q.cfg.ID})
		} else if now.Ready && now.Term != before.Term {
			return fmt.Errorf("%w: broker %d leads again: try again", ErrNotReady, q.cfg.ID)
		}
		// Who has just begun to lead has not heard everybody yet, and refuses what would need them.
		young := errors.Is(err, ErrRefused) && q.clock().Sub(began) < settling
		if !young && !errors.Is(err, ErrNotReady) {
			return err
		}
		t := time.NewTimer(firstPause)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return err
		}
		t.Stop()
	}
}

// settling is how long a new leader may take to hear the others.
const settling = 2 * leaseTimeout

// mayGo refuses what would take away the last voter, or one that a majority needs.
func (q *Quorum) mayGo(node kafka.BrokerID) error {
	voters, voter := 0, false
	for _, s := range q.servers() {
		if s.Suffrage == raft.Voter {
			voters++
			voter = voter || s.ID == serverID(node)
		}
	}
	switch {
	case !voter:
		return nil
	case voters == 1:
		return fmt.Errorf("%w: broker %d is the last voter: promote another one first", ErrRefused, node)
	}
	return q.mayLose(serverID(node))
}

// demoted are the nodes that a person has demoted.
type demoted struct {
	mu  sync.Mutex
	ids map[kafka.BrokerID]bool
}

func (d *demoted) set(node kafka.BrokerID, is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = map[kafka.BrokerID]bool{}
	}
	d.ids[node] = is
}

func (d *demoted) has(node kafka.BrokerID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[node]
}

func (d *demoted) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids = nil
}

// exclusively has f change the membership while nobody else does. No lock: it takes as long as the quorum takes.
func (q *Quorum) exclusively(ctx context.Context, f func() error) error {
	select {
	case q.changing <- struct{}{}:
	case <-q.lead.ended:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.changing }()
	return f()
}

// carryOut is the leader's part.
func (q *Quorum) carryOut(ctx context.Context, op Operation, node kafka.BrokerID) error {
	return q.exclusively(ctx, func() error { return q.carryOutAlone(op, node) })
}

func (q *Quorum) carryOutAlone(op Operation, node kafka.BrokerID) error {
	var server *raft.Server
	for _, s := range q.servers() {
		if s.ID == serverID(node) {
			server = &s
		}
	}
	switch {
	case op == opTransfer && node == kafka.NoBroker:
		return q.transfer(q.raft.LeadershipTransfer())
	case server == nil:
		return fmt.Errorf("%w: broker %d is not a member", ErrRefused, node)
	}
	voter := server.Suffrage == raft.Voter
	switch op {
	case opTransfer:
		switch {
		case node == q.cfg.ID:
			return nil
		case !voter:
			return fmt.Errorf("%w: broker %d is not a voter", ErrRefused, node)
		}
		return q.transfer(q.raft.LeadershipTransferToServer(server.ID, server.Address))
	case opPromote:
		if voter {
			return nil
		}
		if err := q.placeSelf(); err != nil {
			return err
		}
		return q.change(q.raft.AddVoter(server.ID, server.Address, 0, changeWait))
	case opDemote, opRemove:
		if err := q.mayGo(node); err != nil {
			return err
		}
		if op == opRemove {
			return q.change(q.raft.RemoveServer(server.ID, 0, changeWait))
		}
		if !voter {
			return nil
		}
		return q.change(q.raft.DemoteVoter(server.ID, 0, changeWait))
	}
	return fmt.Errorf("%w: operation %d", errMalformed, op)
}

func (q *Quorum) transfer(f raft.Future) error {
	if err := q.await(f); err != nil {
		return fmt.Errorf("transfer metadata leadership: %w", err)
	}
	return nil
}

// mayLose refuses to take a voter away where the others would not be a majority that lives.
func (q *Quorum) mayLose(id raft.ServerID) error {
	voters, live := 0, 0
	for _, s := range q.servers() {
		if s.Suffrage != raft.Voter || s.ID == id {
			continue
		}
		voters++
		if q.heard(s.ID, leaseTimeout) {
			live++
		}
	}
	if live < voters/2+1 {
		return fmt.Errorf("%w: without broker %s only %d of %d voters would be alive, no majority", ErrRefused, id, live, voters)
	}
	return nil
}

// heard tells whether the leader has had an answer of a member within d.
func (q *Quorum) heard(id raft.ServerID, d time.Duration) bool {
	return id == serverID(q.cfg.ID) || q.clock().Sub(q.transport.of(id).contact) <= d
}

const (
	// autopilotRound is how often the leader looks at the members; what it sees is its own memory.
	autopilotRound = 500 * time.Millisecond

	defaultStableAfter = 10 * time.Second
	defaultGoneAfter   = 30 * time.Second
)

// autopilot keeps the wanted number of voters among those that are healthy. It runs on the leader.
type autopilot struct {
	q     *Quorum
	since map[raft.ServerAddress]time.Time // healthy and caught up from then on; by place: another directory begins anew
	began time.Time                        // of this leadership
	mute  map[raft.ServerID]bool           // that it was said of that they do not answer
}

func (q *Quorum) pilot(ctx context.Context, _ uint64) {
	q.demoted.clear() // of an earlier leadership
	a := &autopilot{q: q, since: map[raft.ServerAddress]time.Time{}, mute: map[raft.ServerID]bool{}, began: q.clock()}
	round := time.NewTicker(autopilotRound)
	defer round.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-round.C:
		}
		servers := q.servers()
		if len(servers) < 2 {
			continue
		}
		a.tell(servers, q.clock())
		op, node := a.decide(servers, q.clock())
		if op == 0 {
			continue
		}
		err := q.carryOut(ctx, op, node)
		switch {
		case err == nil && op == opPromote:
			q.log.Info("broker is a voter of the metadata quorum now", "broker", node)
		case err == nil:
			q.log.Warn("a voter of the metadata quorum was gone for long: it is none any more", "broker", node)
		case !errors.Is(err, ErrNotReady):
			q.log.Warn("metadata quorum's members stay as they are", "broker", node, "error", err)
		}
	}
}

// tell says once who does not answer, and who does again.
func (a *autopilot) tell(servers []raft.Server, now time.Time) {
	for _, s := range servers {
		heard := a.q.heard(s.ID, heartbeatTimeout)
		switch {
		case !heard && !a.mute[s.ID] && now.Sub(a.began) > heartbeatTimeout:
			a.mute[s.ID] = true
			a.q.log.Warn("a member of the metadata quorum does not answer", "broker", s.ID, "address", placeOf(s).address)
		case heard && a.mute[s.ID]:
			delete(a.mute, s.ID)
			a.q.log.Info("a member of the metadata quorum answers again", "broker", s.ID)
		}
	}
}

// decide looks at the members and says what to do, one thing at a time; 0 is nothing.
//
//   - fewer voters than wanted, or one of them gone for long: promote who has been healthy and caught up for a while;
//   - more voters than wanted: demote one that is gone for long.
func (a *autopilot) decide(servers []raft.Server, now time.Time) (Operation, kafka.BrokerID) {
	q := a.q
	var gone, stable []kafka.BrokerID
	voters := 0
	present := map[raft.ServerAddress]bool{}
	for _, s := range servers {
		present[s.Address] = true
		p := q.transport.of(s.ID)
		healthy := s.ID == serverID(q.cfg.ID) || now.Sub(p.contact) <= heartbeatTimeout && now.Sub(p.caughtUp) <= heartbeatTimeout
		if !healthy {
			delete(a.since, s.Address)
		} else if a.since[s.Address].IsZero() {
			a.since[s.Address] = now
		}
		switch {
		case s.Suffrage == raft.Voter:
			voters++
			heard := p.contact
			if heard.Before(a.began) {
				heard = a.began
			}
			if s.ID != serverID(q.cfg.ID) && now.Sub(heard) > q.cfg.GoneAfter {
				gone = append(gone, brokerID(s.ID))
			}
		case healthy && now.Sub(a.since[s.Address]) >= q.cfg.StableAfter && !q.demoted.has(brokerID(s.ID)):
			stable = append(stable, brokerID(s.ID))
		}
	}
	for at := range a.since {
		if !present[at] {
			delete(a.since, at)
		}
	}
	switch {
	case len(stable) > 0 && (voters < q.cfg.Voters || len(gone) > 0 && voters <= q.cfg.Voters):
		return opPromote, stable[0]
	case len(gone) > 0 && voters > max(q.cfg.Voters, 1):
		return opDemote, gone[0]
	}
	return 0, kafka.NoBroker
}
