package hot

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Open opens or creates the log in dir, which is Dir(the flusher's, p). start is where an empty log begins (the end of the remote log, or 0).
// onDurable is called, from the flusher's goroutine or from Append in async mode, without locks, each time DurableEnd has grown; by the
// time it runs a Truncate may have taken DurableEnd back, so the offset is news, DurableEnd the truth.
//
// When Open returns, everything up to End is on disk. Bad data is no error: see Recovered.Damage. Data that the disk does not give is
// one, ErrUnreadable: nobody knows where the log ends. Logs may be opened in parallel, and share their flushes.
func Open(env Env, dir string, p kafka.Partition, cfg Config, start kafka.Offset, onDurable func(kafka.Offset)) (*Log, Recovered, error) {
	if at := Dir(env.Flusher.dir, p); filepath.Clean(dir) != at {
		return nil, Recovered{}, fmt.Errorf("open log %s: %w: recovery would look for it in %s", dir, ErrInvalid, at)
	}
	l := &Log{env: env, dir: dir, partition: p, cfg: cfg, onDurable: onDurable}
	o := opening{Log: l, start: start}
	if err := o.run(); err != nil {
		if errors.Is(err, syscall.EIO) || errors.Is(err, errBadBatch) {
			err = fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		return nil, o.found, fmt.Errorf("open log %s: %w", dir, err)
	}
	env.Flusher.register(l)
	return l, o.found, nil
}

// opening is a log on its way up.
type opening struct {
	*Log
	start kafka.Offset // where an empty log begins
	found Recovered

	rec       recoveryPoint
	known     bool // rec exists
	trusted   bool // without rec, nothing was ever flushed
	files     listing
	segments  []*localSegment
	from      int    // segments[from:] are scanned, the first of them from rec's position if it is rec's
	reached   border // end of what is whole, in the last of segments
	last      facts  // of that one
	epochs    []segment.EpochStart
	recovered *indexer // of the last one, from the border where its scan began
	begun     border   // that border
	changed   bool     // files were cut or removed
}

func (o *opening) run() error {
	if err := o.look(); err != nil {
		return err
	}
	if err := o.finishSwap(); err != nil {
		return err
	}
	if err := o.dropLeftovers(); err != nil {
		return err
	}
	if len(o.files.logs) == 0 {
		return o.create()
	}
	if err := o.plan(); err != nil {
		return err
	}
	if len(o.segments) == 0 {
		return o.create()
	}
	if err := o.history(); err != nil {
		return err
	}
	if err := o.scan(); err != nil {
		return err
	}
	return o.finish()
}

// look reads the directory and finds the recovery point.
func (o *opening) look() error {
	names, err := o.env.FS.ReadDir(o.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = o.env.FS.MkdirAll(o.dir)
	}
	if err != nil {
		return err
	}
	if err := o.env.Flusher.covers(o.dir); err != nil {
		return err
	}
	if slices.Contains(names, owedName) {
		if err := o.env.Flusher.payOwed(o.dir, o.partition); err != nil {
			return err
		}
	}
	o.files = parseNames(names)
	o.rec, o.known, o.trusted = o.env.Flusher.recoveryPointOf(o.partition)
	return nil
}

// dropLeftovers finishes what a crash interrupted: a reset, whose files are all void, or a release.
func (o *opening) dropLeftovers() error {
	if !o.known {
		return nil
	}
	keepFrom := 0
	if o.rec.resetting {
		keepFrom = len(o.files.logs)
	} else {
		for keepFrom+1 < len(o.files.logs) && o.files.logs[keepFrom] < o.rec.start {
			keepFrom++
		}
		if keepFrom < len(o.files.logs) && o.files.logs[keepFrom] < o.rec.start {
			keepFrom++
		}
	}
	for _, base := range o.files.logs[:keepFrom] {
		if err := o.remove(base, logSuffix); err != nil {
			return err
		}
	}
	o.files.logs = o.files.logs[keepFrom:]
	keep := o.files.states[:0]
	for _, base := range o.files.states {
		if o.rec.resetting || base < o.rec.start {
			if err := o.remove(base, stateSuffix); err != nil {
				return err
			}
			continue
		}
		keep = append(keep, base)
	}
	o.files.states = keep
	return nil
}

func (o *opening) remove(base kafka.Offset, suffix string) error {
	if err := o.willChange(); err != nil {
		return err
	}
	err := o.env.FS.Remove(o.path(base, suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// willChange is called before a file is cut or removed: the journal may speak of it, if the log was open before in this process.
func (o *opening) willChange() error {
	if o.changed {
		return nil
	}
	o.changed = true
	return o.env.Flusher.voidJournal()
}

// create begins an empty log.
func (o *opening) create() error {
	start, epochs := o.start, []segment.EpochStart(nil)
	if o.known {
		o.nothingLeft()
		start = max(start, o.rec.offset)
		if start == o.rec.offset {
			epochs = o.rec.epochs // all of them after a reset, else the latest
		}
	}
	if o.changed { // before a point says that the log is sound: the void files must not come back
		if err := o.env.Flusher.barrier(nil, []string{o.dir}); err != nil {
			return err
		}
	}
	o.found.Clean, o.found.StateAt = o.found.Damage == nil, start
	return o.begin(start, epochs)
}

// nothingLeft tells whether everything is missing that was flushed; then it is damage.
func (o *opening) nothingLeft() bool {
	from := max(o.start, o.rec.start)
	if o.rec.resetting || o.rec.offset <= from {
		return false
	}
	o.harm(o.rec.start, from, o.rec.offset, errors.New("all segments are missing"))
	return true
}

// begin makes the log empty at start, with its first file. The directory's names are owed to the next flush. While the log is damaged the old point
// stays: it is what shows the damage when the log is opened again, and keeps files that were put back from being taken for leftovers of a release.
func (l *Log) begin(start kafka.Offset, epochs []segment.EpochStart) error {
	t, err := l.createTail(start)
	if err != nil {
		return err
	}
	rec := recoveryPoint{partition: l.partition, start: start, point: point{start, start, 0}, facts: noFacts, epochs: epochs}
	if l.damage.Load() == nil {
		if len(epochs) > 0 {
			if err := writeState(l.env.FS, l.dir, &stateFile{base: start, epochs: epochs}); err != nil {
				l.discard(t)
				return fmt.Errorf("write epoch history: %w", err)
			}
		}
		if err := l.env.Flusher.recovery.put(rec); err != nil {
			l.discard(t)
			return err
		}
	}
	l.setEpochs(epochs)
	l.startAt(start)
	l.end.Store(int64(start))
	l.view.Store(&view{segments: []*localSegment{t.seg}, tail: t})
	l.retreat(start, target{point: rec.point, facts: rec.facts})
	l.settleAll(target{point: rec.point, facts: rec.facts})
	l.owe(t, true, true, false)
	return nil
}

// harm records damage: the log will be opened, but takes no appends.
func (o *opening) harm(seg, base, next kafka.Offset, reason error) {
	if o.found.Damage != nil {
		return
	}
	d := &DamageError{Segment: seg, Base: base, Next: next, Reason: reason}
	o.damage.Store(d)
	o.found.Damage = d
	o.env.Log.Error("local log is damaged", "partition", o.partition.String(), "segment", int64(seg), "next", int64(next), "error", reason)
}

// plan decides, from names alone, which segments are the log's and where the scan begins: at the recovery point if it is in one of them.
func (o *opening) plan() error {
	bases := o.files.logs
	for _, base := range bases {
		s := newSegment(o.dir, base)
		info, err := o.env.FS.Stat(s.path)
		if err != nil {
			return err
		}
		s.size.Store(info.Size())
		o.segments = append(o.segments, s)
	}
	if !o.known {
		if o.trusted && bases[0] > o.start {
			return o.drop(0) // never flushed, and the first segment's name was lost
		}
		return nil // from the first
	}
	if bases[0] >= o.rec.offset && o.nothingLeft() { // but the empty file that showed as much before
		return nil
	}
	for o.from < len(bases) && bases[o.from] < o.rec.base {
		o.from++
	}
	o.findMissing()
	if from := max(o.start, o.rec.start); bases[0] > from && !o.rec.resetting {
		o.env.Log.Error("local segments are missing at the front: the log starts behind them", "partition", o.partition.String(), "from", int64(from), "to", int64(bases[0]))
	}
	switch {
	case o.from < len(bases) && bases[o.from] == o.rec.base:
	case o.rec.pos == 0:
		// The segment that begins at the recovery point never came to disk; what follows it cannot be contiguous.
		return o.drop(o.from)
	case o.from == 0:
		// The front is missing, and what was flushed of the recovery point's segment with it: the log starts later.
	case o.from == len(bases):
		o.harm(o.rec.base, o.rec.base, o.rec.offset, errors.New("segment is missing"))
	default:
		o.harm(o.rec.base, o.rec.base, bases[o.from], errors.New("segment is missing"))
	}
	return nil
}

// findMissing looks for a state file without its segment among those below the recovery point, whose names are durable: the
// segment is missing in the middle. (One that is missing together with its state is found when it is read.)
func (o *opening) findMissing() {
	bases := o.files.logs
	for _, base := range o.files.states {
		i, found := slices.BinarySearch(bases, base)
		if !found && i > 0 && i < len(bases) && base < o.rec.base {
			o.harm(base, base, bases[i], errors.New("segment is missing"))
		}
	}
}

// drop removes the segments from i on, with their states.
func (o *opening) drop(i int) error {
	for n := len(o.segments) - 1; n >= i; n-- {
		s := o.segments[n]
		if err := o.remove(s.base, logSuffix); err != nil {
			return err
		}
		o.found.Truncated += s.size.Load()
	}
	o.segments = o.segments[:i]
	o.files.logs = o.files.logs[:i]
	return nil
}

// finish cuts what is not whole, makes durable what is kept, and publishes the log.
func (o *opening) finish() error {
	s := o.segments[len(o.segments)-1]
	if err := errors.Join(o.dropStates(), o.recheck()); err != nil {
		return err
	}
	f, err := o.env.FS.OpenRW(s.path)
	if err != nil {
		return err
	}
	h := o.newTailFile(f)
	if torn := s.size.Load() - o.reached.pos; torn > 0 && o.found.Damage == nil {
		err := o.willChange()
		if err == nil {
			err = f.Truncate(o.reached.pos)
		}
		if err != nil {
			h.Release()
			return fmt.Errorf("cut torn tail: %w", err)
		}
		o.found.Truncated += torn
	}
	if o.changed || o.found.Scanned > 0 {
		if err := o.flushScanned(h); err != nil {
			h.Release()
			return err
		}
	}
	s.file.Store(h)
	if o.last.created == 0 && o.reached.pos > 0 {
		o.last.created = o.now()
	}
	o.publishOpened(s, h)
	o.found.Clean = o.found.Scanned == 0 && o.found.Truncated == 0 && o.found.Damage == nil
	if err := errors.Join(o.putPoint(), o.loadState()); err != nil {
		o.detach()
		h.Release()
		return err
	}
	return nil
}

// putPoint records what the scan has found, so that the next crash does not scan it again; never over damage, which the old point shows.
func (o *opening) putPoint() error {
	if o.found.Damage != nil || o.known && o.pending.flushed.point == o.rec.point {
		return nil
	}
	return o.env.Flusher.recovery.put(o.pointOf(o.pending.flushed))
}

func (o *opening) publishOpened(s *localSegment, h *handle) {
	end := o.reached
	if o.known {
		end.offset = max(end.offset, o.rec.offset) // after damage: no offset is given twice
	}
	t := newTail(s, h, o.begun, o.last)
	t.end = end
	t.entries = o.recovered.entries
	if len(t.entries) > 0 {
		shown := t.entries
		t.index.Store(&shown)
	}
	s.size.Store(end.pos)
	s.next.Store(int64(end.offset))
	if end != o.begun {
		r := newRing(end)
		t.ring.Store(r)
	}
	o.setEpochs(o.epochs)
	o.startAt(o.segments[0].base)
	o.end.Store(int64(end.offset))
	o.loadCleaned()
	o.view.Store(&view{segments: o.segments, tail: t})
	o.settleAll(target{point: point{end.offset, s.base, end.pos}, facts: o.last})
	o.pending.reached = o.pending.flushed
	o.owe(t, true, true, false) // a killed process may have created the file without flushing its name
}

// flushScanned makes what the scan has kept durable: it may have been in the page cache only. Logs that open at the same time share one flush.
func (o *opening) flushScanned(active *handle) error {
	files := []syncer{active}
	for _, s := range o.segments[min(o.from, len(o.segments)-1):] {
		if s.base == o.segments[len(o.segments)-1].base {
			continue
		}
		h, err := s.acquire(&o.env)
		if err != nil {
			return err
		}
		defer h.Release()
		files = append(files, h)
	}
	return o.env.Flusher.barrier(files, []string{o.dir})
}
