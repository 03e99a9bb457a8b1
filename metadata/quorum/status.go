package quorum

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Status for DescribeQuorum and metrics.
type Status struct {
	LeaderID                             kafka.BrokerID // kafka.NoBroker when none is known
	Term                                 uint64
	LastIndex, CommitIndex, AppliedIndex uint64
	Voters, NonVoters                    []Member
	SnapshotIndex                        uint64 // last entry that the newest snapshot holds, 0 without one
	QueuedCommands                       int    // that wait to be proposed here
}

// Member is one node of the quorum. How far others are only the leader knows: see Describe.
type Member struct {
	ID                      kafka.BrokerID
	Addr                    string
	Directory               [16]byte  // zero: not known
	LastIndex               uint64    // of its log, as far as it is known here
	LastFetch, LastCaughtUp time.Time // zero when not known
}

// LeaderID is the leader as this node knows it, kafka.NoBroker when it knows none. Cheap.
func (q *Quorum) LeaderID() kafka.BrokerID {
	if _, id := q.raft.LeaderWithID(); id != "" {
		return brokerID(id)
	}
	return kafka.NoBroker
}

// LastContact is when this node has last heard from a leader, as its follower; zero for never.
func (q *Quorum) LastContact() time.Time { return q.raft.LastContact() }

// Status is a view of the moment; its parts may be a few entries apart. Cheap
// enough to be asked per request, not per record.
func (q *Quorum) Status() Status {
	s := Status{
		LeaderID:       q.LeaderID(),
		Term:           q.raft.CurrentTerm(),
		LastIndex:      q.raft.LastIndex(),
		CommitIndex:    q.raft.CommitIndex(),
		AppliedIndex:   max(q.raft.AppliedIndex(), q.Image().Index()), // Raft counts an entry only once its whole batch is applied
		SnapshotIndex:  q.fsm.newest.index.Load(),
		QueuedCommands: q.queue.len(),
	}
	for _, server := range q.servers() {
		at, p := placeOf(server), q.transport.of(server.ID)
		m := Member{ID: at.node, Addr: at.address, Directory: at.directory, LastIndex: p.match, LastFetch: p.contact, LastCaughtUp: p.caughtUp}
		if m.ID == q.cfg.ID {
			now := q.clock()
			m.Addr, m.LastIndex, m.LastFetch, m.LastCaughtUp = q.Addr(), s.LastIndex, now, now
		}
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, m)
		} else {
			s.NonVoters = append(s.NonVoters, m)
		}
	}
	return s
}
