package quorum

import (
	"fmt"
	"io"
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
	fail  func(error)

	// halted is set once, when an entry cannot be applied. From then on
	// nothing is: the image stays as it was before that entry.
	halted error

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
	tx := image.Begin(f.image.Load())
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
		f.entries++
		f.bytes += len(l.Data)
	}
	next, changes := tx.Commit()
	f.publish(next, changes)
	if f.halted != nil {
		f.fail(f.halted)
	}
	f.checkSnapshot()
	return responses
}

func (f *fsm) publish(next *image.Image, changes Changes) {
	f.image.Store(next)
	f.subs.publish(next, changes)
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
	f.publish(next, image.Diff(f.image.Load(), next))
	return nil
}
