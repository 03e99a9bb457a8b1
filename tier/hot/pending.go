package hot

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/qanat-io/qanat/wire/kafka"
)

// target is a place in a log, and what is known of its segment up to there.
type target struct {
	point
	facts
	generation uint64
}

// pending is what a log still owes to the disk, shared between its writer and
// the flusher. Its mutex is held for nanoseconds only, never over I/O.
type pending struct {
	mu         sync.Mutex
	queued     bool         // in the flusher's dirty list
	detached   bool         // closed: owes nothing any more
	generation uint64       // counts truncations: a flush that began before one promises nothing after it
	start      kafka.Offset // Log.start as recovery points have it: what it is about to be, while segments are released
	reached    target       // what was written
	flushed    target       // what is on disk; Log.flushed is its offset
	files      []*handle
	names      bool
	unstaged   bool // something was written that the journal does not have
}

// owe records that the tail's end was written, and asks for a flush unless async. staged: what was written is staged in the journal.
func (l *Log) owe(t *tail, staged, names, ask bool) {
	p := &l.pending
	p.mu.Lock()
	p.reached = target{point{t.end.offset, t.seg.base, t.end.pos}, t.known, p.generation}
	if !slices.Contains(p.files, t.file) && t.file.acquire() {
		p.files = append(p.files, t.file)
	}
	p.names = p.names || names
	p.unstaged = p.unstaged || !staged
	ask = ask && !p.queued
	p.queued = p.queued || ask
	p.mu.Unlock()
	l.env.Flusher.appends.Add(1)
	if ask {
		l.env.Flusher.enqueue(l)
	}
}

// takePending moves what is owed into a round's item.
func (l *Log) takePending(item *flushItem) bool {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queued = false
	if p.detached {
		return false
	}
	item.upTo, item.names, item.unstaged = p.reached, p.names, p.unstaged
	item.files, p.files = append(item.files[:0], p.files...), p.files[:0]
	p.names, p.unstaged = false, false
	return true
}

// settle records that a round has made the log durable up to t, and tells whether DurableEnd grew.
func (l *Log) settle(t target) bool {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.detached || t.generation != p.generation || t.offset < p.flushed.offset {
		return false
	}
	return l.advance(t)
}

// advance publishes t as flushed; pending.mu is held.
func (l *Log) advance(t target) bool {
	l.pending.flushed = t
	l.flushed.Store(int64(t.offset))
	if int64(t.offset) <= l.durable.Load() {
		return false
	}
	l.durable.Store(int64(t.offset))
	return true
}

// flushLazily asks for a flush if something was written that nobody asked one for (async mode).
func (l *Log) flushLazily() {
	if l.queueFlush() {
		l.env.Flusher.enqueue(l)
	}
}

// reached returns the log's recovery point, if it differs from the last one written.
func (l *Log) reached(last recoveryPoint) (recoveryPoint, bool) {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	// While damaged the old point stays: it is what shows the damage when the log is opened again.
	if p.detached || p.flushed.point == last.point || l.damage.Load() != nil {
		return last, false
	}
	return l.pointOf(p.flushed), true
}

// pointOf makes the record of a flushed target. It carries the epochs that begin in the segment, and the one before them, so
// that the segment's own state file is not needed to know its epochs. pending.mu is held, or nobody else has the log.
func (l *Log) pointOf(t target) recoveryPoint {
	epochs := epochsBefore(l.Epochs(), t.offset)
	from := len(epochs)
	for from > 0 && epochs[from-1].Start >= t.base {
		from--
	}
	from = max(from-1, 0)
	return recoveryPoint{partition: l.partition, start: l.pending.start, point: t.point, facts: t.facts, epochs: epochs[from:]}
}

// retreat takes back every promise above at: flushes under way promise nothing, DurableEnd is at most at.
// to is the new place of what was written.
func (l *Log) retreat(at kafka.Offset, to target) {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation++
	to.generation = p.generation
	p.reached = to
	if p.flushed.offset > at {
		p.flushed = to
	}
	l.flushed.Store(min(l.flushed.Load(), int64(at)))
	l.durable.Store(min(l.durable.Load(), int64(at)))
}

// startAt says where the log starts, to readers and in recovery points.
func (l *Log) startAt(start kafka.Offset) {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = start
	l.start.Store(int64(start))
}

// settleAll records, without the flusher, that everything below t is on disk.
func (l *Log) settleAll(t target) (grew bool) {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropFiles()
	t.generation = p.generation
	return l.advance(t)
}

// detach ends the log's dealings with the flusher.
func (l *Log) detach() {
	l.env.Flusher.unregister(l)
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	p.detached = true
	p.dropFiles()
}

func (p *pending) dropFiles() {
	for _, h := range p.files {
		h.Release()
	}
	clear(p.files)
	p.files, p.names, p.unstaged = p.files[:0], false, false
}

// owedFiles are the files that a barrier must sync where there is no volume sync.
// They stay open at least until pending is next changed, which l.mu prevents or the caller accepts.
func (l *Log) owedFiles(t *tail) []syncer {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	files := []syncer{t.file}
	for _, h := range p.files {
		if h != t.file {
			files = append(files, h)
		}
	}
	return files
}

// parents lists the directories and all above them up to root, each once, deepest first.
func parents(root string, dirs []string) []string {
	seen := make(map[string]bool)
	var all []string
	for _, dir := range dirs {
		for d := filepath.Clean(dir); !seen[d]; d = filepath.Dir(d) {
			seen[d] = true
			all = append(all, d)
			if d == filepath.Clean(root) || d == filepath.Dir(d) {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	return all
}
