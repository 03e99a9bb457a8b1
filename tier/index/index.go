package index

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// maxPendingEntries bounds what waits for the writer: 24 bytes each. Beyond it
// Put drops.
const maxPendingEntries = 1 << 18

// maxPendingDrops bounds the segments and partitions that wait to be
// forgotten. Beyond it their pages stay as garbage, which the check of the batch
// header makes harmless.
const maxPendingDrops = 1 << 18

// cachedPages bounds the pages kept for Lookup: about 1.6 KiB each.
const cachedPages = 1024

// Index is safe for concurrent use.
type Index struct {
	dir   string
	log   *slog.Logger
	free  func(dir string) (int64, error)
	stats counters

	// reading is held shared while Badger is read and exclusively while it is
	// closed: a read of a closed Badger touches unmapped memory.
	reading sync.RWMutex
	db      atomic.Pointer[badger.DB] // nil until it could be opened

	mu      sync.Mutex
	pending work   // asked for, not begun
	writing work   // being written; never changed while the writer has it
	changes uint64 // grows with every Put and Drop, so that a Lookup does not cache what was replaced meanwhile
	closed  bool
	cache   *lru.Cache[segmentID, *page]

	wake chan struct{} // one slot: there is pending work
	done chan struct{} // closed when the writer has ended
}

// work is a set of changes. Order between them needs no keeping: a later change
// to a segment replaces the earlier one, and a partition's drop removes those
// of its segments.
type work struct {
	segments   map[segmentID][]segment.IndexEntry // nil entries: drop
	partitions map[kafka.Partition]struct{}       // dropped, before segments are looked at
	entries    int
	waiters    []chan struct{} // closed when the work has been done, or has failed
}

func newWork() work {
	return work{segments: map[segmentID][]segment.IndexEntry{}, partitions: map[kafka.Partition]struct{}{}}
}

func (w *work) empty() bool {
	return len(w.segments) == 0 && len(w.partitions) == 0 && len(w.waiters) == 0
}

// set records the segment's new entries, nil for none.
func (w *work) set(s segmentID, entries []segment.IndexEntry) {
	w.entries += len(entries) - len(w.segments[s])
	w.segments[s] = entries
}

// find returns the entries that the segment will have; known is false when w
// does not speak of it.
func (w *work) find(s segmentID) (entries []segment.IndexEntry, known bool) {
	if entries, known = w.segments[s]; known {
		return entries, true
	}
	_, known = w.partitions[s.partition]
	return nil, known
}

// Open opens or creates the index in dir; an index that does not open is
// removed and made anew (logged). On a nearly full volume it starts without a
// store and opens it when there is space: until then every Lookup misses.
// It fails when the directory cannot be used, or another process does.
func Open(dir string, log *slog.Logger) (*Index, error) { return open(dir, log, freeBytes) }

func open(dir string, log *slog.Logger, free func(string) (int64, error)) (*Index, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create index directory: %w", err)
	}
	cache, err := lru.New[segmentID, *page](cachedPages)
	if err != nil {
		return nil, fmt.Errorf("create index cache: %w", err)
	}
	x := &Index{
		dir: dir, log: log, free: free,
		pending: newWork(), writing: newWork(), cache: cache,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if x.hasSpace() {
		db, err := openStore(dir, log)
		if err != nil {
			return nil, err
		}
		x.db.Store(db)
	} else {
		log.Warn("volume is nearly full: the index stays closed until there is space", "dir", dir)
	}
	go x.write()
	return x, nil
}

// Put keeps the entries of a closed segment, in place of any it had. The slice
// belongs to the index from now on. Asynchronous and bounded: when too much
// waits it drops (the segment is rescanned on Lookup's miss). A Lookup that
// follows sees them at once.
func (x *Index) Put(p kafka.Partition, base kafka.Offset, entries []segment.IndexEntry) {
	if len(entries) == 0 {
		x.Drop(p, base)
		return
	}
	x.stats.puts.Add(1)
	if !x.change(segmentID{p, base}, entries) {
		x.stats.dropped.Add(1)
	}
}

