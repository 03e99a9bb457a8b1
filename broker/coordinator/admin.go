package coordinator

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// Delete removes an empty group and its offsets. reply is called once, when it is gone: a new group of the name may
// begin then. It may be called before Delete returns, from any goroutine.
func (c *Coordinator) Delete(name string, reply func(error)) {
	if err := checkName(name, true); err != nil {
		reply(err)
		return
	}
	proposed := false
	err := c.with(name, func(e *entry, now time.Time, _ *effects) error {
		if !c.exists(e) {
			return group.ErrNotFound
		}
		if err := e.g.CheckDelete(); err != nil {
			return err
		}
		proposed = true
		c.proposeDeletion(e, now, reply)
		return nil
	})
	if !proposed {
		reply(err)
	}
}

// proposeDeletion makes the group dead until the quorum has spoken: who comes meanwhile is told to come again. Under the shard's lock.
func (c *Coordinator) proposeDeletion(e *entry, now time.Time, deleted func(error)) {
	e.g.Kill(now)
	e.persists++
	c.quorum.ProposeAsync(command.DeleteGroup{Group: e.name, Coordinator: e.shard.placed.Epoch}, func(_ any, err error) {
		n := note{e: e, err: outcome(err), deleted: deleted}
		if !c.inbox.Add(n) && deleted != nil { // Run has ended, and whoever waits still wants to know
			deleted(n.err)
		}
	})
}

// Describe shows a group; ErrNotFound if there is none.
func (c *Coordinator) Describe(name string) (d group.Description, err error) {
	if err := checkName(name, true); err != nil {
		return d, err
	}
	err = c.with(name, func(e *entry, _ time.Time, _ *effects) error {
		if !c.exists(e) {
			return group.ErrNotFound
		}
		g, ok := e.g.(classicGroup)
		if !ok {
			return fmt.Errorf("%w: it is a %s group, not a classic one", group.ErrNotFound, e.g.kind())
		}
		d = g.Describe()
		return nil
	})
	return d, err
}

// Listed is one line of ListGroups.
type Listed struct {
	Name, ProtocolType string
	State              string // with Kafka's names
	Type               string // as KIP-848 names them
}

// List shows every group that this broker coordinates: those of the image and those that are only in memory yet.
func (c *Coordinator) List() ([]Listed, error) {
	if err := c.Serving(); err != nil {
		return nil, err
	}
	m := c.quorum.Image()
	inMemory := map[string]bool{}
	var mine [image.CoordinatorShards]bool
	var out []Listed
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		mine[i] = s.mine
		for name, e := range s.groups {
			inMemory[name] = true
			if c.exists(e) {
				out = append(out, Listed{name, e.g.ProtocolType(), e.g.state(), e.g.kind()})
			}
		}
		s.mu.Unlock()
	}
	var failed error
	now := time.Now()
	m.Groups(func(ig *image.Group) bool {
		if !mine[image.CoordinatorShard(ig.Name)] || inMemory[ig.Name] {
			return true
		}
		e := entry{name: ig.Name}
		if failed = c.restore(&e, now); failed != nil {
			return false
		}
		out = append(out, Listed{ig.Name, e.g.ProtocolType(), e.g.state(), e.g.kind()})
		return true
	})
	return out, failed
}
