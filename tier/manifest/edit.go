package manifest

import (
	"errors"

	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrStaleEpoch says that an upload came from a leader that has been replaced.
var ErrStaleEpoch = errors.New("segment was uploaded under an epoch that is not current")

// ErrNotContiguous says that an upload does not begin where the manifest ends.
var ErrNotContiguous = errors.New("segment does not begin where the remote log ends")

// Append adds e at the end. current is the partition's leader epoch. An empty
// manifest takes any base. Appending an entry that is already last is a no-op
// (a retried proposal).
func (m Manifest) Append(e Entry, current kafka.LeaderEpoch) (Manifest, error) {
	panic("skeleton")
}

// TrimBefore removes the entries that lie wholly below start.
func (m Manifest) TrimBefore(start kafka.Offset) (rest Manifest, removed []Entry) { panic("skeleton") }

// Find returns the index of the entry that holds offset; ok is false outside [Start, End).
func (m Manifest) Find(offset kafka.Offset) (i int, ok bool) { panic("skeleton") }

// FindTime returns the first entry whose MaxTimestamp is at least ts.
func (m Manifest) FindTime(ts int64) (i int, ok bool) { panic("skeleton") }

// Len is the number of entries; At returns one; Start and End bound the
// range (both 0 when empty); Bytes is the sum of the objects' sizes.
func (m Manifest) Len() int            { panic("skeleton") }
func (m Manifest) At(i int) Entry      { panic("skeleton") }
func (m Manifest) Start() kafka.Offset { panic("skeleton") }
func (m Manifest) End() kafka.Offset   { panic("skeleton") }
func (m Manifest) Bytes() int64        { panic("skeleton") }
