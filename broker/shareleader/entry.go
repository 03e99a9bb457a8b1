package shareleader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// entry is a share in memory.
//
// Locks: Leader.mu is never wanted under mu; waitMu is a leaf. The quorum is proposed to under mu, so that changes are in order.
type entry struct {
	l *Leader
	key
	log    Log
	epoch  kafka.LeaderEpoch // under which all of this is
	cancel func()            // of the subscription to the log

	mu      sync.Mutex
	p       *share.Partition // nil: where it begins is not known yet
	version uint64           // of what is durable
	limits  share.Limits     // as they were asked for last
	gone    error            // it was dropped: whoever comes looks for it anew
	busy    bool             // somebody reads the log for it, or looks where it begins
	size    int              // about how many bytes an offset takes
	used    time.Time

	waitMu  sync.Mutex
	waiting []*fetch // in the order of arrival
}

// Advanced implements partition.Listener: there may be more to read.
func (e *entry) Advanced(*partition.Partition) { e.wakeOne() }

// enlist has a fetch woken when there may be something for it. Enlist, then look.
func (e *entry) enlist(f *fetch) {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	if !slices.Contains(e.waiting, f) {
		e.waiting = append(e.waiting, f)
	}
}

// leave takes a fetch off the list; false when it was woken, and others may have to be in its place.
func (e *entry) leave(f *fetch) bool {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	i := slices.Index(e.waiting, f)
	if i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
	}
	return i >= 0
}

// wakeOne wakes who has waited for longest: that one wakes the next if there is more than it takes.
func (e *entry) wakeOne() {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	if len(e.waiting) > 0 {
		e.waiting[0].signal()
		e.waiting = slices.Delete(e.waiting, 0, 1)
	}
}

func (e *entry) wakeAll() {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	for _, f := range e.waiting {
		f.signal()
	}
	e.waiting = nil
}

// readable is the end of what may be given out.
func (e *entry) readable(committed bool) kafka.Offset {
	if committed {
		return e.log.LastStable()
	}
	return e.log.HighWatermark()
}

// with runs f on the machine under its lock and carries out what it asks for. gone: the entry was dropped.
func (e *entry) with(f func(now time.Time, out *share.PartitionEffects)) (gone error) {
	broken := e.guarded(func(out *share.PartitionEffects) {
		if gone = e.gone; gone == nil {
			f(time.Now(), out)
			e.settle(out)
		}
	})
	if broken {
		return errAside
	}
	return gone
}

// settle proposes what the machine wants kept, and has Run look when a lock ends. Under mu.
func (e *entry) settle(out *share.PartitionEffects) {
	if e.p == nil {
		return
	}
	if c := out.Change; c != nil {
		p := e.p
		e.l.quorum.ProposeAsync(command.ChangeShare{
			Group: e.group, Partition: e.at, LeaderEpoch: e.epoch, Base: e.version, Start: c.Start, Put: c.Put,
		}, func(result any, err error) { e.l.inbox.Add(note{e: e, p: p, seq: c.Seq, result: result, err: err}) })
	}
	e.l.alarm.set(e.p.Wake())
}

// deliver answers acknowledgements; no lock is held.
func deliver(out *share.PartitionEffects) {
	for _, a := range out.Answers {
		a.Ticket.(func(error))(a.Err)
	}
}

// persisted tells the machine what became of its change.
func (e *entry) persisted(n note) {
	var failed error
	broken := e.guarded(func(out *share.PartitionEffects) {
		switch {
		case e.gone != nil || e.p != n.p: // who waited has been answered
		case n.err != nil:
			failed = outcome(n.err)
			e.l.log.Warn("what has become of a share's records was not stored: it begins anew", "group", e.group, "partition", e.at, "error", n.err)
			e.abort(failed, out)
		default:
			e.version = n.result.(uint64)
			e.p.Persisted(n.seq, out)
			if s, ok := e.l.quorum.Image().Share(e.group, e.at); !ok || s.Version > e.version { // an administrator came behind it
				failed = partition.ErrNotLeader
				e.abort(failed, out)
				break
			}
			e.settle(out)
		}
	})
	switch {
	case broken: // it is out of memory already
	case failed != nil:
		e.l.forget(e)
		e.wakeAll()
	default:
		e.wakeOne()
	}
}

// abort makes the entry one that is of no use. Under mu.
func (e *entry) abort(why error, out *share.PartitionEffects) {
	e.gone = why
	if e.p != nil {
		e.p.Abort(why, out)
	}
}

// drop takes the share out of memory: it is another broker's, or there is none any more.
func (e *entry) drop(why error) {
	broken := e.guarded(func(out *share.PartitionEffects) {
		if e.gone == nil {
			e.abort(why, out)
		}
	})
	if !broken {
		e.l.forget(e)
		e.wakeAll()
	}
}

// outcome is a proposal's error in this package's words: that another leader, or an administrator, has the share now, is what Kafka calls not
// to be the leader any more.
func outcome(err error) error {
	switch {
	case errors.Is(err, image.ErrStaleEpoch), errors.Is(err, image.ErrShareChanged):
		return fmt.Errorf("%w: %w", partition.ErrNotLeader, err)
	case errors.Is(err, image.ErrUnknownGroup), errors.Is(err, image.ErrUnknownPartition), errors.Is(err, image.ErrLevel):
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotAvailable, err)
}

// begin looks where a share begins that there is nothing of yet, and makes that durable before anything is given out: who leads next must not
// begin elsewhere. The caller has set busy.
func (e *entry) begin(ctx context.Context, s Settings) error {
	listed, err := e.log.ListOffset(ctx, s.Reset(time.Now()), s.Committed)
	start := listed.Offset
	if err == nil && start < 0 { // nothing is as young as that: what comes next
		start = e.log.HighWatermark()
	}
	gone := e.with(func(_ time.Time, out *share.PartitionEffects) {
		if e.busy = false; err == nil {
			e.p = share.NewPartition(start)
			e.p.Begin(out)
		}
	})
	if errors.Is(err, partition.ErrOffsetNotAvailable) { // of a new leader; the high watermark's advance is news
		return gone
	}
	return errors.Join(err, gone)
}
