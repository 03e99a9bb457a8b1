package image

import (
	"github.com/qanat-io/qanat/metadata/command"
)

// spillSegments takes entries out of memory that a page holds: a compare-and-set, for a trim may have been faster.
func (tx *Tx) spillSegments(c command.SpillSegments) *Refusal {
	old, refusal := tx.partition(c.Partition)
	if refusal != nil {
		return refusal
	}
	if c.Epoch != old.LeaderEpoch {
		return refuse(ErrStaleEpoch, "partition %s is at leader epoch %d, the page at %d", c.Partition, old.LeaderEpoch, c.Epoch)
	}
	remote, err := old.Remote.Spill(c.Page)
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
