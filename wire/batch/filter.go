package batch

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/qanat-io/qanat/wire/kafka"
)

// DeleteHorizon is when the batch's tombstones and marker may go, in milliseconds; ok is false while nobody has decided that. The
// base timestamp's field holds it, and the records' deltas count from there. Source: KIP-534.
func (v View) DeleteHorizon() (ms int64, ok bool) {
	return v.BaseTimestamp(), v.Attributes()&deleteHorizonBit != 0
}

// Filter is what compaction changes of a batch.
type Filter struct {
	// Keep tells which records stay; nil: all. It sees them as Iterator yields them.
	Keep func(Record) bool
	// Horizon becomes the batch's delete horizon if Counted is set and the batch has none.
	Horizon int64
	Counted bool
	// Decided says that the batch's transaction is committed for good: the batch is of no transaction then, and needs no marker behind it.
	Decided bool
}

// Apply appends what the filter leaves of v to dst, and returns what it has appended. Offsets, epoch, codec, producer and sequences
// stay, so that the batch goes on covering the same offsets, whatever it still holds; it may hold nothing. The batch must have
// passed CheckCRC. Errors: those of Iterator.
func (f Filter) Apply(dst []byte, v View) (out View, kept int32, err error) {
	a := v.Attributes()
	base := v.BaseTimestamp()
	if _, has := v.DeleteHorizon(); !has && f.Counted {
		base = f.Horizon
		a |= deleteHorizonBit
	}
	if f.Decided {
		a &^= transactionalBit
	}
	start := len(dst)
	dst = append(dst, v[:HeaderLen]...)
	// What stays uncompressed is written where it belongs, the rest beside it first.
	records, codec := dst, a.Codec()
	if codec != None {
		scratch := filterScratch.Get().(*[]byte)
		records = (*scratch)[:0]
		defer func() { *scratch = records; filterScratch.Put(scratch) }()
	}
	latest := int64(-1)
	it := Records(v)
	for r := range it.All {
		if f.Keep != nil && !f.Keep(r) {
			continue
		}
		latest = max(latest, r.Timestamp)
		records = appendRecord(records, r, v.BaseOffset(), base)
		kept++
	}
	if it.err != nil {
		return nil, 0, it.err
	}
	switch {
	case codec == None:
		dst = records
	case kept == 0:
		codec = None
	default:
		if dst, err = compress(dst, records, codec, DefaultLevel); err != nil {
			return nil, 0, err
		}
	}
	head := View(dst[start:])
	be := binary.BigEndian
	be.PutUint16(head[21:], uint16(a))
	be.PutUint64(head[27:], uint64(base))
	if !a.LogAppendTime() {
		be.PutUint64(head[35:], uint64(latest))
	}
	be.PutUint32(head[57:], uint32(kept))
	out, err = finish(dst[start:], codec)
	return out, kept, err
}

var filterScratch = sync.Pool{New: func() any { return new([]byte) }}

// appendRecord writes a record as it stands in a batch.
func appendRecord(dst []byte, r Record, base kafka.Offset, baseTimestamp int64) []byte {
	var head [1 + 3*binary.MaxVarintLen64]byte // attributes, which have no meaning yet; two deltas; the key's length
	h := binary.AppendVarint(head[:1], r.Timestamp-baseTimestamp)
	h = binary.AppendVarint(h, int64(r.Offset-base))
	dst = binary.AppendVarint(dst, int64(len(h)+bytesLen(r.Key)+bytesLen(r.Value)+len(r.Headers)))
	dst = append(dst, h...)
	dst = appendBytes(dst, r.Key)
	dst = appendBytes(dst, r.Value)
	return append(dst, r.Headers...)
}

// bytesLen is how many bytes appendBytes appends.
func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	var n [binary.MaxVarintLen64]byte
	return binary.PutVarint(n[:], int64(len(b))) + len(b)
}

// Gap appends a batch of no records and no producer that covers the offsets [base, next), at most 2^31 of them. A log has no holes:
// this stands where compaction has left nothing. Clients pass over it, as over the empty batches that Kafka's cleaner leaves.
func Gap(dst []byte, base, next kafka.Offset, epoch kafka.LeaderEpoch) View {
	if base >= next || next-base > math.MaxInt32 {
		panic(fmt.Sprintf("batch: a gap [%d, %d)", base, next))
	}
	start := len(dst)
	v := View(append(dst, make([]byte, HeaderLen)...)[start:])
	v.Stamp(base, epoch)
	be := binary.BigEndian
	v[16] = 2
	be.PutUint32(v[8:], HeaderLen-prefixLen)
	be.PutUint32(v[23:], uint32(next-base-1))
	for _, at := range []int{27, 35, 43} { // timestamps and producer: none
		be.PutUint64(v[at:], math.MaxUint64)
	}
	be.PutUint16(v[51:], math.MaxUint16)
	be.PutUint32(v[53:], math.MaxUint32)
	v.seal()
	return v
}

// IsGap tells whether the batch is nothing but offsets: where it begins and ends does not matter then.
func (v View) IsGap() bool {
	return v.RecordCount() == 0 && !v.Idempotent() && !v.Attributes().Control()
}
