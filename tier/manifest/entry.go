package manifest

import (
	"fmt"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Entry is one remote segment. Its object is named by Key.
type Entry struct {
	Base         kafka.Offset      `cbor:"1,keyasint"`
	Next         kafka.Offset      `cbor:"2,keyasint"`
	Epoch        kafka.LeaderEpoch `cbor:"3,keyasint"` // of the leader that uploaded it
	UUID         [16]byte          `cbor:"4,keyasint"`
	Size         int64             `cbor:"5,keyasint"` // of the whole object, footer included
	DataSize     int64             `cbor:"6,keyasint"` // of the batches at its beginning
	MaxTimestamp int64             `cbor:"7,keyasint"` // milliseconds
	Uploaded     int64             `cbor:"8,keyasint"` // proposer's clock, milliseconds
}

// Key is the object's name: <cluster>/<topic id>/<partition>/<base>-<next>.e<epoch>.<uuid>.
func (e Entry) Key(cluster string, p kafka.Partition) string {
	return fmt.Sprintf("%s%020d-%020d.e%d.%x", Prefix(cluster, p), e.Base, e.Next, e.Epoch, e.UUID)
}

// Prefix is what the names of all of a partition's objects begin with.
func Prefix(cluster string, p kafka.Partition) string {
	return fmt.Sprintf("%s/%s/%d/", cluster, p.Topic, p.Index)
}

// Manifest is an immutable list of entries. The zero value is empty.
type Manifest struct {
	// entries: see the package's invariants. Shared between versions: never written after publication.
	entries []Entry
	bytes   int64
}
