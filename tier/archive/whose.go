package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A bucket can be another one than the manifests speak of: a directory whose volume is not mounted, a new bucket of the old name. What was
// uploaded there would be missing from the right one, and the local copies gone. So before anything is uploaded it is asked for a few of
// the objects that manifests name, and again when one was missing (Doubt). One that is there will do; where none of them is, the bucket is
// left alone until it has them.
//
//	unasked ──▸ right ◂──▸ doubted      uploads, deletions, sweeps and the release of what is uploaded wait while unasked, and while wrong
//	   ├──────▸ blank                   no manifest names anything: what comes next is uploaded, and then it is the right one
//	   ├──────▸ silent                  it does not answer: uploads fail by themselves, and it is asked again
//	   └──────▸ wrong
type bucketState int

const (
	unasked bucketState = iota
	right
	doubted
	blank
	silent
	wrong
)

// whose is what is known of the bucket. Guarded by Archive.mu.
type whose struct {
	state  bucketState
	asking bool
	due    time.Time // of the next question, where one is due
	since  time.Time // it is wrong, by Archive.clock
	why    error     // why it is wrong
	// era counts the times that it was found wrong: what was uploaded in an era before may lie in another bucket, and is not committed.
	era int
}

const (
	// askEvery is the time between two questions: those of doubt, and those for a bucket that is wrong or does not answer.
	askEvery = 5 * time.Second
	// askTimeout bounds all requests of one question.
	askTimeout = 10 * time.Second
	// asked is of how many partitions the newest object is asked for, and of how many the oldest: objects of the last days may be
	// just those that went elsewhere.
	asked = 4
)

var errWrongBucket = errors.New("bucket does not hold what the metadata says")

// held tells whether the bucket is to be left alone for now.
func (w *whose) held() bool { return w.state == unasked || w.state == wrong }

// held is whose.held for those who do not have the lock.
func (a *Archive) held() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.whose.held()
}

// Held tells why nothing is uploaded, deleted and swept: the bucket is not the one that the manifests speak of. It is nil otherwise.
func (a *Archive) Held() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.whose.why
}

// Doubt tells that an object which a manifest names was not found, or the bucket itself. It is cheap, and asking often is asking once.
func (a *Archive) Doubt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.whose.state == right {
		a.whose.state = doubted
		a.signal()
	}
}

// startAsking is a part of pump.
func (a *Archive) startAsking(ctx context.Context, group *sync.WaitGroup, now time.Time) (next time.Time) {
	w := &a.whose
	if w.asking || w.state == right || w.state == blank {
		return time.Time{}
	}
	if w.due.After(now) {
		return w.due
	}
	w.asking = true
	group.Go(func() { a.ask(ctx) })
	return time.Time{}
}

// ask finds out whether the bucket is the one that the manifests speak of.
func (a *Archive) ask(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	state, why := a.lookForSome(bounded)
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.signal()
	w := &a.whose
	w.asking = false
	w.due = time.Now().Add(askEvery)
	was := w.state
	if ctx.Err() != nil {
		return
	}
	w.state = state
	if state == silent && was == wrong {
		w.state = wrong // for all that is known
	}
	switch {
	case w.state == wrong && was != wrong:
		w.why, w.since = why, a.clock()
		w.era++
		a.log.Error("bucket does not hold what the metadata says: nothing is uploaded, deleted or swept until it does, and local segments stay",
			"bucket", a.bucket.URL(), "error", why,
			"remedy", "mount its volume, or correct bucket.url; if its objects are lost, see \"Bucket lost\" in docs/operations.md")
	case w.state != wrong && was == wrong:
		w.why = nil
		a.log.Info("bucket holds what the metadata says: uploads go on", "bucket", a.bucket.URL())
		for _, p := range a.parts {
			a.pokeLocked(p)
		}
	}
}

// lookForSome asks the bucket for some of the objects that manifests name.
func (a *Archive) lookForSome(ctx context.Context) (bucketState, error) {
	missing := ""
	n := 0
	for _, o := range a.some() {
		_, err := a.bucket.Head(ctx, o.key)
		switch {
		case err == nil:
			return right, nil
		case errors.Is(err, object.ErrNoBucket): // the one that is made in its place has nothing either
			return wrong, fmt.Errorf("%w: %w", errWrongBucket, err)
		case !errors.Is(err, object.ErrNotFound):
			return silent, nil
		case o.named(a.live):
			n++
			missing = cmp.Or(missing, o.key)
		}
	}
	if n == 0 {
		return blank, nil
	}
	return wrong, fmt.Errorf("%w: none of %d objects that were asked for is there, %s among them", errWrongBucket, n, missing)
}

// sample is an object that a manifest names: a segment, or, with a Count, a page.
type sample struct {
	partition kafka.Partition
	entry     manifest.Entry
	page      manifest.Page
	key       string
}

// named tells whether it still is.
func (s sample) named(l Live) bool {
	m, _ := l.Manifest(s.partition)
	if s.page.Count > 0 {
		return m.HoldsPage(s.page)
	}
	return m.Holds(s.entry)
}

// some are the newest objects of the partitions with the newest ones, and then the oldest of those with the oldest.
func (a *Archive) some() []sample {
	var newest, oldest []sample // in the order in which they are asked for; the last is the first to go
	add := func(to []sample, s sample, before func(x, y sample) int) []sample {
		at, _ := slices.BinarySearchFunc(to, s, before)
		to = slices.Insert(to, at, s)
		return to[:min(len(to), asked)]
	}
	a.live.Each(func(p kafka.Partition, m manifest.Manifest) {
		if m.Len() == 0 {
			return
		}
		newest = add(newest, sample{partition: p, entry: m.At(m.Len() - 1)}, func(x, y sample) int { return cmp.Compare(y.entry.Uploaded, x.entry.Uploaded) })
		old := sample{partition: p, entry: m.At(0)}
		if pages := m.Pages(); len(pages) > 0 {
			old.page = pages[0]
		}
		oldest = add(oldest, old, func(x, y sample) int { return cmp.Compare(x.entry.Uploaded, y.entry.Uploaded) })
	})
	all := append(newest, oldest...)
	for i := range all {
		s := &all[i]
		if s.page.Count > 0 {
			s.key = s.page.Key(a.cfg.Cluster, s.partition)
		} else {
			s.key = s.entry.Key(a.cfg.Cluster, s.partition)
		}
	}
	return all
}