// Drop forgets a segment.
func (x *Index) Drop(p kafka.Partition, base kafka.Offset) {
	x.change(segmentID{p, base}, nil)
}

// change queues a segment's new state. It is false when there was no room; the
// segment then has no entries, rather than old ones, as far as the queue can say so.
func (x *Index) change(s segmentID, entries []segment.IndexEntry) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	x.changes++
	x.cache.Remove(s)
	kept := true
	if x.pending.entries+len(entries) > maxPendingEntries {
		entries, kept = nil, false
	}
	if _, replaces := x.pending.segments[s]; !replaces && len(x.pending.segments) >= maxPendingDrops {
		return false
	}
	x.pending.set(s, entries)
	x.poke()
	return kept
}

// DropPartition forgets all of a partition's segments.
func (x *Index) DropPartition(p kafka.Partition) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	x.changes++
	for s := range x.pending.segments {
		if s.partition == p {
			x.pending.entries -= len(x.pending.segments[s])
			delete(x.pending.segments, s)
		}
	}
	for _, s := range x.cache.Keys() {
		if s.partition == p {
			x.cache.Remove(s)
		}
	}
	if len(x.pending.partitions) < maxPendingDrops {
		x.pending.partitions[p] = struct{}{}
		x.poke()
	}
}

// Flush waits until what was put and dropped before has been written, or has
// failed to be. For tests and tools: nothing depends on it.
func (x *Index) Flush() {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return
	}
	written := make(chan struct{})
	x.pending.waiters = append(x.pending.waiters, written)
	x.poke()
	x.mu.Unlock()
	<-written
}

// poke tells the writer that there is work. Called under mu.
func (x *Index) poke() {
	select {
	case x.wake <- struct{}{}:
	default: // it has been told already
	}
}

// Close writes what is pending and closes the store. Later calls do nothing,
// later lookups miss.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	close(x.wake)
	x.mu.Unlock()
	<-x.done

	x.reading.Lock()
	defer x.reading.Unlock()
	db := x.db.Swap(nil)
	if db == nil {
		return nil
	}
	if !x.hasSpace() {
		// Closing writes a table. Without it the memtable's own log is replayed at the next opening.
		x.log.Warn("volume is nearly full: the index is left as after a crash", "dir", x.dir)
		return nil
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return nil
}

// hasSpace tells whether the volume has room for Badger to write.
func (x *Index) hasSpace() bool {
	n, err := x.free(x.dir)
	if err != nil {
		x.log.Warn("free space of the index's volume is not known", "dir", x.dir, "error", err)
		return false
	}
	return n >= minFree
}

// Stats are counts since Open, but for Pending.
type Stats struct {
	Puts     uint64 // segments given to Put
	Dropped  uint64 // of these, not kept: too much waited
	Failed   uint64 // rounds of writing that failed, or found no space
	Lookups  uint64 // by offset and by time
	Misses   uint64 // of these, not known
	Reads    uint64 // of these, Badger was asked
	Damaged  uint64 // pages that were not what was written
	Pending  int    // index entries that wait to be written
	StoreLSM int64  // bytes of Badger's tables, as of its last look (a minute old at most)
}

type counters struct {
	puts, dropped, failed, lookups, misses, reads, damaged atomic.Uint64
}

// Stats returns the counts.
func (x *Index) Stats() Stats {
	s := Stats{
		Puts: x.stats.puts.Load(), Dropped: x.stats.dropped.Load(), Failed: x.stats.failed.Load(),
		Lookups: x.stats.lookups.Load(), Misses: x.stats.misses.Load(), Reads: x.stats.reads.Load(),
		Damaged: x.stats.damaged.Load(),
	}
	x.mu.Lock()
	s.Pending = x.pending.entries + x.writing.entries
	x.mu.Unlock()
	x.reading.RLock()
	defer x.reading.RUnlock()
	if db := x.db.Load(); db != nil {
		s.StoreLSM, _ = db.Size()
	}
	return s
}
