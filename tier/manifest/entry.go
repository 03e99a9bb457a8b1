package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

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

// Time is when retention takes the entry's latest record to be from, in milliseconds: when it was uploaded, if its records carry no
// time (KIP-32: -1).
func (e Entry) Time() int64 {
	if e.MaxTimestamp >= 0 {
		return e.MaxTimestamp
	}
	return e.Uploaded
}

// ErrInvalid says that an entry cannot be one: an empty or negative range, or
// sizes that contradict each other.
var ErrInvalid = errors.New("invalid manifest entry")

// Validate checks what must hold of an entry by itself; its error wraps ErrInvalid.
func (e Entry) Validate() error {
	switch {
	case e.Base < 0 || e.Next <= e.Base:
		return fmt.Errorf("%w: range [%d, %d)", ErrInvalid, e.Base, e.Next)
	case e.Epoch < 0:
		return fmt.Errorf("%w: epoch %d", ErrInvalid, e.Epoch)
	case e.DataSize <= 0 || e.Size < e.DataSize:
		return fmt.Errorf("%w: %d bytes of data in an object of %d", ErrInvalid, e.DataSize, e.Size)
	}
	return nil
}

// Names tells whether e and o name the same object.
func (e Entry) Names(o Entry) bool {
	return e.Base == o.Base && e.Next == o.Next && e.Epoch == o.Epoch && e.UUID == o.UUID
}

// Key is the object's name: <cluster>/<topic id>/<partition>/<base>-<next>.e<epoch>.<uuid>.
func (e Entry) Key(cluster string, p kafka.Partition) string {
	return fmt.Sprintf("%s%020d-%020d.e%d.%x", Prefix(cluster, p), e.Base, e.Next, e.Epoch, e.UUID)
}

// Prefix is what the names of all of a partition's objects begin with.
func Prefix(cluster string, p kafka.Partition) string {
	return fmt.Sprintf("%s/%s/%d/", cluster, p.Topic, p.Index)
}

// ParseKey reads what Key made: the partition, and an entry of which only the
// fields in the name are set. It is an error when the key is not a segment's
// or not this cluster's; only the exact spelling of Key is taken, so that
// nothing foreign in a bucket is ever mistaken for a segment.
func ParseKey(cluster, key string) (kafka.Partition, Entry, error) {
	n, ok := parseName(cluster, key)
	epoch, err := strconv.ParseInt(strings.TrimPrefix(n.kind, "e"), 10, 32)
	e := Entry{Base: n.base, Next: n.next, Epoch: kafka.LeaderEpoch(epoch), UUID: n.uuid}
	if !ok || err != nil || e.Key(cluster, n.partition) != key {
		return kafka.Partition{}, Entry{}, fmt.Errorf("object key %q does not name a segment of cluster %q", key, cluster)
	}
	return n.partition, e, nil
}

// objectName is what the names of segments and of pages have in common:
// <cluster>/<topic id>/<partition>/<base>-<next>.<kind>.<uuid>.
type objectName struct {
	partition  kafka.Partition
	base, next kafka.Offset
	kind       string
	uuid       [16]byte
}

// parseName takes a name apart. It takes more than is ever written: the caller compares the key that it makes of the parts.
func parseName(cluster, key string) (n objectName, ok bool) {
	rest, ours := strings.CutPrefix(key, cluster+"/")
	parts := strings.Split(rest, "/")
	if !ours || len(parts) != 3 {
		return n, false
	}
	fields := strings.Split(parts[2], ".")
	if len(fields) != 3 {
		return n, false
	}
	topic, err1 := kafka.ParseTopicID(parts[0])
	index, err2 := strconv.ParseInt(parts[1], 10, 32)
	from, to, _ := strings.Cut(fields[0], "-")
	base, err3 := strconv.ParseInt(from, 10, 64)
	next, err4 := strconv.ParseInt(to, 10, 64)
	uuid, err5 := hex.DecodeString(fields[2])
	if errors.Join(err1, err2, err3, err4, err5) != nil || len(uuid) != len(n.uuid) {
		return n, false
	}
	return objectName{
		partition: kafka.Partition{Topic: topic, Index: int32(index)}, base: kafka.Offset(base), next: kafka.Offset(next), kind: fields[1], uuid: [16]byte(uuid),
	}, true
}
