package index

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Lookup returns the last entry of the segment at or below offset; ok is false
// when the index does not know the segment, or not that part of it.
func (x *Index) Lookup(p kafka.Partition, base, offset kafka.Offset) (e segment.IndexEntry, ok bool) {
	x.stats.lookups.Add(1)
	s := segmentID{p, base}
	entries, changes, known := x.memory(s, func(pg *page) bool { return pg.holds(offset) })
	if !known {
		if pg := x.read(s, func(it *badger.Iterator) (*page, error) { return floorPage(it, s, offset) }); pg != nil {
			x.keep(s, pg, changes)
			entries = pg.entries
		}
	}
	if len(entries) == 0 || entries[0].Offset > offset {
		x.stats.misses.Add(1)
		return segment.IndexEntry{}, false
	}
	return segment.Floor(entries, offset), true
}

// LookupTime returns the last entry of the segment whose running MaxTimestamp
// is below ts: a scan from there finds the first record at or after ts.
func (x *Index) LookupTime(p kafka.Partition, base kafka.Offset, ts int64) (e segment.IndexEntry, ok bool) {
	x.stats.lookups.Add(1)
	s := segmentID{p, base}
	// A cached page is no use: which page it is, only the order of all of them tells.
	entries, _, known := x.memory(s, func(*page) bool { return false })
	if !known {
		if pg := x.read(s, func(it *badger.Iterator) (*page, error) { return timePage(it, s, ts) }); pg != nil {
			entries = pg.entries
		}
	}
	if len(entries) == 0 {
		x.stats.misses.Add(1)
		return segment.IndexEntry{}, false
	}
	return segment.FloorTime(entries, ts), true
}

// memory looks for the segment in what waits to be written and in the cache.
// known tells that the answer is entries, be they empty, and Badger need not be asked.
func (x *Index) memory(s segmentID, fits func(*page) bool) (entries []segment.IndexEntry, changes uint64, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, 0, true
	}
	if entries, known = x.pending.find(s); known {
		return entries, x.changes, true
	}
	if entries, known = x.writing.find(s); known {
		return entries, x.changes, true
	}
	if pg, ok := x.cache.Get(s); ok && fits(pg) {
		return pg.entries, x.changes, true
	}
	return nil, x.changes, false
}

// keep caches a page that was read when the index had seen that many changes.
func (x *Index) keep(s segmentID, pg *page, changes uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changes == changes {
		x.cache.Add(s, pg)
	}
}

// read looks for a page in Badger; nil when it is not there, or damaged. What
// is damaged is dropped, so that its segment is scanned and put again.
func (x *Index) read(s segmentID, find func(*badger.Iterator) (*page, error)) *page {
	x.reading.RLock()
	defer x.reading.RUnlock()
	db := x.db.Load()
	if db == nil {
		return nil
	}
	x.stats.reads.Add(1)
	pg, err := view(db, s, find)
	if err != nil {
		if x.stats.damaged.Add(1) == 1 {
			x.log.Warn("index is damaged: the segment is forgotten", "partition", s.partition.String(), "base", s.base, "error", err)
		}
		x.Drop(s.partition, s.base)
		return nil
	}
	return pg
}

// view runs find over the segment's pages, last to first. Badger panics on some damage.
func view(db *badger.DB, s segmentID, find func(*badger.Iterator) (*page, error)) (pg *page, err error) {
	defer func() {
		if p := recover(); p != nil {
			pg, err = nil, fmt.Errorf("badger panicked: %v", p)
		}
	}()
	txn := db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: appendSegment(nil, s), Reverse: true})
	defer it.Close()
	return find(it)
}

// floorPage seeks the last page that begins at or below offset.
func floorPage(it *badger.Iterator, s segmentID, offset kafka.Offset) (*page, error) {
	var scratch [pageKeyLen]byte
	it.Seek(appendPageKey(scratch[:0], s, offset))
	if !it.Valid() {
		return nil, nil
	}
	pg, err := pageOf(it)
	if err != nil || !pg.holds(offset) {
		return nil, err
	}
	return pg, nil
}

// timePage walks the pages from the last to the first, to the one that holds
// the last entry below ts. A segment has some 30 pages, a lookup by time is rare.
// Every page must be followed by the one it names.
func timePage(it *badger.Iterator, s segmentID, ts int64) (*page, error) {
	var scratch [pageKeyLen]byte
	expect := lastPage
	var pg *page
	for it.Seek(appendPageKey(scratch[:0], s, lastPage)); it.Valid(); it.Next() {
		var err error
		if pg, err = pageOf(it); err != nil || pg.next != expect {
			return nil, err
		}
		if pg.entries[0].MaxTimestamp < ts {
			return pg, nil
		}
		expect = pg.entries[0].Offset
	}
	if pg != nil && pg.entries[0].MaxTimestamp != segment.BeforeAll {
		return nil, nil // the first page of all is missing
	}
	return pg, nil // nothing is below the smallest possible timestamp
}

func pageOf(it *badger.Iterator) (pg *page, err error) {
	item := it.Item()
	verr := item.Value(func(b []byte) error {
		pg, err = decodePage(item.Key(), b)
		return err
	})
	return pg, verr
}
