package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// SweepReport tells what a sweep found.
type SweepReport struct {
	Objects     int   // segments and manifest pages of this cluster, by their names
	Orphans     int   // of them, those that no manifest names and that are older than the grace
	Young       int   // of them, those that no manifest names yet, or any more, and that are not older
	OrphanBytes int64 // of those
	Deleted     int   // 0 after a dry run
	Keys        []string
	// MoreKeys: there were more orphans than Keys holds.
	MoreKeys bool
	// Named are the objects that the manifests named when the sweep began, Missing those of them that the listing did not show,
	// and Lost whose they are. Not told of a sweep that failed on its way.
	Named, Missing int
	Lost           []Lost

	// unread are the manifest pages that could not be read, and with that no segment of theirs be judged.
	unread map[manifest.Page]error
	// undeleted are the deletions that failed.
	undeleted []error
	census    census
}

// left is what the sweep could not do; nil when it has done all.
func (r *SweepReport) left() error {
	return errors.Join(append(slices.Collect(maps.Values(r.unread)), r.undeleted...)...)
}

// maxSweepKeys bounds the report's list.
const maxSweepKeys = 10_000

// maxLeft is how many manifest pages a sweep may find unreadable, and how many orphans it may fail to delete: with more it is the
// bucket, and the sweep ends.
const maxLeft = 4

// Sweep lists the bucket and deletes objects older than the grace that no manifest names. It touches only names that a segment of this
// cluster can have, none that an upload of this broker is using, and none
// younger than the grace, by the store's clock and this one's.
//
// The grace must be longer than any broker takes from the beginning of an
// upload to its publication. What a page names that cannot be read is left alone, and reported as an error at the end, as is
// what cannot be deleted.
// On error the report tells of what was done.
func (a *Archive) Sweep(ctx context.Context, grace time.Duration, dryRun bool) (SweepReport, error) {
	var r SweepReport
	if grace < 0 {
		return r, fmt.Errorf("sweep with a grace of %v", grace)
	}
	if err := a.Held(); err != nil {
		return r, fmt.Errorf("sweep: %w", err)
	}
	young := a.clock().Add(-grace)
	began := time.Now()
	r.census = a.census() // before the listing: what is committed later need not be in it
	var after string      // the last key of the page before
	for {
		page, more, err := a.suspects(ctx, &after, young, &r)
		if err != nil {
			return r, fmt.Errorf("sweep: %w", err)
		}
		// After the listing: an object that is older than the grace now, and is not named, will never be.
		if len(page) > 0 {
			if err := a.live.Current(ctx); err != nil {
				return r, fmt.Errorf("sweep: what exists is not known for certain: %w", err)
			}
		}
		for _, o := range page {
			if err := a.sweepObject(ctx, o, dryRun, &r); err != nil {
				return r, fmt.Errorf("sweep: %w", err)
			}
		}
		if !more {
			a.miss(&r)
			if a.observer.Swept != nil {
				a.observer.Swept(began, r.Lost)
			}
			return r, r.left()
		}
	}
}

// suspects lists on to the next page of objects that may be orphans. The
// listing is not held open over deletions; it begins anew behind the last key.
func (a *Archive) suspects(ctx context.Context, after *string, young time.Time, r *SweepReport) (page []object.Info, more bool, err error) {
	last := *after
	err = a.bucket.List(ctx, a.cfg.Cluster+"/", func(i object.Info) error {
		if i.Key <= last {
			return nil
		}
		*after = i.Key
		p, e, pg, err := a.parse(i.Key)
		if err != nil {
			return nil // neither a segment nor a manifest page: not ours to judge
		}
		r.Objects++
		if !i.Modified.Before(young) {
			r.census.found(p, e, pg)
			if m, _ := a.live.Manifest(p); !covers(m, e, pg) {
				r.Young++
			}
			return nil
		}
		if page = append(page, i); len(page) == maxSweepPage {
			return errPageFull
		}
		return nil
	})
	if errors.Is(err, errPageFull) {
		return page, true, nil
	}
	return page, false, err
}

// maxSweepPage bounds what a sweep holds in memory: most of a healthy bucket is older than the grace.
const maxSweepPage = 1 << 17

// sweepObject deletes the object if nothing names it.
func (a *Archive) sweepObject(ctx context.Context, o object.Info, dryRun bool, r *SweepReport) error {
	p, e, page, err := a.parse(o.Key)
	if err != nil {
		return nil
	}
	// This order: what is being committed is named until it is published, so one of the two always sees it.
	a.mu.Lock()
	_, named := a.named[o.Key]
	a.mu.Unlock()
	if named {
		r.census.found(p, e, page)
		return nil
	}
	if m, exists := a.live.Manifest(p); exists {
		held := page != nil && m.HoldsPage(*page)
		if page == nil {
			held, err = a.holds(ctx, p, m, e, r)
		}
		if held {
			r.census.found(p, e, page)
		}
		if held || err != nil {
			return err
		}
	}
	r.Orphans++
	r.OrphanBytes += o.Size
	if len(r.Keys) < maxSweepKeys {
		r.Keys = append(r.Keys, o.Key)
	} else {
		r.MoreKeys = true
	}
	if dryRun {
		return nil
	}
	if err := a.deleteObject(ctx, o); err != nil {
		r.undeleted = append(r.undeleted, err)
		if len(r.undeleted) > maxLeft || ctx.Err() != nil {
			return r.left()
		}
		return nil
	}
	r.Deleted++
	return nil
}

// parse reads a name that an object of this cluster can have: a segment's, or a manifest page's.
func (a *Archive) parse(key string) (p kafka.Partition, e manifest.Entry, page *manifest.Page, err error) {
	if of, pg, err := manifest.ParsePageKey(a.cfg.Cluster, key); err == nil {
		return of, e, &pg, nil
	}
	p, e, err = manifest.ParseKey(a.cfg.Cluster, key)
	return p, e, nil, err
}

// sweepNow is the sweep that Run does by itself.
func (a *Archive) sweepNow(ctx context.Context) {
	r, err := a.Sweep(ctx, a.cfg.OrphanGrace, false)
	a.stats.swept.Add(int64(r.Deleted))
	next := spread(a.cfg.SweepInterval)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		next = min(next, lastDelay)
		a.log.Warn("sweep failed", "error", err, "retry_in", next)
	case r.Deleted > 0:
		a.log.Info("orphans swept", "objects", r.Objects, "orphans", r.Orphans, "bytes", r.OrphanBytes)
	}
	if r.Missing > 0 {
		a.log.Error("objects that the metadata names are not in the bucket: what only they hold cannot be read", "missing", r.Missing, "named", r.Named,
			"partitions", len(r.Lost), "first", r.Lost[0].Partition.String(), "remedy", "bring them back (docs/operations.md, objects missing)")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweeping = false
	a.sweepDue = time.Now().Add(next)
	a.signal()
}
