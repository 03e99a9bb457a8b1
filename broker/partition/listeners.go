package partition

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Listener hears that a partition may have more to read: its high watermark,
// log start or leadership has moved. It must not block, and may still be called
// shortly after its cancellation.
type Listener interface{ Advanced(p *Partition) }

// listeners is a set that is walked without a lock, since that happens on
// every flush; joining and leaving copy it.
type listeners struct {
	mu  sync.Mutex
	set atomic.Pointer[[]*subscription]
}

type subscription struct{ l Listener }

// Subscribe adds l until cancel is called. Register, then look: an advance
// between the look and the registration would be missed.
func (p *Partition) Subscribe(l Listener) (cancel func()) { return p.listeners.add(l) }

// SubscribeAppends is Subscribe for a replica: it hears of records as soon as they are written.
func (p *Partition) SubscribeAppends(l Listener) (cancel func()) { return p.appended.add(l) }

func (ls *listeners) add(l Listener) (cancel func()) {
	s := &subscription{l}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var set []*subscription
	if old := ls.set.Load(); old != nil {
		set = slices.Clone(*old)
	}
	set = append(set, s)
	ls.set.Store(&set)
	return func() { ls.remove(s) }
}

func (ls *listeners) remove(s *subscription) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	old := *ls.set.Load()
	if i := slices.Index(old, s); i >= 0 {
		set := slices.Delete(slices.Clone(old), i, i+1)
		ls.set.Store(&set)
	}
}

func (ls *listeners) notify(p *Partition) {
	if set := ls.set.Load(); set != nil {
		for _, s := range *set {
			s.l.Advanced(p)
		}
	}
}
