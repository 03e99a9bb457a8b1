package manifest

import (
	"iter"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Manifest is an immutable list of entries; the zero value is empty. Copy it
// freely: a copy is three words and shares its entries with every other
// version. All methods may be called concurrently, on the same and on
// different versions. Compare with Equal, not with reflect.DeepEqual: equal
// manifests with different histories share slots differently.
type Manifest struct {
	// slots is this version's window onto store.slots.
	// Invariant: never written through; contiguous, see the package's invariants.
	slots []slot
	store *store
	// bytes is the sum of the entries' sizes, those in pages included.
	bytes int64

	// pages hold the entries before the slots. Immutable.
	// Invariant: contiguous, and the last ends where the slots, of which there is one at least, begin.
	pages []Page
	// trimmed is where the last trim ended, which may be within the first page. 0 without pages.
	trimmed kafka.Offset
}

type slot struct {
	entry Entry
	// latest is the largest MaxTimestamp of the version's first entry up to this one.
	// It only grows along the slots, which makes time searchable although
	// MaxTimestamps of neighbours come in any order.
	// Invariant: the same in every version that can see the slot (TrimBefore moves to a new store where it would not be).
	latest int64
}

// store is an array that versions share. A version whose window ends where
// the claimed slots end may claim the next one and write it; any other version
// that is appended to copies. So a chain of appends costs amortised O(1), and
// two appends to one version cannot collide.
type store struct {
	slots []slot // len == cap
	// claimed is how many slots have an owner. Only ever grows, by compare-and-swap from the owner's end.
	claimed atomic.Int64
}

// Len is the number of entries in memory: At, All, Entries, Find, Holds, FindTime and MaxTimestamp know these only. The
// manifest is empty when there are none.
func (m Manifest) Len() int { return len(m.slots) }

// At returns entry i, counted from the oldest. It panics when i is out of range.
func (m Manifest) At(i int) Entry { return m.slots[i].entry }

// Start is the first offset of the remote log, 0 when it is empty. With pages it may lie within an entry, whose beginning was trimmed.
func (m Manifest) Start() kafka.Offset {
	if len(m.pages) > 0 {
		return max(m.pages[0].Base, m.trimmed)
	}
	return m.Recent()
}

// End is the offset after the last of the remote log, 0 when it is empty.
func (m Manifest) End() kafka.Offset {
	if len(m.slots) == 0 {
		return 0
	}
	return m.slots[len(m.slots)-1].entry.Next
}

// Bytes is the sum of the objects' sizes. Of the first page's entries all count, until the last of them is trimmed.
func (m Manifest) Bytes() int64 { return m.bytes }

// All yields the entries, oldest first, with their indexes.
func (m Manifest) All() iter.Seq2[int, Entry] {
	return func(yield func(int, Entry) bool) {
		for i := range m.slots {
			if !yield(i, m.slots[i].entry) {
				return
			}
		}
	}
}

// Entries returns a copy of the entries, oldest first; nil when there are none.
func (m Manifest) Entries() []Entry {
	if len(m.slots) == 0 {
		return nil
	}
	entries := make([]Entry, len(m.slots))
	for i := range m.slots {
		entries[i] = m.slots[i].entry
	}
	return entries
}

// Equal tells whether both hold the same entries.
func (m Manifest) Equal(o Manifest) bool {
	if len(m.slots) != len(o.slots) || m.bytes != o.bytes || m.trimmed != o.trimmed || !slices.Equal(m.pages, o.pages) {
		return false
	}
	for i := range m.slots {
		if m.slots[i].entry != o.slots[i].entry {
			return false
		}
	}
	return true
}

// Find returns the index of the entry that holds offset; ok is false outside [Recent, End).
func (m Manifest) Find(offset kafka.Offset) (i int, ok bool) {
	if len(m.slots) == 0 || offset < m.Recent() || offset >= m.End() {
		return 0, false
	}
	return sort.Search(len(m.slots), func(i int) bool { return m.slots[i].entry.Next > offset }), true
}

// Holds tells whether this very object is in the manifest.
func (m Manifest) Holds(e Entry) bool {
	i, ok := m.Find(e.Base)
	return ok && m.slots[i].entry.Names(e)
}

// FindTime returns the first entry whose MaxTimestamp is at least ts.
func (m Manifest) FindTime(ts int64) (i int, ok bool) {
	// The first slot whose running maximum reaches ts is the one that raised it.
	i = sort.Search(len(m.slots), func(i int) bool { return m.slots[i].latest >= ts })
	if i == len(m.slots) {
		return 0, false
	}
	return i, true
}
