package cold

import (
	"container/list"
	"context"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// pagesKept is how many manifest pages are in memory; one of 1,024 entries takes 100 KiB there.
const pagesKept = 64

// pages are the manifest pages that are known or on their way. Guarded by Reader.mu.
type pages struct {
	known map[pageID]*pageState
	used  list.List    // of those that are loaded, most recently used first
	queue []*pageState // wanted by reads, not begun
	wake  chan struct{}
	// waiting are the reads that were told ErrLoading: one at most of a reader in a partition, its last.
	waiting map[pageWait]waitingRead
}

type pageWait struct {
	stream    any
	partition kafka.Partition
}

type waitingRead struct {
	of    *pageState
	ready func()
}

type pageID struct {
	partition kafka.Partition
	page      manifest.Page
}

// pageState is one page. Its entries are those of the whole page, whatever the manifest has trimmed of it.
type pageState struct {
	id      pageID
	load    loadState
	entries manifest.Manifest // empty until loaded
	element *list.Element
	err     error // of the last try, reported until it is cool
	cool    time.Time
}

// page returns the state of a page, known or not.
func (r *Reader) page(id pageID) *pageState {
	ps := r.pages.known[id]
	if ps == nil {
		ps = &pageState{id: id}
		r.pages.known[id] = ps
	}
	return ps
}

// failure is the error of a load that failed a moment ago.
func (ps *pageState) failure() error {
	if ps.err != nil && time.Now().Before(ps.cool) {
		return ps.err
	}
	return nil
}

// touchPage makes a loaded page the last to be forgotten.
func (r *Reader) touchPage(ps *pageState) { r.pages.used.MoveToFront(ps.element) }

// resolve returns a manifest that has the offset's entry in memory: m itself, or the page's. For a page that is not here it
// returns ErrLoading, and ready is called as Read says.
func (r *Reader) resolve(p kafka.Partition, m manifest.Manifest, stream any, from kafka.Offset, ready func()) (manifest.Manifest, error) {
	if len(r.pages.waiting) > 0 {
		delete(r.pages.waiting, pageWait{stream, p})
	}
	page, ok := m.PageOf(from)
	if !ok {
		return m, nil
	}
	ps := r.page(pageID{p, page})
	if ps.entries.Len() > 0 {
		r.touchPage(ps)
		return ps.entries, nil
	}
	if err := ps.failure(); err != nil {
		return m, err
	}
	r.pages.waiting[pageWait{stream, p}] = waitingRead{ps, ready}
	if ps.load == loadNone {
		ps.load = loadQueued
		r.pages.queue = append(r.pages.queue, ps)
		select {
		case r.pages.wake <- struct{}{}:
		default:
		}
	}
	r.stats.misses.Add(1)
	return m, ErrLoading
}

// Page returns a page's entries, from memory or by one GET; those that the manifest has trimmed are among them. It blocks, bounded
// by ctx, and may be used before Run. Errors: ErrUnavailable, ErrCorrupt, ctx's.
func (r *Reader) Page(ctx context.Context, p kafka.Partition, page manifest.Page) (manifest.Manifest, error) {
	for {
		if err := ctx.Err(); err != nil {
			return manifest.Manifest{}, err
		}
		r.mu.Lock()
		ps := r.page(pageID{p, page})
		if ps.entries.Len() > 0 {
			r.touchPage(ps)
			r.mu.Unlock()
			return ps.entries, nil
		}
		if err := ps.failure(); err != nil {
			r.mu.Unlock()
			return manifest.Manifest{}, err
		}
		if ps.load != loadRunning {
			ps.load = loadRunning
			r.mu.Unlock()
			r.loadPage(ctx, ps)
			continue
		}
		done := make(chan struct{})
		key := pageWait{new(byte), p} // a reader of its own
		r.pages.waiting[key] = waitingRead{ps, func() { close(done) }}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			r.mu.Lock()
			delete(r.pages.waiting, key)
			r.mu.Unlock()
		case <-done:
		}
	}
}

// beginPages begins the loads that reads have asked for, on goroutines of Run's.
func (r *Reader) beginPages(begin func(func(context.Context))) {
	r.mu.Lock()
	queue := r.pages.queue
	r.pages.queue = nil
	n := 0
	for _, ps := range queue {
		if ps.load == loadQueued { // else Page was faster
			ps.load = loadRunning
			queue[n] = ps
			n++
		}
	}
	r.mu.Unlock()
	for _, ps := range queue[:n] {
		begin(func(ctx context.Context) { r.loadPage(ctx, ps) })
	}
}

// loadPage downloads a page, with retries, and tells who waits. When ctx ends it is as if nothing had been tried.
func (r *Reader) loadPage(ctx context.Context, ps *pageState) {
	entries, err := r.fetchPage(ctx, ps.id)
	r.mu.Lock()
	defer r.unlock()
	ps.load = loadNone
	switch {
	case err == nil:
		ps.entries, ps.err = entries, nil
		r.mended(ps.id.page.Key(r.cluster, ps.id.partition), footerBlock)
		ps.element = r.pages.used.PushFront(ps)
		for r.pages.used.Len() > pagesKept {
			last := r.pages.used.Back()
			delete(r.pages.known, r.pages.used.Remove(last).(*pageState).id)
		}
	case ctx.Err() == nil:
		r.log.Warn("manifest page cannot be read", "partition", ps.id.partition.String(), "base", ps.id.page.Base, "next", ps.id.page.Next, "error", err)
		ps.err, ps.cool = err, time.Now().Add(cooldown)
		r.broke(ps.id.page.Key(r.cluster, ps.id.partition), ps.id.partition, ps.id.page.Base, ps.id.page.Next, footerBlock, err)
		r.stats.failures.Add(1)
	}
	ps.call(r)
	if ps.entries.Len() == 0 && ps.err == nil {
		delete(r.pages.known, ps.id)
	}
}

// call wakes whoever waits for the page.
func (ps *pageState) call(r *Reader) {
	for key, w := range r.pages.waiting {
		if w.of == ps {
			r.calls = append(r.calls, w.ready)
			delete(r.pages.waiting, key)
		}
	}
}

// forgetPages ends a reader's waits for pages; it is called.
func (r *Reader) forgetPages(stream any) {
	for key, w := range r.pages.waiting {
		if key.stream == stream {
			r.calls = append(r.calls, w.ready)
			delete(r.pages.waiting, key)
		}
	}
}

func (r *Reader) fetchPage(ctx context.Context, id pageID) (entries manifest.Manifest, err error) {
	select {
	case r.lookups <- struct{}{}:
		defer func() { <-r.lookups }()
	case <-ctx.Done():
		return manifest.Manifest{}, ctx.Err()
	}
	key := id.page.Key(r.cluster, id.partition)
	buf := make([]byte, id.page.Size())
	err = r.retrying(ctx, func() error {
		if err := r.get(ctx, key, 0, buf, func(int) error { return nil }); err != nil {
			return err
		}
		if entries, err = id.page.Open(id.partition, buf); err != nil {
			return fmt.Errorf("%w: %w", segment.ErrCorrupt, err)
		}
		return nil
	})
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("manifest page %s: %w", key, err)
	}
	return entries, nil
}
