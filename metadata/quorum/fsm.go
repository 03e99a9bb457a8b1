package quorum

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// answer is what became of one command.
type answer struct {
	result any
	err    error
}

// fsm holds the image under Raft. Raft calls Apply, ApplyBatch, Snapshot and
// Restore from one goroutine.
type fsm struct {
	image atomic.Pointer[image.Image]
	subs  subscribers
	watch watchers
	fail  func(error)

	// halted is set once, when an entry cannot be applied. From then on
	// nothing is: the image stays as it was before that entry.
	halted error

	// spread is told of what was applied. nil in tests.
	spread *spread

	// expected is what this node's proposer waits to see applied.
	expected atomic.Pointer[expectation]

	mu       sync.Mutex
	advanced chan struct{} // closed and replaced when an image is published; nil while nobody waits

	// due says that a snapshot is worth making; capacity 1, a hint.
	due     chan struct{}
	entries uint64 // applied since the last snapshot was due
	bytes   int    // of them
	limit   uint64 // of entries

	// newest is what is known of the newest snapshot.
	newest struct {
		index atomic.Uint64 // the last command that it holds
		bytes atomic.Int64
	}
}

const (
	// snapshotLogBytes is by how much the log may grow between snapshots, whatever the number of entries.
	snapshotLogBytes = 64 << 20

	// snapshotPatience times Config.SnapshotEntries is how many entries a restart may have to apply.
	snapshotPatience = 8
)

func newFSM(fail func(error), snapshotEntries uint64) *fsm {
	f := &fsm{fail: fail, due: make(chan struct{}, 1), limit: snapshotEntries}
	f.image.Store(image.Empty())
	return f
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: all entries become one new image.
// The response to an entry is []answer, one per command.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	if f.halted != nil {
		return responses // none is a []answer: nobody takes them for success
	}
	f.watch.mu.Lock()
	defer f.watch.mu.Unlock()
	tx := image.Begin(f.image.Load())
	if len(f.watch.list) > 0 {
		tx.Trace()
	}
	expected := f.expected.Load()
	var outcome []answer
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		proposals, err := command.Decode(l.Data)
		if err != nil {
			f.halted = fmt.Errorf("metadata log, entry %d: %w", l.Index, err)
			break
		}
		answers := make([]answer, len(proposals))
		for n, p := range proposals {
			answers[n].result, answers[n].err = tx.Apply(l.Index, p.Envelope, p.Command)
		}
		responses[i] = answers
		if expected != nil && len(proposals) > 0 && expected.is(proposals[0].Envelope) {
			outcome = answers
		}
		f.entries++
		f.bytes += len(l.Data)
	}
	next, changes := tx.Commit()
	f.publish(next, changes)
	f.watch.tell(next, tx.Touches(), false)
	if outcome != nil {
		expected.met(outcome)
	}
	if f.halted != nil {
		f.fail(f.halted)
	} else if f.spread != nil {
		f.spread.applied(logs[len(logs)-1])
	}
	f.checkSnapshot()
	return responses
}

func (f *fsm) publish(next *image.Image, changes Changes) {
	f.image.Store(next)
	f.mu.Lock()
	if f.advanced != nil {
		close(f.advanced)
		f.advanced = nil
	}
	f.mu.Unlock()
	f.subs.publish(next, changes)
}

// reached waits until the image holds the entry at index.
func (f *fsm) reached(ctx context.Context, index uint64) error {
	for {
		f.mu.Lock()
		if f.advanced == nil {
			f.advanced = make(chan struct{})
		}
		advanced := f.advanced
		f.mu.Unlock()
		if f.image.Load().Index() >= index {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expectation is an entry of this node's on its way. Whoever leads, its answers are computed here as everywhere.
type expectation struct {
	session, first uint64
	answers        chan []answer // capacity 1
	skipped        chan struct{} // capacity 1: a snapshot has come, perhaps in the entry's place
}

func expect(session, first uint64) *expectation {
	return &expectation{session: session, first: first, answers: make(chan []answer, 1), skipped: make(chan struct{}, 1)}
}

// is tells whether an entry is the expected one, or a copy of it.
func (e *expectation) is(env command.Envelope) bool {
	return env.Session == e.session && env.Request == e.first
}

func (e *expectation) met(a []answer) {
	select {
	case e.answers <- a:
	default: // a copy
	}
}

// checkSnapshot asks for a snapshot when there are entries enough, and writing
// it costs no more than the log did meanwhile: a large image is not written
// again for a few small entries, until a restart would take too long over them.
func (f *fsm) checkSnapshot() {
	last := int(f.newest.bytes.Load())
	worth := f.entries >= f.limit && f.bytes >= last
	if !worth && f.entries < snapshotPatience*f.limit && f.bytes < max(snapshotLogBytes, last) {
		return
	}
	f.entries, f.bytes = 0, 0
	select {
	case f.due <- struct{}{}:
	default: // one is asked for already
	}
}

func (f *fsm) subscribe(call func(old, new *image.Image, ch Changes)) *image.Image {
	return f.subs.add(&f.image, call)
}

func (f *fsm) closeSubscribers() { f.subs.close() }

// Snapshot implements raft.FSM: it captures a pointer.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.halted != nil {
		// Raft believes that the entry was applied: a snapshot would hide that it was not.
		return nil, f.halted
	}
	return snapshot{image: f.image.Load(), of: f}, nil
}

// snapshot is an image on its way to disk.
type snapshot struct {
	image *image.Image
	of    *fsm // told when it has arrived
}

// count counts the bytes that pass by.
type count int64

func (c *count) Write(p []byte) (int, error) { *c += count(len(p)); return len(p), nil }

// Persist implements raft.FSMSnapshot. The sink syncs file and directory when it is closed.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	var size count
	if err := s.image.Encode(io.MultiWriter(sink, &size)); err != nil {
		if cancelErr := sink.Cancel(); cancelErr != nil {
			return fmt.Errorf("%w; and cancel: %w", err, cancelErr)
		}
		return err
	}
	if err := sink.Close(); err != nil {
		return err
	}
	s.of.newest.index.Store(s.image.Index())
	s.of.newest.bytes.Store(int64(size))
	return nil
}

// Release implements raft.FSMSnapshot.
func (s snapshot) Release() {}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	if f.halted != nil {
		return f.halted
	}
	var size count
	next, err := image.Decode(io.TeeReader(r, &size))
	if err != nil {
		return err
	}
	f.newest.index.Store(next.Index())
	f.newest.bytes.Store(int64(size))
	f.watch.mu.Lock()
	f.publish(next, image.Diff(f.image.Load(), next))
	f.watch.tell(next, nil, true)
	f.watch.mu.Unlock()
	if e := f.expected.Load(); e != nil {
		select {
		case e.skipped <- struct{}{}:
		default:
		}
	}
	return nil
}
