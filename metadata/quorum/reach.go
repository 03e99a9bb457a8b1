package quorum

import (
	"context"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Reach: how far the log is committed, and how far each member is. Asked of the leader, which makes sure that it still is.

type reachQuestion struct{}

type reachAnswer struct {
	Index   uint64        `cbor:"1,keyasint"` // of the newest command
	Members []reachMember `cbor:"2,keyasint"`
}

type reachMember struct {
	Node     kafka.BrokerID `cbor:"1,keyasint"`
	Last     uint64         `cbor:"2,keyasint"`
	FetchMs  int64          `cbor:"3,keyasint"` // 0: not known
	CaughtMs int64          `cbor:"4,keyasint"`
}

// catchUp waits until the image holds everything that was committed when it is called.
func (q *Quorum) catchUp(ctx context.Context, leader kafka.BrokerID) error {
	r, err := ask[reachAnswer](ctx, q.cfg.Peers, leader, CallReach, reachQuestion{})
	if err != nil {
		return err
	}
	return q.fsm.reached(ctx, r.Index)
}

// Current waits until the image holds everything that was committed when it is called. It fails at once where no leader is known.
func (q *Quorum) Current(ctx context.Context) error {
	if now, _ := q.lead.get(); now.Ready && now.ID == q.cfg.ID {
		if err := q.await(q.raft.VerifyLeader()); err != nil {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return nil
	}
	leader := q.LeaderID()
	if leader == kafka.NoBroker || leader == q.cfg.ID || q.cfg.Peers == nil {
		return fmt.Errorf("%w: no leader is known", ErrNotReady)
	}
	return q.catchUp(ctx, leader)
}

func (q *Quorum) serveReach(context.Context) ([]byte, error) {
	if now, _ := q.lead.get(); !now.Ready {
		return nil, ErrNotLeader
	}
	a := reachAnswer{Index: q.Image().Index()}
	if err := q.await(q.raft.VerifyLeader()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	for _, s := range q.servers() {
		p := q.transport.of(s.ID)
		a.Members = append(a.Members, reachMember{Node: brokerID(s.ID), Last: p.match, FetchMs: unixMs(p.contact), CaughtMs: unixMs(p.caughtUp)})
	}
	return cbor.MustMarshal(a), nil
}

func unixMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMs(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Describe is Status with what the leader knows of the others, which it is asked for where another node leads.
func (q *Quorum) Describe(ctx context.Context) (Status, error) {
	s := q.Status()
	if s.LeaderID == q.cfg.ID || s.LeaderID == kafka.NoBroker || q.cfg.Peers == nil {
		return s, nil
	}
	r, err := ask[reachAnswer](ctx, q.cfg.Peers, s.LeaderID, CallReach, reachQuestion{})
	if err != nil {
		return s, err
	}
	known := map[kafka.BrokerID]reachMember{}
	for _, m := range r.Members {
		known[m.Node] = m
	}
	for _, list := range [][]Member{s.Voters, s.NonVoters} {
		for i := range list {
			m, ok := known[list[i].ID]
			switch {
			case list[i].ID == s.LeaderID:
				now := q.clock()
				list[i].LastIndex, list[i].LastFetch, list[i].LastCaughtUp = max(r.Index, s.CommitIndex), now, now
			case ok:
				list[i].LastIndex, list[i].LastFetch, list[i].LastCaughtUp = m.Last, fromMs(m.FetchMs), fromMs(m.CaughtMs)
			}
		}
	}
	return s, nil
}
