package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// sweep deletes offsets past their retention, and groups that have neither members nor offsets left.
// Offsets of deleted topics are not its affair: the image drops them with the topic.
func (c *Coordinator) sweep(ctx context.Context) {
	c.quorum.Image().Groups(func(ig *image.Group) bool {
		if c.Serves(ig.Name) == nil {
			c.sweepGroup(ig.Name)
		}
		return ctx.Err() == nil
	})
}

func (c *Coordinator) sweepGroup(name string) {
	var err error
	s := c.shardOf(name)
	c.guarded(s, name, func(now time.Time, out *effects) {
		err = c.enter(s, name, now, func(e *entry, now time.Time) error {
			c.expire(e, now)
			c.settle(e, now, out)
			return nil
		})
	})
	if err != nil && !errors.Is(err, ErrNotCoordinator) { // it has just moved
		c.log.Warn("offsets not checked for expiry", "group", name, "error", err)
	}
}

// expire proposes to delete the group, or its offsets, whose time is over. Under the shard's lock.
func (c *Coordinator) expire(e *entry, now time.Time) {
	// With nothing in flight, the image says of this group all there is to say. Else: the next time.
	if e.persists > 0 || e.commits.Load() > 0 {
		return
	}
	age := now
	if c.cfg.Clock != nil {
		age = c.cfg.Clock()
	}
	expired, all := c.expired(e, age)
	switch {
	case all && e.g.Empty() && c.exists(e):
		c.proposeDeletion(e, now, func(err error) {
			if err != nil {
				c.log.Warn("group without offsets not deleted", "group", e.name, "error", err)
			}
		})
	case len(expired) > 0:
		p := &pendingCommit{c: c, e: e, reply: func(_ []kafka.Partition, err error) {
			if err != nil {
				c.log.Warn("expired offsets not deleted", "group", e.name, "error", err)
			}
		}}
		p.deletePartitions(e.name, expired)
	}
}

// expired lists the offsets past their retention, and tells whether those are all there are.
func (c *Coordinator) expired(e *entry, now time.Time) (ps []kafka.Partition, all bool) {
	rule, since := e.g.OffsetExpiry()
	m := c.quorum.Image()
	all = rule != group.KeepOffsets // such a group is kept too
	m.Offsets(e.name, func(o *image.Offset) bool {
		if c.isExpired(m, e, o, rule, since, now) {
			ps = append(ps, o.Partition)
		} else {
			all = false
		}
		return true
	})
	return ps, all
}

func (c *Coordinator) isExpired(m *image.Image, e *entry, o *image.Offset, rule group.Expiry, since, now time.Time) bool {
	if rule == group.KeepOffsets {
		return false
	}
	if rule == group.Unsubscribed {
		if t, ok := m.TopicByID(o.Partition.Topic); ok && e.g.Subscribed(t.Name) {
			return false
		}
	}
	if o.ExpireMs > 0 { // the committer's own retention (OffsetCommit v2-4)
		return now.UnixMilli() >= o.ExpireMs
	}
	base := o.CommittedMs
	if rule == group.SinceEmpty {
		base = since.UnixMilli()
	}
	return now.UnixMilli()-base >= c.cfg.OffsetsRetention.Milliseconds()
}
