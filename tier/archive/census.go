package archive

import (
	"slices"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Lost are objects of a partition that its manifest names and the bucket does not have.
type Lost struct {
	Partition   kafka.Partition
	Objects, Of int       // so many are missing, of so many
	At          time.Time // when the sweep that missed them ended

	end kafka.Offset // of the manifest then: behind it nothing is known to be missing
}

// Lost is what the last sweep missed, by partition. What retention or a person has given up since is left out.
func (a *Archive) Lost() []Lost {
	a.mu.Lock()
	list := a.lost
	a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(list), func(l Lost) bool {
		m, exists := a.live.Manifest(l.Partition)
		return !exists || m.Len() == 0 || m.Start() >= l.end
	})
}

// census counts, by partition, the objects that the manifests named at one moment and that a listing has shown since.
type census map[kafka.Partition]*counted

type counted struct {
	manifest manifest.Manifest
	seen     int
}

func (a *Archive) census() census {
	c := census{}
	a.live.Each(func(p kafka.Partition, m manifest.Manifest) {
		if m.Len() > 0 {
			c[p] = &counted{manifest: m}
		}
	})
	return c
}

// found notes an object that the listing has shown.
func (c census) found(p kafka.Partition, e manifest.Entry, page *manifest.Page) {
	if k := c[p]; k != nil && covers(k.manifest, e, page) && !(page == nil && e.Base < uncounted(k.manifest)) {
		k.seen++
	}
}

// covers tells whether a manifest names an object, as far as it knows without reading pages: of what lies within a page it is taken
// for granted.
func covers(m manifest.Manifest, e manifest.Entry, page *manifest.Page) bool {
	if page != nil {
		return m.HoldsPage(*page)
	}
	if m.Holds(e) {
		return true
	}
	_, paged := m.PageOf(e.Base)
	return paged
}

// uncounted is where the entries begin that are counted: those of a page that a trim has cut are in part deleted.
func uncounted(m manifest.Manifest) kafka.Offset {
	if pages := m.Pages(); len(pages) > 0 && pages[0].Base < m.Start() {
		return pages[0].Next
	}
	return m.Start()
}

// objects is how many objects a manifest names, but for those below uncounted.
func objects(m manifest.Manifest) int {
	n := m.Count() + len(m.Pages())
	if pages := m.Pages(); len(pages) > 0 && pages[0].Base < m.Start() {
		n -= int(pages[0].Count)
	}
	return n
}

// miss ends a sweep that has listed everything: it tells, and keeps, what was named and not shown.
func (a *Archive) miss(r *SweepReport) {
	at := a.clock()
	for p, k := range r.census {
		named := objects(k.manifest)
		r.Named += named
		missing := named - k.seen
		if missing <= 0 {
			continue
		}
		// Retention, a person or a deletion may have taken objects away meanwhile: the next sweep knows.
		if now, exists := a.live.Manifest(p); !exists || now.Len() == 0 || now.Start() != k.manifest.Start() {
			continue
		}
		r.Missing += missing
		r.Lost = append(r.Lost, Lost{Partition: p, Objects: missing, Of: named, At: at, end: k.manifest.End()})
	}
	slices.SortFunc(r.Lost, func(x, y Lost) int { return x.Partition.Compare(y.Partition) })
	r.census = nil
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = r.Lost
}
