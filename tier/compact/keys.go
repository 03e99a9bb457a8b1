package compact

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"

	"github.com/qanat-io/qanat/wire/kafka"
)

// slotBytes is what a key takes: open addressing in a table that is at most seven eighths full.
const slotBytes = 24

// keys are the latest offsets of keys. Not safe for concurrent use.
type keys struct {
	slots  []slot
	n      int
	most   int // slots
	digest hash.Hash
	salt   [16]byte // drawn anew for every pass: nobody can prepare two keys that look alike
	sum    [sha256.Size]byte
}

// slot is free while next is 0.
type slot struct {
	high, low uint64
	next      int64 // the offset plus one
}

// newKeys makes room for some number of keys at once, and never takes more than maxBytes, but for what force asks for.
func newKeys(expected int64, maxBytes int64) *keys {
	k := &keys{digest: sha256.New(), most: int(max(maxBytes/slotBytes, leastSlots))}
	if _, err := rand.Read(k.salt[:]); err != nil {
		panic("compact: no randomness: " + err.Error()) // crypto/rand says that it does not fail
	}
	k.slots = make([]slot, min(max(expected/7*8, leastSlots), int64(k.most)))
	return k
}

const leastSlots = 1024

// room tells whether n more keys fit, after growing if need be.
func (k *keys) room(n int) bool {
	for k.n+n > len(k.slots)/8*7 {
		if len(k.slots) >= k.most {
			return false
		}
		k.grow(min(2*len(k.slots), k.most))
	}
	return true
}

// force makes room for n more keys, whatever that takes: for one batch, which goes wholly into a pass.
func (k *keys) force(n int) {
	for k.n+n > len(k.slots)/8*7 {
		k.grow(2 * len(k.slots))
	}
}

func (k *keys) grow(size int) {
	old := k.slots
	k.slots = make([]slot, size)
	for _, s := range old {
		if s.next != 0 {
			*k.find(s.high, s.low) = s
		}
	}
}

// find is the key's slot, or the free one where it belongs.
func (k *keys) find(high, low uint64) *slot {
	i, _ := bits.Mul64(high, uint64(len(k.slots))) // high as a fraction of the table
	for {
		if s := &k.slots[i]; s.next == 0 || s.high == high && s.low == low {
			return s
		}
		if i++; i == uint64(len(k.slots)) {
			i = 0
		}
	}
}

func (k *keys) at(key []byte) (s *slot, high, low uint64) {
	k.digest.Reset()
	k.digest.Write(k.salt[:])
	k.digest.Write(key)
	sum := k.digest.Sum(k.sum[:0])
	high, low = binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])
	return k.find(high, low), high, low
}

// put notes that a key has a record at an offset, if that is later than what was known. room or force came before.
func (k *keys) put(key []byte, at kafka.Offset) {
	s, high, low := k.at(key)
	if s.next == 0 {
		k.n++
	}
	*s = slot{high, low, max(s.next, int64(at)+1)}
}

// latest is where the last known record of the key is; -1 when none is known.
func (k *keys) latest(key []byte) kafka.Offset {
	s, _, _ := k.at(key)
	return kafka.Offset(s.next - 1)
}
