package api

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Fetch as replicas ask it, on connections between brokers: up to the log's end, flushed here or not. The position of each
// partition that a request names is what the replica has on disk; it moves the high watermark before anything is read, whether
// there is room for the partition in the answer or not.

const fetchRackVersion = 11

// replicaOf is who fetches; nil for a consumer.
func replicaOf(x *wire.Exchange, req *kmsg.FetchRequest) *partition.Replica {
	if x.Version < fetchStateVersion {
		if req.ReplicaID >= 0 {
			return &partition.Replica{ID: kafka.BrokerID(req.ReplicaID)}
		}
		return nil
	}
	if req.ReplicaState.ID >= 0 {
		return &partition.Replica{ID: kafka.BrokerID(req.ReplicaState.ID), Epoch: kafka.BrokerEpoch(req.ReplicaState.Epoch)}
	}
	return nil
}

// sameReplica tells whether both are the same replica's, or consumers'.
func sameReplica(a, b *partition.Replica) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// checkReplica refuses whoever says to be a replica and is not, or no longer.
func (h *Handler) checkReplica(x *wire.Exchange, req *kmsg.FetchRequest) error {
	r := replicaOf(x, req)
	if r == nil {
		return nil
	}
	if x.Client == nil || x.Client.Peer == nil || x.Client.Peer.Node != r.ID || x.Version < fetchStateVersion {
		return refuse(kerr.InvalidRequest, "replica %d may fetch on the cluster's own listener only", r.ID)
	}
	if b, ok := h.quorum.Image().Broker(r.ID); ok && b.Epoch > r.Epoch {
		return refuse(kerr.StaleBrokerEpoch, "broker %d has registered again: its epoch is %d, not %d", r.ID, b.Epoch, r.Epoch)
	}
	return nil
}

// report tells the partitions that a replica's request names how far the replica is. mu is held; they are in the ready queue.
func (f *fetcher) report() {
	if f.replica == nil {
		return
	}
	m := f.h.quorum.Image()
	f.ready.each(func(s *slot) {
		if !s.used || !s.named {
			return
		}
		s.named, s.refused = false, nil
		if s.leader == nil && s.resolve(f.h, m, f.byID()) != nil {
			return // reading it will tell
		}
		// What it diverges in, and an epoch that is not the partition's, reading tells as well.
		_, s.refused = s.led.ReplicaFetched(*f.replica, s.currentEpoch, partition.Position{From: s.from, Last: s.lastFetchedEpoch})
	})
}

// room is how much of a slot a throttle lets go now; without one, everything. 0: nothing but what is to be told besides records.
func (f *fetcher) room(s *slot) int {
	if f.replica == nil {
		return math.MaxInt
	}
	if s.limit = f.h.Throttle.Leading(s.leader.ID(), f.replica.ID); s.limit.None() {
		return math.MaxInt
	}
	return max(s.limit.Room()-f.slowed, 0)
}

// wait has the slot looked at again after a while, once however often it is called.
func (s *slot) wait(d time.Duration) {
	if !s.waits.Swap(true) {
		time.AfterFunc(d, func() {
			s.waits.Store(false)
			s.tell()
		})
	}
}

// sendNear sends a consumer to a replica in its own rack, if there is one that has what it wants.
func (f *fetcher) sendNear(s *slot) bool {
	if f.rack == "" || f.replica != nil || !f.h.settings.nearReplicas || s.leader.LeaderEpoch() < 0 {
		return false
	}
	m := f.h.quorum.Image()
	if b, ok := m.Broker(f.h.Node); ok && b.Rack == f.rack {
		return false
	}
	id, ok := s.leader.Near(s.from, func(id kafka.BrokerID) bool {
		b, ok := m.Broker(id)
		return ok && b.Rack == f.rack && b.State == command.Active
	})
	if !ok || s.leader.CheckEpoch(s.currentEpoch) != nil {
		return false
	}
	s.result = partition.ReadResult{HighWatermark: s.leader.HighWatermark(), LastStable: s.leader.LastStable(), LogStart: s.leader.LogStart()}
	if s.from < s.result.LogStart || s.from > s.result.HighWatermark {
		s.result = partition.ReadResult{}
		return false // the leader knows better what that means
	}
	s.near, s.err, s.held, s.loading = id, nil, true, false
	return true
}
