package coordinator

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// chunkBytes bounds one command of offsets. A commit of more is several commands: each is applied whole.
const chunkBytes = 128 << 10

// Commit stores offsets, if the group's state allows it. reply is called once, when they are applied: with the
// partitions that no longer exist, or with the error that befell all of them. It may be called before Commit returns,
// from any goroutine, and must not block. offsets is kept.
func (c *Coordinator) Commit(name string, who group.Identity, offsets []command.OffsetCommit, reply func(gone []kafka.Partition, err error)) {
	c.commit(name, who, nil, offsets, reply)
}

// commit is Commit, or CommitWithin a transaction.
func (c *Coordinator) commit(name string, who group.Identity, in *Within, offsets []command.OffsetCommit, reply func(gone []kafka.Partition, err error)) {
	if err := checkName(name, true); err != nil {
		reply(nil, err)
		return
	}
	who.Offsets = offsets
	// One share of pending is ours until the lock is released: a callback that comes at once must not reply under it.
	p := &pendingCommit{c: c, within: in, reply: reply}
	p.left.Store(1)
	err := c.with(name, func(e *entry, now time.Time, _ *effects) error {
		if who.Generation >= 0 && !c.exists(e) {
			return in.ofNoGroup()
		}
		if c.inFlight.Load() >= int64(c.cfg.MaxInFlight) {
			return ErrLoading
		}
		if err := c.room(e); err != nil {
			return err
		}
		if err := in.admit(e.g, now, who); err != nil {
			return err
		}
		p.e = e
		p.propose(name, offsets)
		return nil
	})
	if err != nil {
		reply(nil, err)
		return
	}
	p.done()
}

// pendingCommit gathers the outcomes of a commit's commands.
type pendingCommit struct {
	c      *Coordinator
	e      *entry
	within *Within // nil: of no transaction
	reply  func([]kafka.Partition, error)
	left   atomic.Int32
	failed atomic.Pointer[error]
	gone   atomic.Pointer[[]kafka.Partition]
}

// propose is called under the shard's lock, like deletePartitions.
func (p *pendingCommit) propose(name string, offsets []command.OffsetCommit) {
	for len(offsets) > 0 {
		n := chunk(offsets)
		p.left.Add(1)
		p.e.commits.Add(1)
		p.c.inFlight.Add(1)
		applied := p.applied
		if bugCommit {
			applied(nil, nil)
			applied = func(any, error) {}
		}
		p.c.quorum.ProposeAsync(p.command(name, offsets[:n:n]), applied)
		offsets = offsets[n:]
	}
}

func (p *pendingCommit) command(name string, offsets []command.OffsetCommit) command.Command {
	epoch := p.e.shard.placed.Epoch
	if in := p.within; in != nil {
		return command.CommitTxnOffsets{Group: name, ID: in.ID, Producer: in.Producer, Epoch: in.Epoch, Offsets: offsets, Coordinator: epoch}
	}
	return command.CommitOffsets{Group: name, Offsets: offsets, Coordinator: epoch}
}

// chunk is how many of the offsets go into the next command; at least one.
func chunk(offsets []command.OffsetCommit) int {
	size := 0
	for i := range offsets {
		size += 64 + len(offsets[i].Metadata)
		if size > chunkBytes && i > 0 {
			return i
		}
	}
	return len(offsets)
}

// applied is the quorum's callback; outcomes come in order, one at a time or not.
func (p *pendingCommit) applied(result any, err error) {
	if err = outcome(err); err != nil {
		p.failed.CompareAndSwap(nil, &err)
	} else if gone, _ := result.([]kafka.Partition); len(gone) > 0 {
		for {
			old := p.gone.Load()
			all := gone
			if old != nil {
				all = append(append([]kafka.Partition{}, *old...), gone...)
			}
			if p.gone.CompareAndSwap(old, &all) {
				break
			}
		}
	}
	p.e.commits.Add(-1)
	p.c.inFlight.Add(-1)
	p.done()
}

func (p *pendingCommit) done() {
	if p.left.Add(-1) > 0 {
		return
	}
	if err := p.failed.Load(); err != nil {
		p.reply(nil, *err)
		return
	}
	if gone := p.gone.Load(); gone != nil {
		p.reply(*gone, nil)
		return
	}
	p.reply(nil, nil)
}

// TopicOffsets names a topic's partitions, whose offsets are to be deleted.
type TopicOffsets struct {
	Name       string
	Partitions []kafka.Partition
}

// DeleteOffsets forgets a group's offsets (KIP-496): of topics that it does not subscribe to, or of any if it is
// empty. reply is called once with an error or nil for each topic, or one for all; as in Commit.
func (c *Coordinator) DeleteOffsets(name string, topics []TopicOffsets, reply func(each []error, err error)) {
	if err := checkName(name, false); err != nil {
		reply(nil, err)
		return
	}
	each := make([]error, len(topics))
	p := &pendingCommit{c: c, reply: func(_ []kafka.Partition, err error) {
		if err != nil && !errors.Is(err, image.ErrUnknownGroup) { // gone meanwhile, and its offsets with it
			reply(nil, err)
			return
		}
		reply(each, nil)
	}}
	p.left.Store(1)
	err := c.with(name, func(e *entry, _ time.Time, _ *effects) error {
		if !c.exists(e) {
			return group.ErrNotFound
		}
		if err := e.g.CheckOffsetDelete(); err != nil {
			return err
		}
		p.e = e
		for i, t := range topics {
			if e.g.Subscribed(t.Name) {
				each[i] = group.ErrSubscribed
				continue
			}
			if len(t.Partitions) > 0 {
				p.deletePartitions(name, t.Partitions)
			}
		}
		return nil
	})
	if err != nil {
		reply(nil, err)
		return
	}
	p.done()
}

func (p *pendingCommit) deletePartitions(name string, ps []kafka.Partition) {
	p.left.Add(1)
	p.e.commits.Add(1)
	p.c.inFlight.Add(1)
	p.c.quorum.ProposeAsync(command.DeleteOffsets{Group: name, Partitions: ps, Coordinator: p.e.shard.placed.Epoch}, p.applied)
}
