package coordinator

import (
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Within says of which transaction offsets are.
type Within struct {
	ID       string
	Producer kafka.ProducerID
	Epoch    kafka.ProducerEpoch
}

// CommitWithin stores offsets under a transaction, which has enlisted the group; they become the group's when it is committed.
// Otherwise as Commit.
func (c *Coordinator) CommitWithin(name string, who group.Identity, in Within, offsets []command.OffsetCommit, reply func(gone []kafka.Partition, err error)) {
	if err := checkName(name, true); err != nil {
		reply(nil, err)
		return
	}
	p := &pendingCommit{c: c, reply: reply}
	p.left.Store(1)
	err := c.with(name, func(e *entry, now time.Time, _ *effects) error {
		if who.Generation >= 0 && !c.exists(e) {
			return group.ErrIllegalGeneration
		}
		if c.inFlight.Load() >= int64(c.cfg.MaxInFlight) {
			return ErrLoading
		}
		if err := c.room(e); err != nil {
			return err
		}
		if err := e.g.CommitWithin(now, who); err != nil {
			return err
		}
		p.e = e
		for rest := offsets; len(rest) > 0; {
			n := chunk(rest)
			p.left.Add(1)
			e.commits.Add(1)
			c.inFlight.Add(1)
			c.quorum.ProposeAsync(command.CommitTxnOffsets{
				Group: name, ID: in.ID, Producer: in.Producer, Epoch: in.Epoch, Offsets: rest[:n:n], Coordinator: e.shard.placed.Epoch,
			}, p.applied)
			rest = rest[n:]
		}
		return nil
	})
	if err != nil {
		reply(nil, err)
		return
	}
	p.done()
}
