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
	c.commit(name, who, &in, offsets, reply)
}

// admit has the group's machine decide; nil stands for no transaction.
func (in *Within) admit(g machine, now time.Time, who group.Identity) error {
	if in == nil {
		return g.Commit(now, who)
	}
	return g.CommitWithin(now, who)
}

// ofNoGroup is what a member of a group that does not exist is told.
func (in *Within) ofNoGroup() error {
	if in == nil {
		return group.ErrNotFound
	}
	return group.ErrIllegalGeneration
}
