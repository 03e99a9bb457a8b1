package hot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Flusher makes logs durable in groups: one flush in flight per volume; all
// that arrived meanwhile share the next. One per data volume.
//
//	Append ──► dirty list ──► round: take the list ─► journal, or syncfs ─► advance each log ─► onDurable
//	               ▲                                                             │
//	               └──────────── appended meanwhile: next round ◄────────────────┘
//
// There is no linger: a round starts as soon as anything is dirty and the disk
// is free, so a lone append waits for one flush, and a crowd shares it. It only lets those
// append first who are about to: the rest of a request (Begin), and whoever could run at once (gather).
//
// It also keeps the recovery points of its logs (recovery.go), every few
// seconds and when they close, off the acknowledgement path.
type Flusher struct {
	fs        vfs.FS
	dir       string
	volume    vfs.Volume
	cleaner   vfs.Volume // the same, for lighten: a failed write-back is reported once to each, and the round beside must hear of it too
	clock     func() time.Time
	log       *slog.Logger
	fatal     func(error)
	recovery  *recoveryFile
	journal   *journal.Journal // nil where there is none
	cleaning  chan struct{}    // holds one token when there is something to write back
	journaled int64            // since the last token; guarded by disk
	cache     entryCache
	late      latecomers
	wake      chan struct{} // holds one token while dirty may be non-empty

	appending atomic.Int32  // requests between Begin and End
	ended     atomic.Uint32 // such requests, ever
	appends   atomic.Uint64 // to all logs, ever

	mu    sync.Mutex
	dirty []*Log
	open  map[*Log]struct{}

	serve sync.Mutex // held over a whole round, callbacks included; below are a round's own
	items []flushItem
	taken []*Log

	disk     sync.Mutex // held over a sync: one in flight
	begun    atomic.Int64
	done     atomic.Int64 // of those begun, guarded by disk for writing
	fileWise atomic.Bool  // the volume cannot be synced as a whole
	failure  atomic.Pointer[error]

	observe func(logs int, took time.Duration)
	scratch []*Log // checkpoint's own
}

// flushItem is what a round promises to one log.
type flushItem struct {
	log      *Log
	upTo     target
	files    []*handle
	names    bool // files or directories were created
	unstaged bool // the journal does not have all of it
	grew     bool
}

const (
	checkpointInterval = 5 * time.Second
	parallelSyncs      = 8

	// endsAtMost bounds how many requests that overlap each other a round waits for.
	endsAtMost = 8
	// gatherAtMost bounds how often a round makes way for others.
	gatherAtMost = 8
)

// NewFlusher opens the volume that holds dir (before anything is written to
// it, or a lost write would go unreported) and reads the recovery points kept there.
// What a crash has left in the journal only is in the segments when it returns. fatal is called once, at once, on the first flush
// error, which nothing may survive; locks are held: it must not call back into this package.
func NewFlusher(fsys vfs.FS, dir string, cfg journal.Config, clock func() time.Time, log *slog.Logger, fatal func(error)) (*Flusher, error) {
	volume, err := fsys.OpenVolume(dir)
	if err != nil {
		return nil, err
	}
	cleaner, err := fsys.OpenVolume(dir)
	if err != nil {
		return nil, errors.Join(err, volume.Close())
	}
	recovery, err := openRecovery(fsys, dir, log)
	if err != nil {
		return nil, errors.Join(err, cleaner.Close(), volume.Close())
	}
	f := &Flusher{
		fs: fsys, dir: dir, volume: volume, cleaner: cleaner, clock: clock, log: log, fatal: fatal, recovery: recovery,
		wake: make(chan struct{}, 1), cleaning: make(chan struct{}, 1), open: make(map[*Log]struct{}),
	}
	if err := f.openJournal(cfg); err != nil {
		return nil, errors.Join(err, recovery.close(true), cleaner.Close(), volume.Close())
	}
	return f, nil
}

// Observe installs a callback that hears of every round: how many logs it made durable and how long the disk
// took. It must not block. Before Run.
func (f *Flusher) Observe(observe func(logs int, took time.Duration)) { f.observe = observe }

// Free is the space left on the volume, in bytes.
func (f *Flusher) Free() (int64, error) { return f.volume.Free() }

// Run flushes until ctx ends, then once more. It returns the flush error, if any.
func (f *Flusher) Run(ctx context.Context) error {
	checkpointing, stop := context.WithCancel(ctx)
	var checkpoints sync.WaitGroup
	checkpoints.Go(func() { f.runCheckpoints(checkpointing) })
	checkpoints.Go(func() { f.runCleaning(checkpointing) })
	defer checkpoints.Wait()
	defer stop() // also when a flush has failed and ctx goes on
	for {
		select {
		case <-f.wake:
			f.gather()
			if err := f.Flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			if err := f.Flush(); err != nil {
				return err
			}
			f.Checkpoint()
			return f.barrier(nil, nil)
		}
	}
}

