package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Join: admit this directory, or, of a member that has started again, note where it is now. Asked of any member, which sends
// the node on to the leader.
//
//	new directory                            leader
//	  │ Join(node, directory, empty) ──────▶ │ another directory under this id? alive: refused. Else it is taken out first:
//	  │                                      │ a log that was forgotten never votes again
//	  │ ◀── cluster, admission ───────────── │ added as a non-voter; autopilot promotes it later
//
// The admission, the end of the leader's log at that moment, tells older directories of the node from younger ones: both
// sides of every handshake refuse the older (Check).

type joinQuestion struct {
	Address   string    `cbor:"1,keyasint"`
	Directory Directory `cbor:"2,keyasint"`
	Admission uint64    `cbor:"3,keyasint"`
	Empty     bool      `cbor:"4,keyasint"` // it has no log
}

type joinAnswer struct {
	Cluster   string         `cbor:"1,keyasint"`
	Admission uint64         `cbor:"2,keyasint"`
	Floor     uint64         `cbor:"3,keyasint"`
	Leader    kafka.BrokerID `cbor:"4,keyasint"` // who is to be asked instead, at Address; kafka.NoBroker with the answer itself
	Address   string         `cbor:"5,keyasint"`
}

// enterFormed joins the cluster that a node is part of.
func (e *Entry) enterFormed(ctx context.Context, member found, all []found) (waits string, err error) {
	a := member.answer
	if e.Cluster != "" && a.Cluster != e.Cluster {
		return "", fmt.Errorf("%w: broker %d is of cluster %s, this broker is configured for cluster.id %s: correct cluster.peers or cluster.id", ErrRefused, member.seed.Node, a.Cluster, e.Cluster)
	}
	if a.has(e.Node, e.Directory) && a.Leader == kafka.NoBroker {
		return fmt.Sprintf("broker %d, which has formed cluster %s with this one, to tell of it", member.seed.Node, a.Cluster), nil
	}
	e.mu.Lock()
	settled := e.who.Cluster != ""
	e.joining = !settled && !a.has(e.Node, e.Directory) // else the two ways in come to the same
	e.mu.Unlock()
	if settled {
		return "", nil
	}
	for _, o := range all {
		if o.err != nil || o.answer.Cluster == "" {
			continue
		}
		answer, failed := e.join(ctx, o.seed.Node, o.seed.Address)
		switch {
		case errors.Is(failed, ErrRefused), errors.Is(failed, ErrStale):
			return "", failed
		case failed != nil:
			waits = fmt.Sprintf("the leader of cluster %s: %v", o.answer.Cluster, failed)
			continue
		}
		e.Log.Info("admitted to the cluster", "cluster", answer.Cluster, "admission", answer.Admission)
		return "", e.settle(Identity{Cluster: answer.Cluster, Admission: answer.Admission, Floor: answer.Floor, Joined: true})
	}
	return waits, nil
}

// join asks a member, and then the leader that it names.
func (e *Entry) join(ctx context.Context, node kafka.BrokerID, address string) (joinAnswer, error) {
	question := joinQuestion{Address: e.Advertise, Directory: e.Directory, Empty: true}
	for range 3 { // a leader that has changed meanwhile names another
		call, cancel := context.WithTimeout(ctx, 4*entryCall)
		a, _, err := askAt[joinAnswer](call, e.Peers, node, address, CallJoin, question)
		cancel()
		if err != nil || a.Leader == kafka.NoBroker {
			return a, err
		}
		if a.Leader == e.Node {
			return a, e.another(ctx, a.Address)
		}
		node, address = a.Leader, a.Address
	}
	return joinAnswer{}, fmt.Errorf("%w: the leadership is changing", ErrNotReady)
}

// another says what it means that a broker with this node's id leads: it lives, or it was this node's directory of before,
// whose end nobody has noticed yet.
func (e *Entry) another(ctx context.Context, address string) error {
	state, who := e.Peers.Probe(ctx, e.Node, address)
	if (state == Alive || state == Other) && who.Node == e.Node && Directory(who.Directory) != e.Directory {
		return fmt.Errorf("%w: broker %d lives at %s with another directory: give this one a node.id of its own, or stop that one first", ErrRefused, e.Node, address)
	}
	return fmt.Errorf("%w: broker %d led before and is not replaced yet", ErrNotReady, e.Node)
}

// serveJoin admits a directory if this node leads, and names the leader if not.
func (q *Quorum) serveJoin(ctx context.Context, from wire.Peer, body []byte) ([]byte, error) {
	question, err := decodeMessage[joinQuestion](body)
	if err != nil {
		return nil, err
	}
	if question.Directory != Directory(from.Directory) {
		return nil, fmt.Errorf("%w: broker %d joins with another directory than it has introduced itself with", errMalformed, from.Node)
	}
	now, _ := q.lead.get()
	if now.Ready {
		a, err := q.admit(ctx, from.Node, question)
		if err != nil {
			return nil, err
		}
		return cbor.MustMarshal(a), nil
	}
	for _, s := range q.servers() {
		if p := placeOf(s); p.node == now.ID && now.ID != q.cfg.ID {
			return cbor.MustMarshal(joinAnswer{Leader: p.node, Address: p.address}), nil
		}
	}
	return nil, fmt.Errorf("%w: broker %d knows no leader", ErrNotLeader, q.cfg.ID)
}

