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
	// version is what is written; withoutTxns is read, too.
	version     = 2
	withoutTxns = 1

	producerSize = 8 + 2 + 8 + 1
	txnSize      = 8 + 4 // since version 2, behind a producer's batch count
	batchSize    = 4 + 4 + 8 + 8 + 8
	abortedSize  = 4 * 8
)

// Snapshot is Encode as of an offset, the log's end. The next one will not repeat what was aborted before it.
func (s *State) Snapshot(at kafka.Offset) []byte {
	b := s.Encode(nil)
	s.since = at
	return b
}

// Encode appends the snapshot: version uint16, count uint32, then by ascending
// id: id int64, epoch int16, last seen int64, batch count uint8, the open transaction's first offset int64, coordinator epoch int32, and for each
// batch first and last sequence int32, base and last offset int64, timestamp int64. Then what was aborted since the snapshot
// before: whether earlier ones have more uint8, the offset of that one int64, count uint32, and for each producer id, first
// offset, marker's offset and last stable offset int64. All big-endian. Whoever stores it adds the checksum.
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
		dst = be.AppendUint64(dst, uint64(p.TxnFirst))
		dst = be.AppendUint32(dst, uint32(p.Coordinator))
		for _, b := range p.ring[:p.n] {
			dst = be.AppendUint32(dst, uint32(b.FirstSequence))
			dst = be.AppendUint32(dst, uint32(b.LastSequence))
			dst = be.AppendUint64(dst, uint64(b.Base))
			dst = be.AppendUint64(dst, uint64(b.Last))
			dst = be.AppendUint64(dst, uint64(b.TimestampMs))
		}
	}
	return s.encodeAborted(dst)
}

func (s *State) encodeAborted(dst []byte) []byte {
	be := binary.BigEndian
	list := s.aborted[EndingFrom(s.aborted, s.since):]
	earlier := byte(0)
	if s.earlier || len(list) < len(s.aborted) {
		earlier = 1
	}
	dst = append(dst, earlier)
	dst = be.AppendUint64(dst, uint64(s.since))
	dst = be.AppendUint32(dst, uint32(len(list)))
	for _, a := range list {
		dst = be.AppendUint64(dst, uint64(a.Producer))
		dst = be.AppendUint64(dst, uint64(a.First))
		dst = be.AppendUint64(dst, uint64(a.Last))
		dst = be.AppendUint64(dst, uint64(a.LastStable))
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
	v := be.Uint16(b)
	if v != version && v != withoutTxns {
		return nil, fmt.Errorf("%w: version %d, this program reads up to %d", ErrSnapshot, v, version)
	}
	count := be.Uint32(b[2:])
	b = b[6:]
	for range count {
		p, rest, err := decodeProducer(b, v != withoutTxns)
		if err != nil {
			return nil, err
		}
		if p.TxnFirst != NoTxn {
			s.open = append(s.open, p)
		}
		s.producers[p.ID], b = p, rest
	}
	sort.SliceStable(s.open, func(i, j int) bool { return s.open[i].TxnFirst < s.open[j].TxnFirst })
	if v != withoutTxns {
		var err error
		if b, err = s.decodeAborted(b); err != nil {
			return nil, err
		}
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrSnapshot, len(b))
	}
	return s, nil
}

// decodeProducer reads one producer, and returns what is behind it.
func decodeProducer(b []byte, txns bool) (*Producer, []byte, error) {
	be := binary.BigEndian
	if len(b) < producerSize {
		return nil, nil, fmt.Errorf("%w: cut short", ErrSnapshot)
	}
	p := newProducer(kafka.ProducerID(be.Uint64(b)), kafka.ProducerEpoch(be.Uint16(b[8:])))
	p.LastSeen, p.n = int64(be.Uint64(b[10:])), int(b[18])
	b = b[producerSize:]
	if txns {
		if len(b) < txnSize {
			return nil, nil, fmt.Errorf("%w: cut short", ErrSnapshot)
		}
		p.TxnFirst, p.Coordinator = kafka.Offset(be.Uint64(b)), kafka.CoordinatorEpoch(be.Uint32(b[8:]))
		b = b[txnSize:]
		if p.TxnFirst < NoTxn {
			return nil, nil, fmt.Errorf("%w: producer %d has a transaction from %d on", ErrSnapshot, p.ID, p.TxnFirst)
		}
	}
	if p.n > remembered || len(b) < p.n*batchSize {
		return nil, nil, fmt.Errorf("%w: producer %d has %d batches", ErrSnapshot, p.ID, p.n)
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
	return p, b, nil
}

func (s *State) decodeAborted(b []byte) ([]byte, error) {
	be := binary.BigEndian
	if len(b) < 13 || b[0] > 1 {
		return nil, fmt.Errorf("%w: no list of what was aborted", ErrSnapshot)
	}
	s.earlier, s.since = b[0] == 1, kafka.Offset(be.Uint64(b[1:]))
	count := int64(be.Uint32(b[9:]))
	if b = b[13:]; count*abortedSize > int64(len(b)) {
		return nil, fmt.Errorf("%w: %d aborted transactions", ErrSnapshot, count)
	}
	for range count {
		a := Aborted{
			Producer: kafka.ProducerID(be.Uint64(b)), First: kafka.Offset(be.Uint64(b[8:])),
			Last: kafka.Offset(be.Uint64(b[16:])), LastStable: kafka.Offset(be.Uint64(b[24:])),
		}
		b = b[abortedSize:]
		if a.Producer < 0 || a.First < 0 || a.Last < a.First || len(s.aborted) > 0 && a.Last <= s.aborted[len(s.aborted)-1].Last {
			return nil, fmt.Errorf("%w: producer %d aborted [%d, %d]", ErrSnapshot, a.Producer, a.First, a.Last)
		}
		s.aborted = append(s.aborted, a)
	}
	return b, nil
}
