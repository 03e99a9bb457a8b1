package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrSnapshot says that bytes are not a snapshot that this version reads.
var ErrSnapshot = errors.New("not a producer snapshot")

const (
	version      = 1
	producerSize = 8 + 2 + 8 + 1
	batchSize    = 4 + 4 + 8 + 8 + 8
)

// Encode appends the snapshot: version uint16, count uint32, then by ascending
// id: id int64, epoch int16, last seen int64, batch count uint8 and for each
// batch first and last sequence int32, base and last offset int64, timestamp int64; all
// big-endian. Whoever stores it adds the checksum.
func (s *State) Encode(dst []byte) []byte {
	ids := make([]kafka.ProducerID, 0, len(s.producers))
	for id := range s.producers {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	be := binary.BigEndian
	dst = be.AppendUint16(dst, version)
	dst = be.AppendUint32(dst, uint32(len(ids)))
	for _, id := range ids {
		p := s.producers[id]
		dst = be.AppendUint64(dst, uint64(id))
		dst = be.AppendUint16(dst, uint16(p.Epoch))
		dst = be.AppendUint64(dst, uint64(p.LastSeen))
		dst = append(dst, byte(p.n))
		for _, b := range p.ring[:p.n] {
			dst = be.AppendUint32(dst, uint32(b.FirstSequence))
			dst = be.AppendUint32(dst, uint32(b.LastSequence))
			dst = be.AppendUint64(dst, uint64(b.Base))
			dst = be.AppendUint64(dst, uint64(b.Last))
			dst = be.AppendUint64(dst, uint64(b.TimestampMs))
		}
	}
	return dst
}

// Decode reads what Encode wrote; no bytes at all are an empty state.
func Decode(b []byte) (*State, error) {
	s := New()
	if len(b) == 0 {
		return s, nil
	}
	be := binary.BigEndian
	if len(b) < 6 {
		return nil, fmt.Errorf("%w: %d bytes", ErrSnapshot, len(b))
	}
	if v := be.Uint16(b); v != version {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrSnapshot, v, version)
	}
	count := be.Uint32(b[2:])
	b = b[6:]
	for range count {
		if len(b) < producerSize {
			return nil, fmt.Errorf("%w: cut short", ErrSnapshot)
		}
		p := &Producer{
			ID:       kafka.ProducerID(be.Uint64(b)),
			Epoch:    kafka.ProducerEpoch(be.Uint16(b[8:])),
			LastSeen: int64(be.Uint64(b[10:])),
			n:        int(b[18]),
		}
		b = b[producerSize:]
		if p.n > remembered || len(b) < p.n*batchSize {
			return nil, fmt.Errorf("%w: producer %d has %d batches", ErrSnapshot, p.ID, p.n)
		}
		for i := range p.n {
			p.ring[i] = Batch{
				FirstSequence: int32(be.Uint32(b)),
				LastSequence:  int32(be.Uint32(b[4:])),
				Base:          kafka.Offset(be.Uint64(b[8:])),
				Last:          kafka.Offset(be.Uint64(b[16:])),
				TimestampMs:   int64(be.Uint64(b[24:])),
			}
			b = b[batchSize:]
		}
		s.producers[p.ID] = p
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrSnapshot, len(b))
	}
	return s, nil
}
