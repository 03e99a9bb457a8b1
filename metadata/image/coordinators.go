package image

import (
	"hash/fnv"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// CoordinatorShards is into how many shards the groups are divided; each is
// coordinated by one broker at a time. Never to be changed: it decides which
// epoch fences whom.
const CoordinatorShards = 64

// Coordinator is who coordinates a shard, since which placement.
type Coordinator struct {
	Broker kafka.BrokerID         // kafka.NoBroker: nobody at the moment
	Epoch  kafka.CoordinatorEpoch // 0: never placed
}

// coordinators is the placement of every shard. Immutable once in an image.
type coordinators [CoordinatorShards]Coordinator

var nobody = func() *coordinators {
	var c coordinators
	for i := range c {
		c[i].Broker = kafka.NoBroker
	}
	return &c
}()

// CoordinatorShard is the shard of a group.
func CoordinatorShard(group string) int32 {
	h := fnv.New32a()
	h.Write([]byte(group))
	return int32(h.Sum32() % CoordinatorShards)
}

// Coordinator is who coordinates a shard, 0 <= shard < CoordinatorShards.
func (m *Image) Coordinator(shard int32) Coordinator { return m.coordinators[shard] }

// placeCoordinators checks every shard's number first; then places those that are still as expected.
func (tx *Tx) placeCoordinators(c command.PlaceCoordinators) *Refusal {
	for _, s := range c.Shards {
		if s.Shard < 0 || s.Shard >= CoordinatorShards {
			return refuse(ErrInvalid, "shard %d of the groups, there are %d", s.Shard, CoordinatorShards)
		}
	}
	next := *tx.coordinators
	for _, s := range c.Shards {
		if at := &next[s.Shard]; at.Epoch == s.Expected {
			*at = Coordinator{Broker: s.Broker, Epoch: at.Epoch + 1}
			tx.changes.coordinators.add(s.Shard)
		}
	}
	tx.coordinators = &next
	return nil
}

// coordinates refuses what a coordinator that was replaced still proposes.
func (tx *Tx) coordinates(group string, epoch kafka.CoordinatorEpoch) *Refusal {
	shard := CoordinatorShard(group)
	if now := tx.coordinators[shard]; epoch != 0 && epoch != now.Epoch {
		return refuse(ErrNotCoordinator, "shard %d of group %q is at epoch %d, the proposer's is %d", shard, group, now.Epoch, epoch)
	}
	return nil
}
