package coordinator

import (
	"errors"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/metadata/image"
)

// Follow brings the shards in line with an image that was published: the groups of those that have come are loaded, those
// of others are dropped, and who waits there is sent away. It is given to the quorum as a subscriber; an image that is older
// than one that was followed changes nothing. An error means that the image holds a group that this release cannot read.
func (c *Coordinator) Follow(m *image.Image) error {
	c.following.Lock()
	defer c.following.Unlock()
	var came [image.CoordinatorShards]bool
	some := false
	for i := range c.shards {
		if c.place(&c.shards[i], m.Coordinator(int32(i))) {
			came[i], some = true, true
		}
	}
	if !some {
		return nil
	}
	return c.load(m, &came)
}

// place notes a shard's placement, and drops its groups unless it stays. It tells whether the shard has come: then it is
// not mine yet, but will be when its groups are loaded.
func (c *Coordinator) place(s *shard, now image.Coordinator) (came bool) {
	var out effects
	s.mu.Lock()
	defer func() {
		s.mu.Unlock()
		c.deliver("", &out)
	}()
	if now.Epoch <= s.placed.Epoch || c.phase.Load() == stopped {
		return false
	}
	s.placed, s.mine, s.aside = now, false, aside.Set[string]{}
	for _, e := range s.groups {
		e.g.abort(time.Now(), ErrNotCoordinator, &out)
		e.dropped = true
		c.forget(e)
	}
	return now.Broker == c.cfg.Node
}

// load brings the groups that have members into memory, their sessions begin now; then the shards are served.
func (c *Coordinator) load(m *image.Image, came *[image.CoordinatorShards]bool) error {
	var failed []error
	now := time.Now()
	m.Groups(func(ig *image.Group) bool {
		if !ig.Kept() || !came[image.CoordinatorShard(ig.Name)] {
			return true
		}
		s := c.shardOf(ig.Name)
		c.contained(s, ig.Name, func() {
			e, err := c.find(s, ig.Name, now)
			if err != nil {
				failed = append(failed, err)
				return
			}
			c.settle(e, now, nil)
		})
		return true
	})
	for i := range c.shards {
		if s := &c.shards[i]; came[i] {
			s.mu.Lock()
			s.mine = s.placed.Broker == c.cfg.Node && c.phase.Load() != stopped
			s.mu.Unlock()
		}
	}
	return errors.Join(failed...)
}
