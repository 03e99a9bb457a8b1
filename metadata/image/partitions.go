package image

import (
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

func (tx *Tx) partition(p kafka.Partition) (*Partition, *Refusal) {
	k := partitionKey(p)
	found, ok := tx.partitions.get(k[:])
	if !ok {
		return nil, refuse(ErrUnknownPartition, "%s", p)
	}
	return found, nil
}

// commitSegment is the C of upload, commit, publish, delete.
func (tx *Tx) commitSegment(c command.CommitSegment) *Refusal {
	old, refusal := tx.partition(c.Partition)
	if refusal != nil {
		return refusal
	}
	if c.Entry.Next <= old.LogStart {
		// Retention was faster. The empty manifest that it left would take the
		// segment, which no later trim need ever remove.
		return refuse(manifest.ErrNotContiguous, "segment [%d, %d) lies below the log's start %d", c.Entry.Base, c.Entry.Next, old.LogStart)
	}
	remote, err := old.Remote.Append(c.Entry, old.LeaderEpoch)
	if err != nil {
		return asRefusal(err)
	}
	if remote.Len() == old.Remote.Len() {
		return nil // it was there already
	}
	p := *old
	p.Remote = remote
	tx.putPartition(&p)
	tx.changes.partitions.add(p.Partition)
	return nil
}

func (tx *Tx) trimLog(c command.TrimLog) (any, *Refusal) {
	old, refusal := tx.partition(c.Partition)
	if refusal != nil {
		return nil, refusal
	}
	if c.Epoch != old.LeaderEpoch {
		return nil, refuse(ErrStaleEpoch, "partition %s is at leader epoch %d, the trim at %d", c.Partition, old.LeaderEpoch, c.Epoch)
	}
	if c.Start <= old.LogStart {
		return old.LogStart, nil
	}
	p := *old
	p.LogStart = c.Start
	p.Remote, _ = old.Remote.TrimBefore(c.Start)
	tx.putPartition(&p)
	tx.changes.partitions.add(p.Partition)
	return p.LogStart, nil
}
