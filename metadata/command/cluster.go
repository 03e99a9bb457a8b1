package command

import (
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// The commands of a cluster of several brokers: who lives, who replicates what, who coordinates what.

// BrokerState is what the cluster lets a broker do.
type BrokerState uint8

const (
	// Active brokers lead, follow and take new replicas.
	Active BrokerState = 0

	// Fenced brokers lead nothing and are in no ISR: they have not caught up
	// yet, or nobody has heard from them.
	Fenced BrokerState = 1

	// Stopping brokers are on their way out by themselves: their leaderships
	// move away, and nothing new comes to them.
	Stopping BrokerState = 2
)

// String is the state's name, for people.
func (s BrokerState) String() string {
	switch s {
	case Active:
		return "active"
	case Fenced:
		return "fenced"
	case Stopping:
		return "stopping"
	}
	return "unknown"
}

// SetBrokerState moves the broker of that epoch between states. Refused when
// the epoch is another: what one incarnation's end asks for never meets the next.
type SetBrokerState struct {
	ID    kafka.BrokerID    `cbor:"1,keyasint"`
	Epoch kafka.BrokerEpoch `cbor:"2,keyasint"`
	State BrokerState       `cbor:"3,keyasint"`
}

// DrainBroker says whether a broker is to be emptied of replicas. It outlives
// registrations: it is a person's wish, not a state of the process.
type DrainBroker struct {
	ID    kafka.BrokerID `cbor:"1,keyasint"`
	Drain bool           `cbor:"2,keyasint"`
}

// UnregisterBroker forgets a broker. Refused while it is not fenced, or while
// a partition has a replica on it.
type UnregisterBroker struct {
	ID kafka.BrokerID `cbor:"1,keyasint"`
}

// AlterISR changes in-sync replicas without a new leadership. Changes whose
// partition has moved on, or that name a member that may not be in sync, are
// left out; the others happen. Result: []kafka.Partition, those left out; nil when none.
type AlterISR struct {
	Changes []ISRChange `cbor:"1,keyasint"`
}

// ISRChange is one of AlterISR. It holds when LeaderEpoch and Expected are
// still the partition's, every member is a replica, the leader stays a member
// while there is one, and every member that is new is an active broker of the
// epoch that it is given with: a follower that fetched under another
// registration is not known to have what it fetched (KIP-903).
type ISRChange struct {
	Partition   kafka.Partition      `cbor:"1,keyasint"`
	LeaderEpoch kafka.LeaderEpoch    `cbor:"2,keyasint"`
	Expected    kafka.PartitionEpoch `cbor:"3,keyasint"`
	ISR         []ISRMember          `cbor:"4,keyasint"`

	// ELR are the eligible leader replicas afterwards (KIP-966): replicas that
	// left the ISR while it was too small for the high watermark to move. A
	// subset of what ISR and ELR were, without members of the new ISR.
	ELR []kafka.BrokerID `cbor:"5,keyasint,omitempty"`
}

// NextELR are the eligible leader replicas (KIP-966) when next takes the place of isr beside elr: none while next is large enough for
// the high watermark to move, which it does without them. Otherwise those that were, in their order, then those that leave. minimum is
// min.insync.replicas, and no more than there are replicas. Leaders and the controller go by this.
func NextELR(isr, next, elr []kafka.BrokerID, minimum int) (list []kafka.BrokerID) {
	if len(next) >= minimum {
		return nil
	}
	if len(isr) >= minimum {
		elr = nil // the high watermark has moved without them
	}
	for _, from := range [][]kafka.BrokerID{elr, isr} {
		for _, id := range from {
			if !slices.Contains(next, id) && !slices.Contains(list, id) {
				list = append(list, id)
			}
		}
	}
	return list
}

// ISRMember is a broker of one registration.
type ISRMember struct {
	ID    kafka.BrokerID    `cbor:"1,keyasint"`
	Epoch kafka.BrokerEpoch `cbor:"2,keyasint"`
}

// AssignReplicas begins, changes or cancels reassignments. Changes whose
// partition has moved on are left out.
// Result: []kafka.Partition, those left out; nil when none.
type AssignReplicas struct {
	Changes []Assignment `cbor:"1,keyasint"`
}

// Assignment is one of AssignReplicas. Target nil cancels: the replicas are
// again those from before.
type Assignment struct {
	Partition kafka.Partition      `cbor:"1,keyasint"`
	Expected  kafka.PartitionEpoch `cbor:"2,keyasint"`
	Target    []kafka.BrokerID     `cbor:"3,keyasint"`
}

// FinishAssignments ends reassignments whose target is wholly in sync: what
// was to be removed is. Those whose partition has moved on, whose target is
// not in sync or whose Leader is not in it are left out.
// Result: []kafka.Partition, those left out; nil when none.
type FinishAssignments struct {
	Changes []Finish `cbor:"1,keyasint"`
}

// Finish is one of FinishAssignments. A Leader other than the present one
// starts a new leadership.
type Finish struct {
	Partition kafka.Partition      `cbor:"1,keyasint"`
	Expected  kafka.PartitionEpoch `cbor:"2,keyasint"`
	Leader    kafka.BrokerID       `cbor:"3,keyasint"`
}

// PlaceCoordinators gives shards of the groups to brokers. Each placement
// counts the shard's epoch up, which fences the coordinator before. Those
// whose epoch is not Expected any more are left out.
type PlaceCoordinators struct {
	Shards []ShardPlacement `cbor:"1,keyasint"`
}

// ShardPlacement is one of PlaceCoordinators. Broker may be kafka.NoBroker.
type ShardPlacement struct {
	Shard    int32                  `cbor:"1,keyasint"`
	Broker   kafka.BrokerID         `cbor:"2,keyasint"`
	Expected kafka.CoordinatorEpoch `cbor:"3,keyasint"`
}
