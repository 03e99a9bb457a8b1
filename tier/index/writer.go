package index

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/qanat-io/qanat/tier/segment"
)

// write is the writer goroutine: it takes all that is pending, writes it as one
// batch, and takes what came meanwhile. It ends when Close has closed wake and
// nothing is left.
func (x *Index) write() {
	defer close(x.done)
	for range x.wake {
		x.round()
	}
	x.round()
}

// round writes what is pending. What fails is forgotten: the store then holds
// at worst pages that are no longer true, which the check of the batch header
// finds out.
func (x *Index) round() {
	x.mu.Lock()
	if x.pending.empty() {
		x.mu.Unlock()
		return
	}
	x.writing, x.pending = x.pending, newWork()
	x.mu.Unlock()

	if err := x.apply(x.writing); err != nil {
		if x.stats.failed.Add(1) == 1 {
			x.log.Warn("index entries are not kept", "dir", x.dir, "error", err)
		}
	}

	x.mu.Lock()
	done := x.writing.waiters
	x.writing = newWork()
	x.mu.Unlock()
	for _, w := range done {
		close(w)
	}
}

// apply writes w to Badger: partitions dropped, then each segment's pages
// replaced. Nothing of it needs to be atomic, since every page stands for itself.
func (x *Index) apply(w work) error {
	if !x.hasSpace() {
		return fmt.Errorf("volume has less than %d MiB free", minFree>>20)
	}
	db := x.db.Load()
	if db == nil {
		var err error
		if db, err = openStore(x.dir, x.log); err != nil {
			return err
		}
		x.db.Store(db)
	}
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	for p := range w.partitions {
		if err := deletePrefix(db, batch, appendPartition(nil, p)); err != nil {
			return fmt.Errorf("drop %s: %w", p, err)
		}
	}
	for s, entries := range w.segments {
		if err := deletePrefix(db, batch, appendSegment(nil, s)); err != nil {
			return fmt.Errorf("drop %s at %d: %w", s.partition, s.base, err)
		}
		if err := putPages(batch, s, entries); err != nil {
			return fmt.Errorf("put %s at %d: %w", s.partition, s.base, err)
		}
	}
	if err := batch.Flush(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return compact(db)
}

// putPages writes a segment's entries, page by page.
func putPages(batch *badger.WriteBatch, s segmentID, entries []segment.IndexEntry) error {
	for len(entries) > 0 {
		n := cutPage(entries)
		p := page{entries: entries[:n], next: lastPage}
		if entries = entries[n:]; len(entries) > 0 {
			p.next = entries[0].Offset
		}
		key := appendPageKey(nil, s, p.entries[0].Offset) // Badger keeps key and value until the flush
		if err := batch.Set(key, appendPage(nil, key, p)); err != nil {
			return err
		}
	}
	return nil
}

// deletePrefix deletes all keys that begin with prefix.
func deletePrefix(db *badger.DB, batch *badger.WriteBatch, prefix []byte) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := batch.Delete(it.Item().KeyCopy(nil)); err != nil {
			return err
		}
	}
	return nil
}
