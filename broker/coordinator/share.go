package coordinator

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// ShareConfig are the settings of share groups (KIP-932). A group may have a session timeout and a heartbeat interval of its own, within bounds.
type ShareConfig struct {
	Limits             share.GroupLimits
	Session, Heartbeat Bounded
}

func defaultShareConfig() ShareConfig {
	return ShareConfig{
		Limits:    share.DefaultGroupLimits(),
		Session:   Bounded{45 * time.Second, 45 * time.Second, 60 * time.Second},
		Heartbeat: Bounded{5 * time.Second, 5 * time.Second, 15 * time.Second},
	}
}

// The configurations of a group that are read here, with Kafka's names.
const (
	shareSessionKey   = "share.session.timeout.ms"
	shareHeartbeatKey = "share.heartbeat.interval.ms"
)

// shareWorld is what a group is in.
func (c *Coordinator) shareWorld(m *image.Image, name string) share.World {
	overrides := m.Configs(command.Group, name)
	return share.World{
		Topics: m.TopicSet(), Session: c.cfg.Share.Session.of(overrides, shareSessionKey), Heartbeat: c.cfg.Share.Heartbeat.of(overrides, shareHeartbeatKey),
	}
}

// ShareHeartbeat takes a ShareGroupHeartbeat; reply is called once, perhaps before ShareHeartbeat returns, from any goroutine.
func (c *Coordinator) ShareHeartbeat(name string, h *share.Heartbeat, reply func(share.Reply)) {
	r, done, err := c.shareHeartbeat(name, h, reply)
	if err != nil {
		reply(share.Reply{Err: err, MemberID: h.MemberID, Epoch: h.Epoch})
	} else if done {
		reply(r)
	}
}

func (c *Coordinator) shareHeartbeat(name string, h *share.Heartbeat, reply func(share.Reply)) (r share.Reply, done bool, err error) {
	if err := checkHeartbeat(name, share.ErrInvalidRequest, func() error { return c.cfg.Share.Limits.Check(h) }); err != nil {
		return r, false, err
	}
	var out effects
	err = c.locked(name, func(e *entry, now time.Time) error { // not with: nothing to allocate
		m := c.quorum.Image() // under the lock: a group never sees an older one than before
		if err := m.Level().Knows(command.KindChangeShare); err != nil {
			return err
		}
		w := c.shareWorld(m, name)
		g, err := c.shareFor(e, h.Epoch == share.Joining)
		if err != nil {
			return err
		}
		r, done = g.Heartbeat(now, h, w, reply, &out.share)
		c.settle(e, now, &out)
		return nil
	})
	c.deliver(name, &out)
	return r, done, err
}

// shareFor is the entry's group as a share group. Who creates makes a new one of a name that nobody has; unlike groups of consumers, share groups
// and others never take each other's names.
func (c *Coordinator) shareFor(e *entry, creates bool) (*share.Group, error) {
	if g, ok := e.g.(shareGroup); ok {
		return g.Group, nil
	}
	if !creates || c.exists(e) {
		return nil, fmt.Errorf("%w: there is no share group of that name", group.ErrNotFound)
	}
	if err := c.room(e); err != nil {
		return nil, err
	}
	g := share.NewGroup(&c.cfg.Share.Limits, 0)
	e.g, e.version = shareGroup{g}, 0
	return g, nil
}

// loadShare makes a machine from the parts of a group in an image.
func (c *Coordinator) loadShare(m *image.Image, ig *image.Group, now time.Time) (*share.Group, error) {
	session := c.cfg.Share.Session.of(m.Configs(command.Group, ig.Name), shareSessionKey)
	return share.LoadGroup(&c.cfg.Share.Limits, now, session, func(f func(key string, value []byte) bool) { m.GroupParts(ig.Name, f) })
}

// ShareDescribe shows a share group; ErrNotFound if there is none.
func (c *Coordinator) ShareDescribe(name string) (d share.Description, err error) {
	if err := checkName(name, true); err != nil {
		return d, err
	}
	err = c.with(name, func(e *entry, _ time.Time, _ *effects) error {
		g, ok := e.g.(shareGroup)
		if !ok || !c.exists(e) {
			return fmt.Errorf("%w: there is no share group of that name", group.ErrNotFound)
		}
		d = g.Describe()
		return nil
	})
	return d, err
}

// ResetShares has a share group without members begin anew at offsets, or forget topics; one that is not there begins with that, if it may. reply is
// called once, when that is applied, from any goroutine.
func (c *Coordinator) ResetShares(name string, r command.ResetShares, create bool, reply func(error)) {
	ask := func(again func(share.Reply)) (proposed bool, err error) {
		err = c.with(name, func(e *entry, _ time.Time, out *effects) error {
			g, err := c.shareFor(e, create)
			if err != nil {
				return err
			}
			if !g.Empty() {
				return group.ErrNonEmpty
			}
			done, err := g.Keep(again, &out.share)
			if err != nil || !done {
				proposed = !done
				return err
			}
			r.Group, r.Coordinator = name, e.shard.placed.Epoch
			proposed = true
			c.quorum.ProposeAsync(r, func(_ any, err error) { reply(outcome(err)) })
			return nil
		})
		return proposed, err
	}
	err := checkName(name, false)
	if err == nil {
		err = c.quorum.Image().Level().Knows(command.KindResetShares)
	}
	proposed := false
	if err == nil {
		// The group is made durable first; then nothing is left to wait for.
		proposed, err = ask(func(kept share.Reply) {
			err := kept.Err
			proposed := false
			if err == nil {
				proposed, err = ask(func(share.Reply) { reply(ErrLoading) }) // somebody has joined meanwhile
			}
			if !proposed {
				reply(err)
			}
		})
	}
	if !proposed {
		reply(err)
	}
}
