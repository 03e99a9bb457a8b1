package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Raft's timeouts. Those of a quorum of several nodes bound how long a leader
// that has fallen silent is waited for (one that is dead is not waited for at
// all: see lost.go); with one voter they hardly matter, for hasten does not
// wait for them.
const (
	heartbeatTimeout = time.Second
	leaseTimeout     = 500 * time.Millisecond
	commitTimeout    = 50 * time.Millisecond

	// slowStart is added to the first timeouts, so that hasten can lower them.
	slowStart = time.Second

	// entriesPerAppend is the most that Raft stores, sends and applies at once.
	entriesPerAppend = 1024

	// trailingLogs are kept behind a snapshot, for followers that lag a
	// little. An entry may be 512 KiB.
	trailingLogs = 256

	// snapshotCheck is Raft's own look at the log, a fallback: makeSnapshots acts at once.
	snapshotCheck = 30 * time.Minute
)

func (q *Quorum) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = serverID(q.cfg.ID)
	conf.HeartbeatTimeout = heartbeatTimeout + slowStart
	conf.ElectionTimeout = heartbeatTimeout + slowStart
	conf.LeaderLeaseTimeout = leaseTimeout
	conf.CommitTimeout = commitTimeout
	conf.MaxAppendEntries = entriesPerAppend
	conf.BatchApplyCh = true
	conf.TrailingLogs = trailingLogs
	conf.SnapshotThreshold = q.cfg.SnapshotEntries
	conf.SnapshotInterval = snapshotCheck
	conf.NoLegacyTelemetry = true
	conf.ShutdownOnRemove = false // a broker that was taken out says so itself
	return conf
}

func serverID(id kafka.BrokerID) raft.ServerID { return raft.ServerID(strconv.Itoa(int(id))) }

func brokerID(id raft.ServerID) kafka.BrokerID {
	n, err := strconv.ParseInt(string(id), 10, 32)
	if err != nil {
		return kafka.NoBroker
	}
	return kafka.BrokerID(n)
}

// bootstrap writes the configuration of a new quorum, if this node is of those who form one: all of them write the same.
func (q *Quorum) bootstrap(conf *raft.Config, logs raft.LogStore, snapshots raft.SnapshotStore) error {
	exists, err := raft.HasExistingState(logs, q.store, snapshots)
	if err != nil {
		return fmt.Errorf("look for a metadata log in %s: %w", q.cfg.Dir, err)
	}
	empty, err := nothingStored(logs, snapshots)
	if err != nil {
		return fmt.Errorf("look for a metadata log in %s: %w", q.cfg.Dir, err)
	}
	var servers []raft.Server
	switch {
	case exists && !empty:
		return nil
	case q.cfg.Existing:
		return lost(q.cfg.Dir)
	case len(q.who.Founders) > 0:
		for _, f := range q.who.Founders {
			servers = append(servers, place{node: f.Node, address: f.Address, directory: f.Directory}.server(raft.Voter))
		}
	case q.cfg.Bootstrap:
		servers = []raft.Server{q.self.server(raft.Voter)}
	default:
		return nil // the leader that has admitted this node sends it the log
	}
	first := raft.Configuration{Servers: servers}
	if exists {
		// A bootstrap that was broken off between its two writes: there is a term, which stays, and not the entry that it writes then.
		err = logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(first)})
	} else {
		err = raft.BootstrapCluster(conf, logs, q.store, snapshots, q.transport, first)
	}
	if err != nil {
		return fmt.Errorf("form metadata quorum in %s: %w", q.cfg.Dir, err)
	}
	return nil
}

// nothingStored tells that there is neither an entry nor a snapshot, whatever the term may be.
func nothingStored(logs raft.LogStore, snapshots raft.SnapshotStore) (bool, error) {
	last, err := logs.LastIndex()
	if err != nil || last > 0 {
		return false, err
	}
	list, err := snapshots.List()
	return len(list) == 0, err
}

