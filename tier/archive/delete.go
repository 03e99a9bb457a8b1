package archive

import (
	"context"
	"errors"
	"time"

	"github.com/qanat-io/qanat/tier/object"
)

// deletion is an object, or everything below a prefix, that is to leave the bucket.
type deletion struct {
	key, prefix string
	size        int64
}

// deletes is the queue of objects that no manifest names any more.
type deletes struct {
	queue     []deletion
	running   bool
	failures  int
	notBefore time.Time
}

// maxDeletes bounds the queue. What does not fit is left to a sweep.
const maxDeletes = 1 << 16

func (d *deletes) add(what deletion, stats *counters) {
	if len(d.queue) >= maxDeletes {
		stats.deletesSkipped.Add(1)
		return
	}
	d.queue = append(d.queue, what)
}

// deleteSome works the queue off, one request at a time, until it is empty or
// the bucket fails. Deleting is never urgent. What fails goes to the queue's end: one object that cannot be deleted, for a lock
// on it, say, keeps no other.
func (a *Archive) deleteSome(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.signal()
	d := &a.deletes
	defer func() { d.running = false }()
	for len(d.queue) > 0 && ctx.Err() == nil {
		what := d.queue[0]
		a.mu.Unlock()
		err := a.delete(ctx, what)
		a.mu.Lock()
		d.queue[0] = deletion{}
		d.queue = d.queue[1:]
		if err != nil {
			d.queue = append(d.queue, what)
			if ctx.Err() == nil {
				d.failures++
				d.notBefore = time.Now().Add(delay(d.failures))
				a.stats.deleteFailures.Add(1)
				a.log.Warn("object was not deleted", "error", err, "queued", len(d.queue), "retry_in", time.Until(d.notBefore))
			}
			return
		}
		d.failures = 0
	}
}

// deleteTimeout bounds one request; listing a deleted partition may take many of them.
const deleteTimeout = time.Minute

func (a *Archive) delete(ctx context.Context, what deletion) error {
	if what.prefix == "" {
		return a.deleteObject(ctx, object.Info{Key: what.key, Size: what.size})
	}
	for {
		// A page's worth at a time: no listing is open while objects are deleted, and memory is bounded.
		var page []object.Info
		err := a.bucket.List(ctx, what.prefix, func(i object.Info) error {
			if page = append(page, i); len(page) == 1000 {
				return errPageFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errPageFull) {
			return err
		}
		for _, i := range page {
			if err := a.deleteObject(ctx, i); err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
	}
}

var errPageFull = errors.New("page is full")

func (a *Archive) deleteObject(ctx context.Context, o object.Info) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	if err := a.bucket.Delete(ctx, o.Key); err != nil {
		return err
	}
	a.stats.deletions.Add(1)
	a.stats.deletedBytes.Add(o.Size)
	if a.observer.Deleted != nil {
		a.observer.Deleted(o.Key, o.Size)
	}
	return nil
}
