package quorum

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Lost: do you, too, see the leader dead. A killed process closes its connections at once, and its port refuses. A voter that
// sees both asks the others, and when a majority of all voters sees the same, stands for election without waiting for
// Raft's timeout: as a leader does that hands over, it is voted for although the others still remember the old one. A
// leader that lives costs nothing: some probe finds it alive. Voters stand in turns, the lowest id first, so that two
// seldom share the votes; who has a longer log than the first refuses it and stands next.

type lostQuestion struct {
	Leader kafka.BrokerID `cbor:"1,keyasint"`
}

type lostAnswer struct {
	Dead bool `cbor:"1,keyasint"`
}

// lostTimeout bounds the question: a voter that is dead too does not answer.
const lostTimeout = 250 * time.Millisecond

// watchLeader keeps a connection to the leader while another node leads, and campaigns when it is dead.
func (q *Quorum) watchLeader(ctx context.Context) {
	for {
		now, changed := q.lead.get()
		if now.ID == kafka.NoBroker || now.ID == q.cfg.ID {
			select {
			case <-changed:
				continue
			case <-q.leaderGone: // of before
				continue
			case <-ctx.Done():
				return
			}
		}
		dial, cancel := context.WithTimeout(ctx, heartbeatTimeout)
		err := q.cfg.Peers.Connect(dial, now.ID)
		cancel()
		if err == nil {
			select {
			case <-changed:
				continue
			case <-q.leaderGone:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		if q.sees(ctx, now.ID) {
			q.campaign(ctx, now.ID)
		}
		if q.lead.pause(ctx, lastPause/4) != nil {
			return
		}
	}
}

// noteClosed is told of every connection that ends.
func (q *Quorum) noteClosed(node kafka.BrokerID) {
	if now, _ := q.lead.get(); now.ID != node {
		return
	}
	select {
	case q.leaderGone <- struct{}{}:
	default:
	}
}

// sees tells whether this node sees another dead.
func (q *Quorum) sees(ctx context.Context, node kafka.BrokerID) bool {
	ctx, cancel := context.WithTimeout(ctx, lostTimeout)
	defer cancel()
	state, _ := q.cfg.Peers.Probe(ctx, node, "")
	return state == Dead
}

// campaign stands for election if a majority of the voters sees the leader dead.
func (q *Quorum) campaign(ctx context.Context, leader kafka.BrokerID) {
	voters := q.voters()
	if !slices.Contains(voters, q.cfg.ID) || q.raft.State() != raft.Follower {
		return
	}
	agree := make(chan bool, len(voters))
	call, cancel := context.WithTimeout(ctx, lostTimeout)
	defer cancel()
	var asking sync.WaitGroup
	turn := 0
	for _, v := range voters {
		if v == leader {
			continue
		}
		if v == q.cfg.ID {
			agree <- true
			continue
		}
		if v < q.cfg.ID {
			turn++
		}
		asking.Go(func() {
			a, err := ask[lostAnswer](call, q.cfg.Peers, v, CallLost, lostQuestion{Leader: leader})
			agree <- err == nil && a.Dead
		})
	}
	go func() { asking.Wait(); close(agree) }()
	votes := 0
	for dead := range agree {
		if dead {
			votes++
		}
		if votes >= len(voters)/2+1 {
			break
		}
	}
	cancel()
	if votes < len(voters)/2+1 {
		return
	}
	term := q.raft.CurrentTerm()
	if turn > 0 && q.lead.pause(ctx, time.Duration(turn)*turnDelay) != nil {
		return
	}
	if now, _ := q.lead.get(); now.ID != leader || q.raft.State() != raft.Follower || q.raft.CurrentTerm() != term {
		return // somebody was faster, or stands and has been voted for: standing as well would take the lead from it at once
	}
	q.log.Info("metadata leader is dead: standing for election", "leader", leader)
	if err := q.transport.order(&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}); err != nil {
		q.log.Debug("stand for election", "error", err)
	}
}

func (q *Quorum) serveLost(ctx context.Context, body []byte) ([]byte, error) {
	question, err := decodeMessage[lostQuestion](body)
	if err != nil {
		return nil, err
	}
	dead := question.Leader != q.cfg.ID && q.sees(ctx, question.Leader)
	return cbor.MustMarshal(lostAnswer{Dead: dead}), nil
}
