package batch

import (
	"encoding/binary"
	"fmt"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Marker ends a producer's transaction in a partition: a control batch of one record. Source: KIP-98.
//
//	key    version int16 (0), type int16: 0 abort, 1 commit
//	value  version int16 (0), coordinator epoch int32
type Marker struct {
	Commit      bool
	Coordinator kafka.CoordinatorEpoch // of whoever decided
}

const (
	markerAbort  = 0
	markerCommit = 1

	markerKeyLen   = 4
	markerValueLen = 6
)

// Build returns the marker's batch for a producer. It has no offset yet.
func (m Marker) Build(id kafka.ProducerID, epoch kafka.ProducerEpoch, timestampMs int64) (View, error) {
	kind := uint16(markerAbort)
	if m.Commit {
		kind = markerCommit
	}
	be := binary.BigEndian
	key := be.AppendUint16(make([]byte, 2, markerKeyLen), kind)
	value := be.AppendUint32(make([]byte, 2, markerValueLen), uint32(m.Coordinator))
	b := Builder{Transactional: true, Control: true, Idempotent: true, ProducerID: id, ProducerEpoch: epoch, BaseSequence: -1}
	b.Add(timestampMs, key, value)
	return b.Build()
}

// Marker reads the marker of a control batch, which must be whole; ok is false for control batches of another kind.
func (v View) Marker() (m Marker, ok bool, err error) {
	err = fmt.Errorf("%w: control batch without a record", ErrInvalid)
	it := Records(v)
	it.All(func(r Record) bool {
		err = nil
		if len(r.Key) < markerKeyLen || len(r.Value) < markerValueLen {
			err = fmt.Errorf("%w: control record with a key of %d bytes and a value of %d", ErrInvalid, len(r.Key), len(r.Value))
			return false
		}
		kind := binary.BigEndian.Uint16(r.Key[2:])
		ok = kind == markerAbort || kind == markerCommit
		m = Marker{Commit: kind == markerCommit, Coordinator: kafka.CoordinatorEpoch(binary.BigEndian.Uint32(r.Value[2:]))}
		return false
	})
	if it.Err() != nil {
		err = it.Err()
	}
	return m, ok && err == nil, err
}
