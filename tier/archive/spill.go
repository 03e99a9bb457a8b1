package archive

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Pages reads manifest pages from the bucket; *cold.Reader is one. The entries are all of the page's, also those that were trimmed.
type Pages interface {
	Page(ctx context.Context, p kafka.Partition, page manifest.Page) (manifest.Manifest, error)
}

// Spiller decides what is spilled: broker passes the quorum in.
type Spiller interface {
	// SpillSegments replaces the manifest's oldest entries by the page that holds them. manifest.ErrConflict is a final
	// refusal; other errors may be retried with the same page.
	SpillSegments(ctx context.Context, p kafka.Partition, epoch kafka.LeaderEpoch, page manifest.Page) error
}

// DefaultPageEntries is how many entries a page has: 128 GiB of segments of the default size, in 70 KB.
const DefaultPageEntries = 1024

// SpillWith lets the archive move old manifest entries to pages in the bucket, so many at a time (0: DefaultPageEntries), and read
// those that are there. A manifest with pages cannot be cared for without it. Called before Run.
func (a *Archive) SpillWith(pages Pages, s Spiller, entries int) {
	a.pages, a.spiller, a.pageEntries = pages, s, entries
	if entries <= 0 {
		a.pageEntries = DefaultPageEntries
	}
}

// spilling is a page on its way. Owned by the look, of which there is one at a time.
type spilling struct {
	page manifest.Page // Count 0: none
	key  string
	at   time.Time // when its upload began
	done bool      // the quorum has taken it; its publication is awaited
	era  int       // of the bucket (whose.era), when its upload began
}

// spill moves the oldest entries to a page when there are twice as many as one has: put, propose, and, when the manifest has it, forget.
//
// A crash between the two leaves an orphan. What was put is proposed again until the quorum has decided, but not for so long
// that some broker may take it for one.
func (a *Archive) spill(ctx context.Context, p *part, epoch kafka.LeaderEpoch, v *view) error {
	m := v.manifest
	a.mu.Lock()
	held, era := a.whose.held(), a.whose.era
	a.mu.Unlock()
	if p.spilling.page.Count > 0 && (p.spilling.era != era && !p.spilling.done || m.HoldsPage(p.spilling.page) || m.Recent() != p.spilling.page.Base || time.Since(p.spilling.at) > a.cfg.OrphanGrace/2) {
		a.forgetPage(p)
	}
	if a.spiller == nil || epoch < 0 || m.Len() < 2*a.pageEntries || p.spilling.done || held {
		return nil
	}
	if p.spilling.page.Count == 0 {
		if err := a.putPage(ctx, p, m); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, min(commitTimeout, a.cfg.OrphanGrace/4))
	defer cancel()
	page := p.spilling.page
	err := a.spiller.SpillSegments(ctx, p.id, epoch, page)
	switch {
	case errors.Is(err, manifest.ErrConflict):
		a.forgetPage(p) // a trim was faster; the object is left to a sweep
		return nil
	case err != nil:
		return fmt.Errorf("spill manifest entries [%d, %d): %w", page.Base, page.Next, err)
	}
	p.spilling.done = true
	a.log.Info("manifest entries spilled to the bucket", "topic", p.topic, "partition", p.id.Index, "from", page.Base, "to", page.Next, "entries", page.Count)
	return nil // when it is published somebody pokes, and there may be more
}

// putPage uploads a page of the oldest entries under a name never used before.
func (a *Archive) putPage(ctx context.Context, p *part, m manifest.Manifest) error {
	var uuid [16]byte
	if _, err := rand.Read(uuid[:]); err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	page, object := m.NewPage(p.id, a.pageEntries, uuid)
	s := spilling{page: page, key: page.Key(a.cfg.Cluster, p.id), at: time.Now()}
	a.mu.Lock()
	s.era = a.whose.era
	a.named[s.key] = struct{}{}
	p.uploaded = true
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	if err := a.bucket.Put(ctx, s.key, bytes.NewReader(object), int64(len(object))); err != nil {
		a.mu.Lock()
		delete(a.named, s.key)
		a.mu.Unlock()
		return fmt.Errorf("upload manifest page [%d, %d): %w", page.Base, page.Next, err)
	}
	p.spilling = s
	return nil
}

// forgetPage ends the protection of the page's object from sweeps.
func (a *Archive) forgetPage(p *part) {
	a.mu.Lock()
	delete(a.named, p.spilling.key)
	a.mu.Unlock()
	p.spilling = spilling{}
}

// loadFront reads the page whose entries retention has to judge, if there is one.
func (a *Archive) loadFront(ctx context.Context, p *part, v *view) error {
	page, ok := v.frontPage()
	if !ok {
		p.front, p.frontOf = manifest.Manifest{}, manifest.Page{}
		return nil
	}
	if p.frontOf != page {
		entries, err := a.page(ctx, p.id, page)
		if err != nil {
			return fmt.Errorf("retention: %w", err)
		}
		p.front, p.frontOf = entries, page
	}
	v.front = p.front
	return nil
}

func (a *Archive) page(ctx context.Context, p kafka.Partition, page manifest.Page) (manifest.Manifest, error) {
	if a.pages == nil {
		return manifest.Manifest{}, fmt.Errorf("manifest of %s has pages, and nobody reads them", p)
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	return a.pages.Page(ctx, p, page)
}

// removedFromPages are the objects that have left the manifest since seen with the pages that it had: entries below start, and
// pages wholly below it. What cannot be read is left to a sweep.
func (a *Archive) removedFromPages(ctx context.Context, p *part, seen manifest.Manifest, start kafka.Offset) (gone []deletion) {
	for _, page := range seen.Pages() {
		if page.Base >= start || seen.Start() >= start {
			break
		}
		entries, err := a.page(ctx, p.id, page)
		if err != nil {
			a.stats.deletesSkipped.Add(1)
			a.log.Warn("objects of a manifest page are left to a sweep", "topic", p.topic, "partition", p.id.Index, "base", page.Base, "error", err)
			continue
		}
		for _, e := range entries.All() {
			if seen.Alive(e) && e.Next <= start {
				gone = append(gone, deletion{key: e.Key(a.cfg.Cluster, p.id), size: e.Size})
			}
		}
		if page.Next <= start {
			gone = append(gone, deletion{key: page.Key(a.cfg.Cluster, p.id), size: page.Size()})
		}
	}
	return gone
}

// holds tells whether a manifest names an object, reading the page that would if it must. An object whose page cannot be read counts
// as held.
func (a *Archive) holds(ctx context.Context, p kafka.Partition, m manifest.Manifest, e manifest.Entry, r *SweepReport) (bool, error) {
	if m.Holds(e) {
		return true, nil
	}
	page, ok := m.PageOf(max(e.Base, m.Start()))
	if !ok || !m.Alive(e) {
		return false, nil
	}
	if r.unread[page] != nil {
		return true, nil
	}
	entries, err := a.page(ctx, p, page)
	if err == nil {
		return entries.Holds(e), nil
	}
	if r.unread == nil {
		r.unread = map[manifest.Page]error{}
	}
	r.unread[page] = fmt.Errorf("objects of a manifest page are not swept: %w", err)
	if len(r.unread) > maxLeft || ctx.Err() != nil {
		return true, r.left()
	}
	return true, nil
}
