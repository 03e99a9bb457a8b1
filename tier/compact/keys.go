package compact

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/qanat-io/qanat/wire/kafka"
)

// slotBytes is what a key takes: open addressing in a table that is at most seven eighths full.
const slotBytes = 24

// keys are the latest offsets of keys. Not safe for concurrent use.
type keys struct {
	slots  []slot // a power of two, or nil
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

// newKeys makes room for some number of keys at once, and never takes more than maxBytes, but for what grow forces.
func newKeys(expected int64, maxBytes int64) *keys {
	k := &keys{digest: sha256.New(), most: floorPower(max(maxBytes/slotBytes, 1024))}
	if _, err := rand.Read(k.salt[:]); err != nil {
		panic("compact: no randomness: " + err.Error()) // crypto/rand says that it does not fail
	}
	size := 1024
	for size < k.most && int64(size)*7/8 < expected {
		size *= 2
	}
	k.slots = make([]slot, size)
	return k
}

func floorPower(n int64) int {
	p := 1
	for int64(p)*2 <= n {
		p *= 2
	}
	return p
}

// room tells whether n more keys fit, after growing if need be.
func (k *keys) room(n int) bool {
	for k.n+n > len(k.slots)/8*7 {
		if len(k.slots) >= k.most {
			return false
		}
		k.grow()
	}
	return true
}

// force makes room for n more keys, whatever that takes: for one batch, which goes wholly into a pass.
func (k *keys) force(n int) {
	for k.n+n > len(k.slots)/8*7 {
		k.grow()
	}
}

func (k *keys) grow() {
	old := k.slots
	k.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.next != 0 {
			*k.find(s.high, s.low) = s
		}
	}
}

// find is the key's slot, or the free one where it belongs.
func (k *keys) find(high, low uint64) *slot {
	mask := uint64(len(k.slots) - 1)
	for i := high & mask; ; i = (i + 1) & mask {
		if s := &k.slots[i]; s.next == 0 || s.high == high && s.low == low {
			return s
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
