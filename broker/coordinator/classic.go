package coordinator

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/qanat-io/qanat/broker/group"
)

// Join takes a JoinGroup; reply is called once, perhaps before Join returns, from any goroutine.
func (c *Coordinator) Join(name string, r group.JoinRequest, reply func(group.JoinResult)) {
	err := checkName(name, false)
	if err == nil {
		if r.MemberID == "" {
			r.NewMemberID = newMemberID(r.InstanceID, r.ClientID)
		}
		err = c.with(name, func(e *entry, now time.Time, out *effects) error {
			if err := c.room(e); err != nil {
				return err
			}
			if g, ok := e.g.(consumerGroup); ok && !g.Empty() {
				if err := c.cfg.Limits.Check(&r); err != nil {
					return err
				}
				g.Join(now, &r, c.world(c.quorum.Image(), name), reply, &out.consumer)
				return nil
			}
			g, err := c.classicFor(e, now)
			if err != nil {
				return err
			}
			g.Join(now, r, reply, &out.classic)
			return nil
		})
	}
	if err != nil {
		reply(group.JoinResult{Err: err, MemberID: r.MemberID, Generation: -1})
	}
}

// newMemberID is Kafka's form, which tools show: who, then a random part.
func newMemberID(instance, client string) string {
	who := instance
	if who == "" {
		who = client[:min(len(client), 249)]
	}
	return who + "-" + uuid.NewString()
}

// Sync takes a SyncGroup; reply as in Join.
func (c *Coordinator) Sync(name string, r group.SyncRequest, reply func(group.SyncResult)) {
	err := checkName(name, false)
	if err == nil {
		err = c.with(name, func(e *entry, now time.Time, out *effects) error {
			switch g := e.g.(type) {
			case classicGroup:
				g.Sync(now, r, reply, &out.classic)
			case consumerGroup:
				out.consumer.Syncs = append(out.consumer.Syncs, group.SyncReply{Ticket: reply, SyncResult: g.Sync(now, &r)})
			default: // it has no members of the classic protocol
				return group.ErrUnknownMember
			}
			return nil
		})
	}
	if err != nil {
		reply(group.SyncResult{Err: err})
	}
}

// Heartbeat keeps a member's session. While groups are loading it is answered blindly, as Kafka does: sessions begin anew then.
func (c *Coordinator) Heartbeat(name string, who group.Identity) error {
	if err := checkName(name, false); err != nil {
		return err
	}
	if err := c.Serving(); err == ErrLoading {
		return nil
	}
	var out effects
	err := c.locked(name, func(e *entry, now time.Time) (err error) { // not with: nothing to allocate
		switch g := e.g.(type) {
		case classicGroup:
			err = g.Heartbeat(now, who)
		case consumerGroup:
			err = g.ClassicHeartbeat(now, who, c.world(c.quorum.Image(), name), &out.consumer)
		default:
			err = group.ErrUnknownMember
		}
		c.settle(e, now, &out)
		return err
	})
	c.deliver(name, &out)
	return err
}

// Leave removes members: one error or nil for each, or one for all.
func (c *Coordinator) Leave(name string, who []group.Leaver) (each []error, err error) {
	if err := checkName(name, false); err != nil {
		return nil, err
	}
	err = c.with(name, func(e *entry, now time.Time, out *effects) error {
		switch g := e.g.(type) {
		case classicGroup:
			each = g.Leave(now, who, &out.classic)
		case consumerGroup:
			each = g.Leave(now, who, &out.consumer)
		default:
			each = slices.Repeat([]error{group.ErrUnknownMember}, len(who))
		}
		return nil
	})
	return each, err
}

// classicFor is the entry's group as one of the classic protocol, for who joins: a group of another one that nobody is in any more gives way.
func (c *Coordinator) classicFor(e *entry, now time.Time) (*group.Group, error) {
	var generation int32
	switch g := e.g.(type) {
	case classicGroup:
		return g.Group, nil
	case consumerGroup:
		generation = g.Epoch()
	case streamsGroup:
		generation = g.Epoch()
	}
	if !e.g.Empty() {
		return nil, fmt.Errorf("%w: it is a %s group", group.ErrInconsistentProtocol, e.g.kind())
	}
	if !e.g.Idle() { // who has left waits for the answer
		return nil, ErrLoading
	}
	g := group.After(&c.cfg.Limits, now, generation)
	e.g, e.version = classicGroup{g}, 0
	return g, nil
}
