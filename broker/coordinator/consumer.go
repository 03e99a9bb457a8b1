package coordinator

import (
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// ConsumerConfig are the settings of groups of the consumer protocol. A group may have a session timeout and a heartbeat interval of its own,
// within bounds.
type ConsumerConfig struct {
	Limits             consumer.Limits
	Session, Heartbeat Bounded

	// Upgrade and Downgrade let groups with members go from the classic protocol to this one and back (group.consumer.migration.policy).
	Upgrade, Downgrade bool
}

// Bounded is a duration that groups may set within bounds.
type Bounded struct{ Default, Min, Max time.Duration }

func defaultConsumerConfig() ConsumerConfig {
	return ConsumerConfig{
		Limits:    consumer.DefaultLimits(),
		Session:   Bounded{45 * time.Second, 45 * time.Second, 60 * time.Second},
		Heartbeat: Bounded{5 * time.Second, 5 * time.Second, 15 * time.Second},
		Upgrade:   true,
		Downgrade: true,
	}
}

// The configurations of a group that are read here, with Kafka's names.
const (
	sessionKey   = "consumer.session.timeout.ms"
	heartbeatKey = "consumer.heartbeat.interval.ms"
)

// of is what a group has set, forced into the bounds that the broker has now.
func (b Bounded) of(overrides map[string]string, key string) time.Duration {
	d := b.Default
	if s, ok := overrides[key]; ok {
		if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
			d = time.Duration(ms) * time.Millisecond
		}
	}
	return min(max(d, b.Min), b.Max)
}

// world is what a group is in.
func (c *Coordinator) world(m *image.Image, name string) consumer.World {
	overrides := m.Configs(command.Group, name)
	return consumer.World{
		Topics: m.TopicSet(), Session: c.cfg.Consumer.Session.of(overrides, sessionKey), Heartbeat: c.cfg.Consumer.Heartbeat.of(overrides, heartbeatKey),
	}
}

// ConsumerHeartbeat takes a ConsumerGroupHeartbeat; reply is called once, perhaps before ConsumerHeartbeat returns, from any goroutine.
func (c *Coordinator) ConsumerHeartbeat(name string, h *consumer.Heartbeat, reply func(consumer.Reply)) {
	r, done, err := c.consumerHeartbeat(name, h, reply)
	if err != nil {
		reply(consumer.Reply{Err: err, MemberID: h.MemberID, Epoch: h.Epoch})
	} else if done {
		reply(r)
	}
}

func (c *Coordinator) consumerHeartbeat(name string, h *consumer.Heartbeat, reply func(consumer.Reply)) (r consumer.Reply, done bool, err error) {
	if err := checkHeartbeat(name, consumer.ErrInvalidRequest, func() error { return c.cfg.Consumer.Limits.Check(h) }); err != nil {
		return r, false, err
	}
	if h.Epoch == consumer.Joining && h.MemberID == "" {
		h.NewMemberID = uuid.NewString()
	}
	var out effects
	err = c.locked(name, func(e *entry, now time.Time) error { // not with: nothing to allocate
		m := c.quorum.Image() // under the lock: a group never sees an older one than before
		if err := m.Level().Knows(command.KindChangeGroup); err != nil {
			return err
		}
		w := c.world(m, name)
		g, err := c.consumerFor(e, now, h, w, &out)
		if err != nil {
			return err
		}
		r, done = g.Heartbeat(now, h, w, reply, &out.consumer)
		c.settle(e, now, &out)
		return nil
	})
	c.deliver(name, &out)
	return r, done, err
}

// consumerFor is the entry's group as one of the consumer protocol. Who joins makes a new one, and one of a group of another protocol that nobody is
// in any more; a classic group with members takes them along, if it may.
func (c *Coordinator) consumerFor(e *entry, now time.Time, h *consumer.Heartbeat, w consumer.World, out *effects) (*consumer.Group, error) {
	if g, ok := e.g.(consumerGroup); ok {
		return g.Group, c.roomFor(e, h)
	}
	switch old := e.g.(type) {
	case classicGroup:
		if h.Epoch != consumer.Joining && !c.exists(e) {
			return nil, group.ErrNotFound
		}
		if h.Epoch != consumer.Joining {
			return nil, fmt.Errorf("%w: it is a %s group", group.ErrNotFound, e.g.kind())
		}
		if err := c.roomFor(e, h); err != nil {
			return nil, err
		}
		if !old.Empty() {
			return c.upgrade(e, old.Group, now, h, w, out)
		}
		g := consumer.New(&c.cfg.Consumer.Limits, now, old.Generation())
		e.g, e.version = consumerGroup{g}, 0
		return g, nil
	}
	return nil, fmt.Errorf("%w: it is a %s group", group.ErrNotFound, e.g.kind())
}

func (c *Coordinator) roomFor(e *entry, h *consumer.Heartbeat) error {
	if h.Epoch != consumer.Joining {
		return nil
	}
	return c.room(e)
}

// loadConsumer makes a machine from the parts of a group in an image.
func (c *Coordinator) loadConsumer(m *image.Image, ig *image.Group, now time.Time) (*consumer.Group, error) {
	session := c.cfg.Consumer.Session.of(m.Configs(command.Group, ig.Name), sessionKey)
	return consumer.Load(&c.cfg.Consumer.Limits, now, session, func(f func(key string, value []byte) bool) { m.GroupParts(ig.Name, f) })
}

// ConsumerDescribe shows a group of the consumer protocol; ErrNotFound if there is none.
func (c *Coordinator) ConsumerDescribe(name string) (d consumer.Description, err error) {
	if err := checkName(name, true); err != nil {
		return d, err
	}
	err = c.with(name, func(e *entry, _ time.Time, _ *effects) error {
		if !c.exists(e) {
			return group.ErrNotFound
		}
		g, ok := e.g.(consumerGroup)
		if !ok {
			return fmt.Errorf("%w: it is a %s group, not one of the consumer protocol", group.ErrNotFound, e.g.kind())
		}
		d = g.Describe()
		return nil
	})
	return d, err
}

// MayFetch decides whether a member of a group may be told its offsets. Only members of the consumer protocol
// and of streams groups are asked for their epoch.
func (c *Coordinator) MayFetch(name, member string, epoch int32) error {
	if member == "" && epoch < 0 {
		return c.Serves(name)
	}
	if err := c.Serving(); err != nil {
		return err
	}
	return c.locked(name, func(e *entry, _ time.Time) error {
		switch g := e.g.(type) {
		case consumerGroup:
			return g.CheckFetch(member, epoch)
		case streamsGroup:
			return g.CheckFetch(member, epoch)
		}
		return nil
	})
}
