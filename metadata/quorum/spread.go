package quorum

import (
	"context"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Raft's followers hear of a commit with the next entry, or when CommitTimeout has passed: 50 ms and more behind the
// leader, and so behind its answer. The leader therefore sends each of them, as soon as it has stored an entry that is
// committed and has not been told so, what Raft itself sends after the timeout: an append of nothing, with the commit index.
// It costs no entry and no write anywhere.

// mark is an entry that was applied here.
type mark struct{ index, term uint64 }

// spread tells followers of commits, while this node leads.
type spread struct {
	newest atomic.Pointer[mark]
	wake   chan struct{} // capacity 1: there may be somebody to tell
}

func (s *spread) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// applied is called by the fsm.
func (s *spread) applied(l *raft.Log) {
	s.newest.Store(&mark{l.Index, l.Term})
	s.kick()
}

func (q *Quorum) spreadCommits(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.spread.wake:
		}
		m := q.spread.newest.Load()
		if m == nil || q.raft.State() != raft.Leader || q.raft.CurrentTerm() != m.term {
			continue
		}
		for _, s := range q.servers() {
			if s.ID != serverID(q.cfg.ID) && q.transport.toTell(s.ID, m.index) {
				q.running.Go(func() { q.tell(s, *m) })
			}
		}
	}
}

// toTell claims a member that has stored what it does not know to be committed.
func (t *transport) toTell(id raft.ServerID, index uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.members[id]
	if p == nil || p.telling || p.match < index || p.told >= index {
		return false
	}
	p.telling = true
	return true
}

// tell is one append of nothing. m was committed in its term by this node, so what the append claims is true whenever it arrives.
func (q *Quorum) tell(s raft.Server, m mark) {
	self := q.transport.EncodePeer(serverID(q.cfg.ID), q.transport.LocalAddr())
	args := raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(serverID(q.cfg.ID)), Addr: self},
		Term:      m.term, PrevLogEntry: m.index, PrevLogTerm: m.term, LeaderCommitIndex: m.index,
	}
	var resp raft.AppendEntriesResponse
	err := q.transport.append(s.ID, s.Address, &args, &resp) // notes what was told
	q.transport.mu.Lock()
	if p := q.transport.members[s.ID]; p != nil {
		p.telling = false
		if err != nil {
			p.told = max(p.told, m.index) // Raft will tell it, when it can be reached
		}
	}
	q.transport.mu.Unlock()
	q.spread.kick() // more may have come meanwhile
}