func (f *Flusher) runCheckpoints(ctx context.Context) {
	ticker := time.NewTicker(checkpointInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f.Checkpoint()
		case <-ctx.Done():
			return
		}
	}
}

// Close lets go of the volume. After Run has returned and the logs are closed.
func (f *Flusher) Close() error {
	var err error
	if f.journal != nil {
		if f.err() == nil {
			err = errors.Join(f.voidJournal(), f.late.write())
		}
		err = errors.Join(err, f.journal.Close())
	}
	return errors.Join(err, f.recovery.close(f.err() != nil), f.cleaner.Close(), f.volume.Close())
}

// Flush runs one round on the caller's goroutine, callbacks included, which therefore must hold no lock that
// they want. Run calls it; so do tests.
func (f *Flusher) Flush() error {
	f.serve.Lock()
	defer f.serve.Unlock()
	if !f.take() {
		return f.err()
	}
	err := f.syncItems()
	for i := range f.items {
		item := &f.items[i]
		for _, h := range item.files {
			h.Release()
		}
		clear(item.files)
		item.files = item.files[:0]
		item.grew = err == nil && item.log.settle(item.upTo)
	}
	for i := range f.items {
		if item := &f.items[i]; item.grew {
			item.log.onDurable(item.log.DurableEnd())
		}
		f.items[i].log = nil
	}
	return err
}

// Begin tells that a request is about to be appended, perhaps to many logs, and End that all of it was: until then no
// round begins for its sake, or one flush would cover its first log and another the rest. For requests that are appended in
// less time than a flush takes. What somebody else appends meanwhile waits with it, but for no more than endsAtMost such requests.
func (f *Flusher) Begin() { f.appending.Add(1) }

// End is described at Begin. It must be called also when nothing was appended, or after a panic.
func (f *Flusher) End() {
	if left, ended := f.appending.Add(-1), f.ended.Add(1); left == 0 || ended%endsAtMost == 0 {
		f.ask()
	}
}

// gather lets goroutines that are ready to run append before the round begins: they share it then. It waits for nobody
// who has something else to wait for.
func (f *Flusher) gather() {
	for range gatherAtMost {
		before := f.appends.Load()
		runtime.Gosched()
		if f.appends.Load() == before {
			return
		}
	}
}

// take moves the dirty logs into items. It reuses what earlier rounds allocated.
func (f *Flusher) take() bool {
	f.mu.Lock()
	f.taken, f.dirty = f.dirty, f.taken[:0]
	f.mu.Unlock()
	f.items = f.items[:0]
	for i, l := range f.taken {
		f.taken[i] = nil
		if len(f.items) == cap(f.items) {
			f.items = append(f.items, flushItem{})
		} else {
			f.items = f.items[:len(f.items)+1] // keeps its files' memory
		}
		item := &f.items[len(f.items)-1]
		item.log, item.grew = l, false
		if !l.takePending(item) {
			f.items = f.items[:len(f.items)-1]
		}
	}
	return len(f.items) > 0
}

// syncItems makes everything that items promise durable: by way of the journal if that has all of it, else by a flush of the volume.
func (f *Flusher) syncItems() error {
	f.disk.Lock()
	defer f.disk.Unlock()
	if err := f.err(); err != nil {
		return err
	}
	began := f.clock()
	done, err := f.writeJournal()
	if err == nil && !done {
		err = f.syncAll()
	}
	if err != nil {
		return f.fail(err)
	}
	if f.observe != nil {
		f.observe(len(f.items), f.clock().Sub(began))
	}
	return nil
}

// syncAll makes everything that was written durable, and whatever else the items promise. disk is held.
func (f *Flusher) syncAll() error {
	whole, err := f.syncVolume()
	if err == nil && !whole {
		return f.syncFiles()
	}
	if err == nil && f.journal != nil && f.journal.Crowded() {
		return f.journal.Retire()
	}
	return err
}

// syncVolume flushes the whole volume and counts it. disk is held.
func (f *Flusher) syncVolume() (whole bool, err error) {
	if f.fileWise.Load() {
		return false, nil
	}
	n := f.begun.Add(1)
	covered := f.recovery.written()
	if f.journal != nil {
		f.journal.Drop()
	}
	if err := f.late.write(); err != nil {
		return true, err
	}
	ok, err := f.volume.Sync()
	if err != nil {
		return true, err
	}
	if !ok {
		f.fileWise.Store(true)
		f.log.Info("volume cannot be flushed as a whole: files are synced one by one", "dir", f.dir)
		return false, nil
	}
	f.done.Store(n)
	f.recovery.settled(covered)
	return true, nil
}