// hasten lowers the timeouts to what they stay at. That alone makes Raft look
// at its heartbeat timer at once, find that it never heard of a leader, and
// stand for election. A sole voter, which has nobody to hear from, thus leads
// within a few fsyncs of its start and still has no short timer to run on
// afterwards. Of several voters each does so in its turn, unless there is a
// leader by then; where there is one elsewhere, pre-vote keeps it in its place.
func (q *Quorum) hasten(ctx context.Context) error {
	turn := slices.Index(q.voters(), q.cfg.ID)
	if turn <= 0 {
		return q.settle() // the first, or no voter at all
	}
	q.running.Go(func() {
		if err := q.lead.pause(ctx, time.Duration(turn)*turnDelay); err == nil {
			err = q.settle()
			if err != nil {
				q.log.Error("metadata quorum goes on with long timeouts", "error", err)
			}
		}
	})
	return nil
}

// turnDelay is between the candidacies of nodes that start, or campaign, together.
const turnDelay = 150 * time.Millisecond

func (q *Quorum) settle() error {
	conf := q.raft.ReloadableConfig()
	conf.HeartbeatTimeout = heartbeatTimeout
	conf.ElectionTimeout = heartbeatTimeout
	if err := q.raft.ReloadConfig(conf); err != nil {
		return fmt.Errorf("set metadata quorum's timeouts: %w", err)
	}
	return nil
}

// servers are the members that this node's newest configuration names.
func (q *Quorum) servers() []raft.Server { return q.raft.GetConfiguration().Configuration().Servers }

// Leader is what a node knows of the quorum's leadership.
type Leader struct {
	ID   kafka.BrokerID // kafka.NoBroker: none is known
	Term uint64
	// Ready is set on the leader itself once it has applied all that was committed before.
	Ready bool
}

// leadership is who leads, as far as it is known here, and lets others wait for changes.
type leadership struct {
	self kafka.BrokerID

	mu      sync.Mutex
	now     Leader
	changed chan struct{} // closed and replaced with every change
	ended   chan struct{} // closed by close
	once    sync.Once
}

func (l *leadership) init(self kafka.BrokerID) {
	l.self = self
	l.now.ID = kafka.NoBroker
	l.changed, l.ended = make(chan struct{}), make(chan struct{})
}

func (l *leadership) set(now Leader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == now {
		return
	}
	l.now = now
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leadership) get() (Leader, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.changed
}

// close ends every wait, now and later, with ErrClosed.
func (l *leadership) close() { l.once.Do(func() { close(l.ended) }) }

