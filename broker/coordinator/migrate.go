package coordinator

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/group"
)

// upgrade makes a classic group with members one of the consumer protocol, for the first member that speaks it (KIP-848). The others are served on
// as they are; whoever waits in a join or a sync joins again. Under the shard's lock.
func (c *Coordinator) upgrade(e *entry, old *group.Group, now time.Time, h *consumer.Heartbeat, w consumer.World, out *effects) (*consumer.Group, error) {
	limits := &c.cfg.Consumer.Limits
	err := limits.Check(h)
	if err == nil && h.Regex != nil {
		err = limits.CheckRegex(*h.Regex)
	}
	switch {
	case err != nil:
		return nil, err
	case !c.cfg.Consumer.Upgrade:
		return nil, fmt.Errorf("%w: it is a classic group with members, and group.consumer.migration.policy keeps it so", group.ErrNotFound)
	case old.ProtocolType() != group.ConsumerType || old.Size() >= limits.MaxSize:
		return nil, fmt.Errorf("%w: it is a classic group of %d members of type %.100q", group.ErrNotFound, old.Size(), old.ProtocolType())
	}
	g := consumer.Take(limits, now, old.Generation(), old.Migrants(), w.Topics)
	if g == nil {
		return nil, fmt.Errorf("%w: it is a classic group whose members' metadata cannot be read or is too much, or that assigns a partition twice", group.ErrNotFound)
	}
	c.log.Info("group goes to the consumer protocol", "group", e.name, "members", old.Size(), "generation", old.Generation())
	old.Abort(now, group.ErrRebalanceInProgress, &out.classic)
	e.g, e.version = consumerGroup{g}, 0
	return g, nil
}

// downgrade makes a group of the consumer protocol a classic one when all members that are left speak only that. They rebalance. What this group
// was is replaced in the image by the first assignment that follows; a coordinator that is lost before finds the group as it was.
// Under the shard's lock.
func (c *Coordinator) downgrade(e *entry, now time.Time, out *effects) {
	g, ok := e.g.(consumerGroup)
	if !ok || !c.cfg.Consumer.Downgrade || !g.Classic() || g.Size() > c.cfg.Limits.MaxSize {
		return
	}
	c.log.Info("group goes back to the classic protocol", "group", e.name, "members", g.Size(), "epoch", g.Epoch())
	members, generation := g.Give(c.quorum.Image().TopicSet(), &out.consumer)
	e.g, e.version = classicGroup{group.Take(&c.cfg.Limits, now, generation, members, &out.classic)}, 0
}
