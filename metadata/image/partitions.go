package image

import (
	"fmt"
	"math"
	"slices"

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

// electLeaders checks every election's shape first, so that a command that is
// wrong in itself changes nothing; then starts those whose partition is still
// as they expect.
func (tx *Tx) electLeaders(c command.ElectLeaders) (any, *Refusal) {
	for _, e := range c.Elections {
		if !isSet(e.ISR) || e.Leader != kafka.NoBroker && !slices.Contains(e.ISR, e.Leader) {
			return nil, refuse(ErrInvalid, "leader %d of %s with in-sync replicas %v", e.Leader, e.Partition, e.ISR)
		}
	}
	var left []kafka.Partition
	for _, e := range c.Elections {
		if !tx.elect(e) {
			left = append(left, e.Partition)
		}
	}
	return leftOut(left), nil
}

// elect starts one leadership, if the partition is still as e expects.
func (tx *Tx) elect(e command.Election) bool {
	old, refusal := tx.partition(e.Partition)
	if refusal != nil || old.PartitionEpoch != e.Expected {
		return false
	}
	for _, id := range e.ISR {
		if !slices.Contains(old.Replicas, id) {
			return false
		}
	}
	if old.LeaderEpoch == math.MaxInt32 || old.PartitionEpoch == math.MaxInt32 {
		panic(fmt.Sprintf("image: epochs of partition %s are used up", old.Partition))
	}
	p := *old
	p.Leader = e.Leader
	p.ISR = slices.Clone(e.ISR)
	p.LeaderEpoch++
	p.PartitionEpoch++
	tx.putPartition(&p)
	tx.changes.partitions.add(p.Partition)
	return true
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
