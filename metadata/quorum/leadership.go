package quorum

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Raft's timeouts. Those of a quorum of several nodes are chosen for
// elections within a second; with one voter they hardly matter, for hasten
// does not wait for them.
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

// bootstrap forms a quorum of this node alone, if it may and there is none.
// Other voters will be added to it by configuration changes.
func (q *Quorum) bootstrap(conf *raft.Config, logs raft.LogStore, snapshots raft.SnapshotStore) error {
	if !q.cfg.Bootstrap && !q.cfg.Existing {
		return nil
	}
	exists, err := raft.HasExistingState(logs, q.store, snapshots)
	if err != nil {
		return fmt.Errorf("look for a metadata log in %s: %w", q.cfg.Dir, err)
	}
	switch {
	case exists:
		return nil
	case q.cfg.Existing:
		return lost(q.cfg.Dir)
	}
	self := raft.Server{Suffrage: raft.Voter, ID: conf.LocalID, Address: q.transport.LocalAddr()}
	err = raft.BootstrapCluster(conf, logs, q.store, snapshots, q.transport, raft.Configuration{Servers: []raft.Server{self}})
	if err != nil {
		return fmt.Errorf("form metadata quorum in %s: %w", q.cfg.Dir, err)
	}
	return nil
}

// hasten lowers the timeouts to what they stay at. That alone makes Raft look
// at its heartbeat timer at once, find that it never heard of a leader, and
// stand for election. A sole voter, which has nobody to hear from, thus leads
// within a few fsyncs of its start and still has no short timer to run on
// afterwards. Where there are other voters the node waits for them as usual.
func (q *Quorum) hasten() error {
	conf := q.raft.ReloadableConfig()
	conf.HeartbeatTimeout = heartbeatTimeout
	conf.ElectionTimeout = heartbeatTimeout
	if !q.alone() {
		conf.HeartbeatTimeout += slowStart // more members: its own timeouts come with them
		conf.ElectionTimeout += slowStart
	}
	if err := q.raft.ReloadConfig(conf); err != nil {
		return fmt.Errorf("set metadata quorum's timeouts: %w", err)
	}
	return nil
}

// alone tells whether this node is the only voter.
func (q *Quorum) alone() bool {
	voters := 0
	self := false
	for _, s := range q.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
			self = self || s.ID == serverID(q.cfg.ID)
		}
	}
	return voters == 1 && self
}

// leadership is whether proposals can be made here, and lets others wait for
// it. A node that follows will be ready when its image has caught up with the
// leader's commit index; for now only leaders are.
type leadership struct {
	mu     sync.Mutex
	ready  chan struct{} // closed while ready
	isOpen bool          // ready is not closed
	ended  chan struct{} // closed by close
	once   sync.Once
}

func (l *leadership) init() {
	l.ready, l.isOpen = make(chan struct{}), true
	l.ended = make(chan struct{})
}

func (l *leadership) set(ready bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ready && l.isOpen:
		close(l.ready)
		l.isOpen = false
	case !ready && !l.isOpen:
		l.ready, l.isOpen = make(chan struct{}), true
	}
}

// close ends every wait, now and later, with ErrClosed.
func (l *leadership) close() { l.once.Do(func() { close(l.ended) }) }

// wait returns nil when ready, ErrClosed, or ctx's error.
func (l *leadership) wait(ctx context.Context) error {
	l.mu.Lock()
	ready := l.ready
	l.mu.Unlock()
	select {
	case <-l.ended:
		return ErrClosed
	default:
	}
	select {
	case <-ready: // whatever ctx says: there is nothing to wait for
		return nil
	default:
	}
	select {
	case <-ready:
		return nil
	case <-l.ended:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// followLeadership waits out what the log holds whenever this node becomes
// leader, then opens it for proposals.
func (q *Quorum) followLeadership(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-q.raft.LeaderCh():
			q.lead.set(false)
			if !leads {
				q.log.Info("metadata leadership lost")
				continue
			}
			if err := q.takeOver(); err != nil {
				// Leadership was lost again, or the node shuts down: LeaderCh will say.
				q.log.Warn("metadata leadership not taken", "error", err)
				continue
			}
			q.lead.set(true)
			q.log.Info("metadata quorum is ready", "term", q.raft.CurrentTerm(), "index", q.raft.AppliedIndex())
		}
	}
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

// errHalted answers what was in flight when the node halted.
var errHalted = errors.New("metadata quorum has halted")
