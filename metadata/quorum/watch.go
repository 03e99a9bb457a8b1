package quorum

import (
	"slices"
	"sync"

	"github.com/qanat-io/qanat/metadata/image"
)

// Watcher is told, behind every published image, what the entries that made it have touched; nil where nothing was, or where the image came as a
// snapshot: then restored is true, and everything may have been. It is called by the goroutine that applies entries, so it must be quick, and must
// wait for nothing that waits for the quorum, nor for who calls Watch or stops it.
type Watcher func(m *image.Image, touches []image.Touch, restored bool)

// watchers are few, and mostly none.
type watchers struct {
	// mu is held while entries are applied: whoever begins to watch begins between two images.
	mu   sync.Mutex
	list []*Watcher
}

// tell calls them. mu is held.
func (w *watchers) tell(m *image.Image, touches []image.Touch, restored bool) {
	for _, f := range w.list {
		(*f)(m, touches, restored)
	}
}

// Watch calls f for all that is applied after the image that it returns, until stop has returned.
func (q *Quorum) Watch(f Watcher) (start *image.Image, stop func()) {
	w := &q.fsm.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, &f)
	return q.Image(), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = slices.DeleteFunc(w.list, func(g *Watcher) bool { return g == &f })
	}
}
