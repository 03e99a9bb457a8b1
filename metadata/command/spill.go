package command

import (
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// SpillSegments replaces the oldest entries of a partition's manifest by a page in the bucket that holds exactly them.
type SpillSegments struct {
	Partition kafka.Partition   `cbor:"1,keyasint"`
	Epoch     kafka.LeaderEpoch `cbor:"2,keyasint"` // must be the partition's
	Page      manifest.Page     `cbor:"3,keyasint"`
}

// Kind implements Command.
func (SpillSegments) Kind() Kind { return KindSpillSegments }