// syncFiles syncs the items' files, a few at once, then names where new ones came.
func (f *Flusher) syncFiles() error {
	var files []syncer
	var dirs []string
	for i := range f.items {
		for _, h := range f.items[i].files {
			files = append(files, h)
		}
		if f.items[i].names {
			dirs = append(dirs, f.items[i].log.dir)
		}
	}
	if err := syncParallel(files); err != nil {
		return err
	}
	return f.syncNames(dirs)
}

// syncNames makes the directories, and theirs up to the volume's, durable, and the recovery points with them.
func (f *Flusher) syncNames(dirs []string) error {
	if len(dirs) == 0 {
		return nil
	}
	for _, dir := range parents(f.dir, dirs) {
		if err := f.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return f.recovery.sync()
}

type syncer interface{ Sync() error }

func syncParallel(files []syncer) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, min(parallelSyncs, len(files)))
	for w := range errs {
		group.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				errs[w] = files[i].Sync()
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// barrier returns when everything written before it was called is durable: the
// given files, and the names in the given directories; and the journal is void. It advances no log and calls nobody, so it
// may be called with any lock held but the flusher's own. Concurrent callers share one flush.
func (f *Flusher) barrier(files []syncer, dirs []string) error {
	need := f.begun.Load() + 1
	if err := f.lighten(); err != nil {
		return err
	}
	f.disk.Lock()
	defer f.disk.Unlock()
	if err := f.err(); err != nil {
		return err
	}
	if f.done.Load() >= need && !f.holdsJournal() {
		return nil // one that began after us has covered us
	}
	whole, err := f.syncVolume()
	if err == nil && !whole {
		if err = syncParallel(files); err == nil {
			err = f.syncNames(append(dirs, f.dir))
		}
	}
	if err == nil && f.holdsJournal() {
		err = f.journal.Retire()
	}
	if err != nil {
		return f.fail(err)
	}
	return nil
}

// fail remembers the first flush error and tells. After it nothing is ever advanced: the kernel may have dropped the
// pages and would call the next flush a success.
func (f *Flusher) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFlush, err)
	if f.failure.CompareAndSwap(nil, &err) {
		f.log.Error("flush failed", "dir", f.dir, "error", err)
		f.fatal(err)
	}
	return err
}

func (f *Flusher) err() error {
	if p := f.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// enqueue asks for a flush of l.
func (f *Flusher) enqueue(l *Log) {
	f.mu.Lock()
	f.dirty = append(f.dirty, l)
	f.mu.Unlock()
	if f.appending.Load() == 0 { // else whoever appends asks, at the end
		f.ask()
	}
}

// ask has a round begin.
func (f *Flusher) ask() {
	select {
	case f.wake <- struct{}{}:
	default: // a token is there: a round is to come
	}
}

// register has the log's recovery point kept from now on.
func (f *Flusher) register(l *Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[l] = struct{}{}
}

func (f *Flusher) unregister(l *Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, l)
}

// Checkpoint writes the recovery points of all logs that have moved, and asks for a flush of logs in async mode,
// which nothing else flushes; and has the segments' files what is late of them. A failure of the points costs a longer scan after
// a crash; it is logged and tried again.
func (f *Flusher) Checkpoint() {
	f.mu.Lock()
	logs := f.scratch[:0]
	f.scratch = nil
	for l := range f.open {
		logs = append(logs, l)
	}
	f.mu.Unlock()
	if err := f.recovery.checkpoint(logs); err != nil {
		f.log.Warn("recovery points not written", "error", err)
	}
	for _, l := range logs {
		l.flushLazily()
	}
	if err := f.late.write(); err != nil {
		_ = f.fail(err) // it tells
	}
	clear(logs)
	f.mu.Lock()
	f.scratch = logs
	f.mu.Unlock()
}

// recoveryPointOf finds what was recorded for a partition.
func (f *Flusher) recoveryPointOf(p kafka.Partition) (point recoveryPoint, ok, trusted bool) {
	return f.recovery.get(p)
}

// covers fails when dir is not on the volume that is flushed for it.
func (f *Flusher) covers(dir string) error {
	ok, err := f.volume.Covers(dir)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s is on another file system than %s: its flushes would not reach it", dir, f.dir)
	}
	return nil
}