// admit is the leader's decision. One at a time.
func (q *Quorum) admit(ctx context.Context, node kafka.BrokerID, j joinQuestion) (answer joinAnswer, err error) {
	err = q.exclusively(ctx, func() error {
		answer, err = q.admitAlone(ctx, node, j)
		return err
	})
	return answer, err
}

// reaches looks whether a directory is where it says: a member that the leader cannot speak to would wait for the log for ever,
// and nobody would know why.
func (q *Quorum) reaches(ctx context.Context, node kafka.BrokerID, j joinQuestion) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout) // nobody else's membership is changed meanwhile
	defer cancel()
	a, _, err := askAt[helloAnswer](ctx, q.cfg.Peers, node, j.Address, CallHello, helloQuestion{})
	if err == nil && a.Directory != j.Directory {
		err = errors.New("another directory answers there")
	}
	if err != nil {
		return fmt.Errorf("broker %d, which leads, does not reach broker %d at %s: correct its cluster.advertised: %v", q.cfg.ID, node, j.Address, err)
	}
	return nil
}

func (q *Quorum) admitAlone(ctx context.Context, node kafka.BrokerID, j joinQuestion) (joinAnswer, error) {
	answer := joinAnswer{Cluster: q.clusterID, Floor: q.who.Floor, Leader: kafka.NoBroker}
	var known *raft.Server
	for _, s := range q.servers() {
		if s.ID == serverID(node) {
			known = &s
		}
	}
	switch {
	case node == q.cfg.ID:
		return answer, fmt.Errorf("%w: broker %d lives at %s: give the other one a node.id of its own", ErrRefused, node, q.self.address)
	case known == nil && !j.Empty:
		return answer, fmt.Errorf("%w: broker %d is not a member of cluster %s any more: to bring it back, start it with an empty directory", ErrStale, node, q.clusterID)
	case known == nil:
		if err := q.reaches(ctx, node, j); err != nil {
			return answer, err
		}
		return q.add(node, j, answer)
	}
	have := placeOf(*known)
	if !j.Empty {
		return q.moved(ctx, *known, j, answer)
	}
	if Directory(have.directory) == j.Directory {
		answer.Admission = have.admission // the answer was lost, or the cluster was formed without it
		return answer, nil
	}
	if alive, who := q.cfg.Peers.Probe(ctx, node, have.address); alive == Alive && who.Directory == have.directory {
		return answer, fmt.Errorf("%w: broker %d lives at %s with another directory: give this one a node.id of its own, or stop that one first", ErrRefused, node, have.address)
	}
	if err := q.reaches(ctx, node, j); err != nil {
		return answer, err
	}
	q.log.Warn("a broker has come back with an empty directory: it is replaced", "broker", node, "address", j.Address)
	if err := q.change(q.raft.RemoveServer(serverID(node), 0, changeWait)); err != nil {
		return answer, err
	}
	return q.add(node, j, answer)
}

// add admits a directory as a non-voter.
func (q *Quorum) add(node kafka.BrokerID, j joinQuestion, answer joinAnswer) (joinAnswer, error) {
	if err := q.placeSelf(); err != nil {
		return answer, err
	}
	answer.Admission = q.raft.LastIndex() + 1
	p := place{node: node, address: j.Address, directory: j.Directory, admission: answer.Admission}
	if err := q.change(q.raft.AddNonvoter(serverID(node), raft.ServerAddress(p.String()), 0, changeWait)); err != nil {
		return answer, err
	}
	q.log.Info("broker admitted to the metadata quorum", "broker", node, "address", j.Address, "admission", answer.Admission)
	return answer, nil
}

// moved notes where a member is now.
func (q *Quorum) moved(ctx context.Context, known raft.Server, j joinQuestion, answer joinAnswer) (joinAnswer, error) {
	have := placeOf(known)
	answer.Admission = have.admission
	if !have.admits(j.Directory, j.Admission) {
		return answer, stale(have.node)
	}
	now := place{node: have.node, address: j.Address, directory: j.Directory, admission: have.admission}
	if now == have {
		return answer, nil
	}
	if have.address != now.address {
		if alive, who := q.cfg.Peers.Probe(ctx, have.node, have.address); alive == Alive && who.Directory == have.directory {
			return answer, fmt.Errorf("%w: broker %d lives at %s too: one of the two is a copy", ErrRefused, have.node, have.address)
		}
		if err := q.reaches(ctx, have.node, j); err != nil {
			return answer, err
		}
	}
	return answer, q.rename(known, now)
}

// rename changes a member's place and nothing else.
func (q *Quorum) rename(known raft.Server, now place) error {
	add := q.raft.AddNonvoter
	if known.Suffrage == raft.Voter {
		add = q.raft.AddVoter
	}
	return q.change(add(known.ID, raft.ServerAddress(now.String()), 0, changeWait))
}

