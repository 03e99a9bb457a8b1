package quorum

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A broker that comes back at once with an empty directory could be given a vote for the good health of the one before.
func TestReplacedDirectoryIsNotStable(t *testing.T) {
	now := time.Unix(1000, 0)
	q := &Quorum{
		cfg:       Config{ID: 1, Voters: 3, StableAfter: 10 * time.Second, GoneAfter: 30 * time.Second},
		transport: &transport{members: map[raft.ServerID]*progress{}},
	}
	a := &autopilot{q: q, since: map[raft.ServerAddress]time.Time{}, began: now}
	members := func(directory byte, s raft.ServerSuffrage) []raft.Server {
		return []raft.Server{
			place{node: 1, address: "a:1"}.server(raft.Voter),
			place{node: 2, address: "b:1", directory: [16]byte{directory}, admission: uint64(directory)}.server(s),
		}
	}
	decide := func(servers []raft.Server) Operation {
		q.transport.members["2"] = &progress{contact: now, caughtUp: now}
		op, _ := a.decide(servers, now)
		return op
	}
	decide(members(1, raft.Voter))
	now = now.Add(time.Minute)
	decide(members(1, raft.Voter))
	if op := decide(members(2, raft.Nonvoter)); op != 0 {
		t.Fatalf("operation %d when another directory has just come", op)
	}
	now = now.Add(10 * time.Second)
	if op := decide(members(2, raft.Nonvoter)); op != opPromote {
		t.Errorf("operation %d after ten healthy seconds, want promotion", op)
	}
}
