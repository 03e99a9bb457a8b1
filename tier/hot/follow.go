package hot

import (
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What a follower needs beyond what a leader does: appends whose flush it asks for itself, once for many logs.

// AppendQuiet is Append without asking for a flush: FlushLogs does, or whatever else asks for one.
func (l *Log) AppendQuiet(batches []batch.View) error {
	if len(batches) == 0 {
		return nil
	}
	l.mu.Lock()
	ask := l.cfg.Async
	err := l.appendTo(batches, false)
	l.mu.Unlock()
	if err == nil && ask {
		l.onDurable(l.DurableEnd())
	}
	return err
}

// FlushLogs makes what was written to the logs durable, on the caller's goroutine: they share one flush, with each other and
// with whatever else waits for one. Like Flush it makes the callbacks, so the caller holds no lock that they want.
func (f *Flusher) FlushLogs(logs []*Log) error {
	f.mu.Lock()
	for _, l := range logs {
		if l.queueFlush() {
			f.dirty = append(f.dirty, l)
		}
	}
	f.mu.Unlock()
	return f.Flush()
}

// queueFlush notes that the log is about to be put on the flusher's list; false when it is there or owes nothing.
func (l *Log) queueFlush() bool {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	ask := !p.queued && !p.detached && (p.reached.offset > p.flushed.offset || p.names)
	p.queued = p.queued || ask
	return ask
}

// LatestState is the newest snapshot that the log has beside its segments, with the offset that it speaks of; nil when it has none.
func (l *Log) LatestState() (blob []byte, at kafka.Offset, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	segments := l.view.Load().segments
	for i := len(segments) - 1; i >= 0; i-- {
		state, err := readState(l.env.FS, l.dir, segments[i].base)
		if err != nil {
			l.env.Log.Warn("state file not usable", "partition", l.partition.String(), "error", err)
			continue
		}
		if state != nil && state.blob != nil {
			return state.blob, segments[i].base, nil
		}
	}
	return nil, l.Start(), nil
}

// StateAt is the snapshot as of the border between two of the log's segments; nil when there is none.
func (l *Log) StateAt(base kafka.Offset) []byte { return l.blobAt(base) }
