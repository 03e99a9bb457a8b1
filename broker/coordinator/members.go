package coordinator

import (
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
		err = c.with(name, func(e *entry, now time.Time, out *group.Effects) error {
			if err := c.room(e); err != nil {
				return err
			}
			e.g.Join(now, r, reply, out)
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
		err = c.with(name, func(e *entry, now time.Time, out *group.Effects) error {
			e.g.Sync(now, r, reply, out)
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
	return c.locked(name, func(e *entry, now time.Time) error { // no effects: nothing to allocate
		err := e.g.Heartbeat(now, who)
		c.settle(e, now, nil)
		return err
	})
}

// Leave removes members: one error or nil for each, or one for all.
func (c *Coordinator) Leave(name string, who []group.Leaver) (each []error, err error) {
	if err := checkName(name, false); err != nil {
		return nil, err
	}
	err = c.with(name, func(e *entry, now time.Time, out *group.Effects) error {
		each = e.g.Leave(now, who, out)
		return nil
	})
	return each, err
}
