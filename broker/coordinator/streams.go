package coordinator

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/streams"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// StreamsConfig are the settings of streams groups (KIP-1071). A group may have its own within bounds.
type StreamsConfig struct {
	Limits                       streams.Limits
	Session, Heartbeat, Interval Bounded
	Delay                        time.Duration
	Standbys, MaxStandbys        int
}

func defaultStreamsConfig() StreamsConfig {
	return StreamsConfig{
		Limits:      streams.DefaultLimits(),
		Session:     Bounded{45 * time.Second, 45 * time.Second, 60 * time.Second},
		Heartbeat:   Bounded{5 * time.Second, 5 * time.Second, 15 * time.Second},
		Interval:    Bounded{time.Second, 0, 15 * time.Second},
		Delay:       3 * time.Second,
		MaxStandbys: 2,
	}
}

// The configurations of a group that are read here, with Kafka's names.
const (
	streamsSessionKey   = "streams.session.timeout.ms"
	streamsHeartbeatKey = "streams.heartbeat.interval.ms"
	streamsIntervalKey  = "streams.assignment.interval.ms"
	streamsDelayKey     = "streams.initial.rebalance.delay.ms"
	streamsStandbysKey  = "streams.num.standby.replicas"
)

// streamsWorld is what a group is in.
func (c *Coordinator) streamsWorld(m *image.Image, name string) streams.World {
	cfg, overrides := &c.cfg.Streams, m.Configs(command.Group, name)
	w := streams.World{
		Topics: m.TopicSet(), Session: cfg.Session.of(overrides, streamsSessionKey), Heartbeat: cfg.Heartbeat.of(overrides, streamsHeartbeatKey),
		Delay: Bounded{cfg.Delay, 0, math.MaxInt64}.of(overrides, streamsDelayKey), Interval: cfg.Interval.of(overrides, streamsIntervalKey), Standbys: cfg.Standbys,
	}
	if s, ok := overrides[streamsStandbysKey]; ok {
		if n, err := strconv.Atoi(s); err == nil {
			w.Standbys = n
		}
	}
	w.Standbys = min(max(w.Standbys, 0), cfg.MaxStandbys)
	return w
}

// StreamsHeartbeat takes a StreamsGroupHeartbeat; reply is called once, perhaps before StreamsHeartbeat returns, from any goroutine.
func (c *Coordinator) StreamsHeartbeat(name string, h *streams.Heartbeat, reply func(streams.Reply)) {
	r, done, err := c.streamsHeartbeat(name, h, reply)
	if err != nil {
		reply(streams.Reply{Err: err, MemberID: h.MemberID, Epoch: h.Epoch})
	} else if done {
		reply(r)
	}
}

func (c *Coordinator) streamsHeartbeat(name string, h *streams.Heartbeat, reply func(streams.Reply)) (r streams.Reply, done bool, err error) {
	if err := checkHeartbeat(name, streams.ErrInvalidRequest, func() error { return c.cfg.Streams.Limits.Check(h) }); err != nil {
		return r, false, err
	}
	var out effects
	err = c.locked(name, func(e *entry, now time.Time) error { // not with: nothing to allocate
		m := c.quorum.Image() // under the lock: a group never sees an older one than before
		if err := m.Level().Streams(); err != nil {
			return err
		}
		w := c.streamsWorld(m, name)
		before, version := e.g, e.version
		g, err := c.streamsFor(e, now, h)
		if err != nil {
			return err
		}
		if r, done = g.Heartbeat(now, h, &w, reply, &out.streams); done && r.Err != nil && !g.Exists() { // nobody came: the group does not give way
			e.g, e.version = before, version
		}
		c.settle(e, now, &out)
		return nil
	})
	c.deliver(name, &out)
	return r, done, err
}

// streamsFor is the entry's group as a streams group. Who joins makes a new one, of a name that nobody has, or of a classic group that nobody is in
// any more: so an application goes from one protocol to the other, and back (classicFor), with its offsets.
func (c *Coordinator) streamsFor(e *entry, now time.Time, h *streams.Heartbeat) (*streams.Group, error) {
	joins := h.Epoch == streams.Joining
	switch old := e.g.(type) {
	case streamsGroup:
		if joins {
			return old.Group, c.room(e)
		}
		return old.Group, nil
	case classicGroup:
		if !joins || !old.Empty() {
			break
		}
		if err := c.cfg.Streams.Limits.Check(h); err != nil { // before a group that is there gives way
			return nil, err
		}
		if err := c.room(e); err != nil {
			return nil, err
		}
		g := streams.New(&c.cfg.Streams.Limits, now, old.Generation())
		e.g, e.version = streamsGroup{g}, 0
		return g, nil
	}
	return nil, fmt.Errorf("%w: there is no streams group of that name", group.ErrNotFound)
}

// loadStreams makes a machine from the parts of a group in an image.
func (c *Coordinator) loadStreams(m *image.Image, ig *image.Group, now time.Time) (*streams.Group, error) {
	session := c.cfg.Streams.Session.of(m.Configs(command.Group, ig.Name), streamsSessionKey)
	return streams.Load(&c.cfg.Streams.Limits, now, session, func(f func(key string, value []byte) bool) { m.GroupParts(ig.Name, f) })
}

// StreamsDescribe shows a streams group; ErrNotFound if there is none.
func (c *Coordinator) StreamsDescribe(name string) (d streams.Description, err error) {
	if err := checkName(name, true); err != nil {
		return d, err
	}
	err = c.with(name, func(e *entry, _ time.Time, _ *effects) error {
		g, ok := e.g.(streamsGroup)
		if !ok || !c.exists(e) {
			return fmt.Errorf("%w: there is no streams group of that name", group.ErrNotFound)
		}
		w := c.streamsWorld(c.quorum.Image(), name)
		d = g.Describe(&w)
		return nil
	})
	return d, err
}
