package controller

import (
	"errors"
	"fmt"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	// ErrNotNeeded says that the leader that was asked for leads already.
	ErrNotNeeded = errors.New("no election is needed")

	// ErrPreferredNotAvailable says that the preferred replica cannot lead at the moment.
	ErrPreferredNotAvailable = errors.New("the preferred replica cannot lead")

	// ErrNoneEligible says that no replica can lead at all.
	ErrNoneEligible = errors.New("no replica can lead")
)

// Preferred is the election of a partition's preferred replica. Errors: ErrNotNeeded, ErrPreferredNotAvailable.
func Preferred(m *image.Image, p *image.Partition) (command.Election, error) {
	return Transfer(m, p, p.Replicas[0])
}

// Transfer is the election of a replica that is in sync. Errors: ErrNotNeeded, ErrPreferredNotAvailable.
func Transfer(m *image.Image, p *image.Partition, to kafka.BrokerID) (command.Election, error) {
	switch {
	case p.Leader == to:
		return command.Election{}, fmt.Errorf("%w: broker %d leads", ErrNotNeeded, to)
	case standingOf(m, to) != active:
		return command.Election{}, fmt.Errorf("%w: broker %d is not active", ErrPreferredNotAvailable, to)
	case !slices.Contains(p.ISR, to):
		return command.Election{}, fmt.Errorf("%w: broker %d is not in sync", ErrPreferredNotAvailable, to)
	}
	return command.Election{Partition: p.Partition, Leader: to, ISR: p.ISR, ELR: p.ELR, Expected: p.PartitionEpoch}, nil
}

// Unclean is the election of whoever can lead a partition that has no leader: somebody who has everything if there is one,
// otherwise any active replica, with the loss of what it lacks. Errors: ErrNotNeeded, ErrNoneEligible.
func Unclean(w World, p *image.Partition) (command.Election, error) {
	if p.Leader != kafka.NoBroker {
		return command.Election{}, fmt.Errorf("%w: broker %d leads", ErrNotNeeded, p.Leader)
	}
	d := newDecider(w)
	r := d.rulesOf(p.Topic)
	r.Unclean = true
	if e, _ := d.settle(p, r); e != nil {
		return *e, nil
	}
	return command.Election{}, fmt.Errorf("%w: of the replicas %v none is active", ErrNoneEligible, p.Replicas)
}

// preferredPerTurn bounds the elections of one Rebalance: leaderships move in small steps.
const preferredPerTurn = 1000

// Rebalance gives leaderships back to the preferred replicas that can take them, on brokers that lack more than percent of
// the leaderships that they are preferred for.
func Rebalance(m *image.Image, percent int) []command.Command {
	preferred, lacks := map[kafka.BrokerID]int{}, map[kafka.BrokerID]int{}
	m.AllPartitions(func(p *image.Partition) bool {
		preferred[p.Replicas[0]]++
		if p.Leader != p.Replicas[0] {
			lacks[p.Replicas[0]]++
		}
		return true
	})
	var b chunks
	n := 0
	m.AllPartitions(func(p *image.Partition) bool {
		if id := p.Replicas[0]; p.Leader == kafka.NoBroker || lacks[id]*100 <= preferred[id]*percent {
			return true
		}
		if e, err := Preferred(m, p); err == nil {
			b.elect(e)
			n++
		}
		return n < preferredPerTurn
	})
	return b.commands()
}