// wait returns the leader once there is one to propose to: this node when it is ready, or another. The error is ErrClosed or ctx's.
func (l *leadership) wait(ctx context.Context) (kafka.BrokerID, error) {
	for {
		now, changed := l.get()
		select {
		case <-l.ended:
			return 0, ErrClosed
		default:
		}
		if now.Ready || now.ID != kafka.NoBroker && now.ID != l.self {
			return now.ID, nil
		}
		select {
		case <-changed:
		case <-l.ended:
			return 0, ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Leader is who leads, and a channel that is closed when that has changed.
func (q *Quorum) Leader() (Leader, <-chan struct{}) { return q.lead.get() }

// Leading has f run whenever this node leads, in a goroutine of its own, once everything committed before is applied here.
// ctx ends with the leadership, and the next run begins only after f has returned. Close waits for it.
func (q *Quorum) Leading(f func(ctx context.Context, term uint64)) {
	q.running.Go(func() {
		for {
			now, changed := q.lead.get()
			if now.Ready {
				q.whileLeading(now, f)
				continue
			}
			select {
			case <-changed:
			case <-q.lead.ended:
				return
			}
		}
	})
}

// whileLeading runs f until it returns, and waits then for the leadership's end.
func (q *Quorum) whileLeading(during Leader, f func(context.Context, uint64)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() { f(ctx, during.Term); close(done) }()
	for {
		now, changed := q.lead.get()
		if now != during {
			break
		}
		select {
		case <-changed:
			continue
		case <-q.lead.ended:
		}
		break
	}
	cancel()
	<-done
	select {
	case <-q.lead.ended:
		q.lead.set(Leader{ID: kafka.NoBroker}) // nobody leads here any more
	default:
	}
}

// followLeadership keeps lead up to date. Whenever this node becomes leader it
// waits out what the log holds, then opens it for proposals.
func (q *Quorum) followLeadership(ctx context.Context) {
	observed := make(chan raft.Observation, 16)
	observer := raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	q.raft.RegisterObserver(observer)
	defer q.raft.DeregisterObserver(observer)
	q.noteLeader()
	for {
		select {
		case <-ctx.Done():
			return
		case <-observed:
			q.noteLeader()
		case leads := <-q.raft.LeaderCh():
			if !leads {
				q.lead.set(Leader{ID: kafka.NoBroker})
				q.noteLeader()
				q.log.Info("metadata leadership lost")
				continue
			}
			term := q.raft.CurrentTerm()
			q.transport.forget()
			if err := q.takeOver(); err != nil {
				// Leadership was lost again, or the node shuts down: LeaderCh will say.
				q.log.Warn("metadata leadership not taken", "error", err)
				continue
			}
			q.lead.set(Leader{ID: q.cfg.ID, Term: term, Ready: true})
			q.log.Info("metadata quorum is ready", "term", term, "index", q.raft.AppliedIndex())
		}
	}
}

// noteLeader takes over what Raft says of another node's leadership. Of its own LeaderCh tells.
func (q *Quorum) noteLeader() {
	id := q.LeaderID()
	if id == q.cfg.ID {
		return
	}
	if now, _ := q.lead.get(); now.Ready && id == kafka.NoBroker {
		return // an observation from before
	}
	if id != kafka.NoBroker {
		q.log.Debug("metadata leader", "leader", id)
	}
	q.lead.set(Leader{ID: id, Term: q.raft.CurrentTerm()})
}

// takeOver applies everything that is committed and sees to it that the log is this cluster's.
func (q *Quorum) takeOver() error {
	if err := q.await(q.raft.Barrier(0)); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if q.Image().ClusterID() == q.clusterID {
		return nil
	}
	entry, err := command.Encode(command.Envelope{Broker: q.cfg.ID, TimeMs: q.clock().UnixMilli()}, command.FormCluster{ClusterID: q.clusterID})
	if err != nil {
		return err
	}
	answers, err := q.apply(entry)
	if err != nil {
		return fmt.Errorf("name the cluster: %w", err)
	}
	if err := answers[0].err; err != nil {
		err = fmt.Errorf("%w: log in %s: %w", ErrForeignDirectory, q.cfg.Dir, err)
		q.fail(err)
		return err
	}
	return nil
}

// Ready waits until a leader is known and the image holds everything committed before.
func (q *Quorum) Ready(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		leader, err := q.lead.wait(ctx)
		if err != nil || leader == q.cfg.ID {
			return err
		}
		err = q.catchUp(ctx, leader)
		if err == nil || ctx.Err() != nil {
			return err
		}
		q.log.Debug("ask the metadata leader how far it is", "leader", leader, "error", err)
		if err := q.lead.pause(ctx, pause); err != nil {
			return err
		}
	}
}

// Between two attempts to reach the leader.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
)

// pause waits for a while, or a change of leaders.
func (l *leadership) pause(ctx context.Context, d time.Duration) error {
	_, changed := l.get()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-l.ended:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// voters are the ids of those who elect.
func (q *Quorum) voters() (ids []kafka.BrokerID) {
	for _, s := range q.servers() {
		if s.Suffrage == raft.Voter {
			ids = append(ids, brokerID(s.ID))
		}
	}
	slices.Sort(ids)
	return ids
}

// errHalted answers what was in flight when the node halted.
var errHalted = errors.New("metadata quorum has halted")