// placeSelf corrects the leader's own place, which a node that was alone did not keep up to date, before others need it.
func (q *Quorum) placeSelf() error {
	for _, s := range q.servers() {
		if s.ID == serverID(q.cfg.ID) && placeOf(s) != q.self {
			return q.rename(s, q.self)
		}
	}
	return nil
}

func stale(node kafka.BrokerID) error {
	return fmt.Errorf("%w: broker %d was replaced by another directory: start it with an empty one", ErrStale, node)
}

// patience is how long this broker may be on its way into the quorum, at an ordinary start, without a line that tells why.
const patience = 2 * time.Second

// announce tells the leader where this node is, until one has heard it. A node that knows no leader asks the others, those of
// cluster.peers too, for its log may be empty: one that was replaced is told so, by whoever knows.
func (q *Quorum) announce(ctx context.Context) {
	question := joinQuestion{Address: q.self.address, Directory: q.who.Directory, Admission: q.who.Admission}
	said, began := "", q.clock()
	for pause := firstPause; ; pause = min(2*pause, entryCall) {
		err := q.announceOnce(ctx, question)
		switch {
		case err == nil, ctx.Err() != nil:
			return
		case errors.Is(err, ErrStale), errors.Is(err, ErrRefused):
			q.fail(err)
			return
		}
		if err.Error() != said && q.clock().Sub(began) > patience {
			said = err.Error()
			q.log.Warn("the metadata quorum's leader has not been told where this broker is", "cause", said)
		}
		if q.lead.pause(ctx, pause) != nil {
			return
		}
	}
}

func (q *Quorum) announceOnce(ctx context.Context, question joinQuestion) error {
	wait, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	leader, err := q.lead.wait(wait)
	cancel()
	switch {
	case err == nil && leader == q.cfg.ID:
		if len(q.servers()) < 2 {
			return q.checkSeeds(ctx)
		}
		return q.exclusively(ctx, q.placeSelf)
	case err == nil:
		call, cancel := context.WithTimeout(ctx, 2*entryCall)
		defer cancel()
		_, err = ask[joinAnswer](call, q.cfg.Peers, leader, CallJoin, question)
		return err
	}
	others := q.others()
	if len(others) == 0 || errors.Is(err, ErrClosed) {
		return err
	}
	var silent []string
	for _, node := range others {
		err := q.announceThrough(ctx, node, question)
		if err == nil || errors.Is(err, ErrStale) || errors.Is(err, ErrRefused) {
			return err
		}
		silent = append(silent, fmt.Sprintf("broker %d: %v", node, err))
	}
	return errors.New(strings.Join(silent, "; "))
}

// checkSeeds refuses to be a cluster of one where cluster.peers names brokers of another cluster: whoever has configured that means to
// have one cluster, and has two. Seeds that are not there, or part of none yet, may still come.
func (q *Quorum) checkSeeds(ctx context.Context) error {
	for _, node := range q.cfg.Seeds {
		if node == q.cfg.ID {
			continue
		}
		call, cancel := context.WithTimeout(ctx, heartbeatTimeout)
		_, err := ask[helloAnswer](call, q.cfg.Peers, node, CallHello, helloQuestion{})
		cancel()
		if errors.Is(err, ErrRefused) {
			return err
		}
	}
	return nil
}

// announceThrough tells the leader that another node knows.
func (q *Quorum) announceThrough(ctx context.Context, node kafka.BrokerID, question joinQuestion) error {
	first, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	a, err := ask[joinAnswer](first, q.cfg.Peers, node, CallJoin, question)
	cancel()
	switch {
	case err != nil || a.Leader == kafka.NoBroker:
		return err
	case a.Leader == q.cfg.ID:
		return errors.New("it takes this one for the leader")
	}
	call, cancel := context.WithTimeout(ctx, 2*entryCall)
	defer cancel()
	_, _, err = askAt[joinAnswer](call, q.cfg.Peers, a.Leader, a.Address, CallJoin, question)
	return err
}

// others are the other members and seeds.
func (q *Quorum) others() []kafka.BrokerID {
	ids := slices.Clone(q.cfg.Seeds)
	for _, s := range q.servers() {
		ids = append(ids, brokerID(s.ID))
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id kafka.BrokerID) bool { return id == q.cfg.ID })
}

// Check refuses brokers whose directory was replaced or whose membership ended with a recovery: the error wraps ErrStale.
// Of brokers that are not known it refuses none: this node may be behind.
func (q *Quorum) Check(remote wire.Peer) error {
	if remote.Cluster == "" || remote.Node == q.cfg.ID {
		return nil // on its way in: Join looks at it
	}
	if remote.Admission < q.who.Floor {
		return fmt.Errorf("%w: cluster %s was recovered without broker %d: start it with an empty directory", ErrStale, q.clusterID, remote.Node)
	}
	for _, s := range q.servers() {
		if p := placeOf(s); p.node == remote.Node && !p.admits(remote.Directory, remote.Admission) {
			return stale(remote.Node)
		}
	}
	return nil
}
