package shareleader

import (
	"context"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/metadata/image"
)

const (
	// sweep is how often shares that nobody uses are looked for.
	sweep = 30 * time.Second
	// linger is how long a share stays in memory after it was used.
	linger = time.Minute
)

// Run tells shares what became of their changes and lets time pass for them, until ctx ends; then everybody who waits is answered. Call it once.
func (l *Leader) Run(ctx context.Context) error {
	err := l.run(ctx)
	l.stop() // not deferred: a panic of what is no share's own has to end the process
	l.said.Flush()
	return err
}

func (l *Leader) run(ctx context.Context) error {
	ticker := time.NewTicker(sweep)
	defer ticker.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.sweep(time.Now())
		case <-timer.C:
			l.advance(time.Now())
		case <-l.alarm.wake:
		case <-l.inbox.Wake():
			for _, n := range l.inbox.Take() {
				n.e.persisted(n)
			}
			continue
		}
		if at := l.alarm.next(); !at.IsZero() {
			timer.Reset(time.Until(at))
		}
	}
}

// advance lets time pass for all shares: locks end.
func (l *Leader) advance(now time.Time) {
	l.alarm.clear()
	for _, e := range l.all() {
		due := false
		if e.with(func(_ time.Time, out *share.PartitionEffects) {
			if e.p == nil {
				return
			}
			if at := e.p.Wake(); !at.IsZero() && !now.Before(at) {
				due = true
				e.p.Advance(now, e.limits, out)
			}
		}) == nil && due {
			e.wakeOne()
		}
	}
}

// sweep forgets shares that nobody uses.
func (l *Leader) sweep(now time.Time) {
	for _, e := range l.all() {
		e.waitMu.Lock()
		awaited := len(e.waiting) > 0
		e.waitMu.Unlock()
		e.mu.Lock()
		idle := e.gone == nil && !e.busy && now.Sub(e.used) > linger && (e.p == nil || e.p.Idle())
		e.mu.Unlock()
		if idle && !awaited {
			e.drop(partition.ErrNotLeader) // whoever comes this moment finds it again
		}
	}
}

// Follow drops the shares that an image shows to be another broker's, changed by an administrator, or gone. It is given to the quorum as a
// subscriber, with what has changed.
func (l *Leader) Follow(m *image.Image) {
	for _, e := range l.all() {
		if why := l.moved(m, e); why != nil {
			e.drop(why)
		}
	}
	l.mu.Lock()
	for f := range l.pending {
		f.signal()
	}
	clear(l.pending)
	l.mu.Unlock()
}

// moved says why an image does not let an entry be what it is; nil: it does.
func (l *Leader) moved(m *image.Image, e *entry) error {
	epoch, err := l.leads(m, e.key)
	switch {
	case err != nil:
		return err
	case epoch != e.epoch:
		return partition.ErrNotLeader
	}
	// What is not as it was made durable here last, while nothing is under way, was changed by an administrator. The entry's own version may
	// also be ahead of this image, which is no news.
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := m.Share(e.group, e.at)
	if e.version != 0 && m.Index() >= e.version && !ok || ok && s.Version > e.version && e.p != nil && !e.p.Saving() {
		return partition.ErrNotLeader
	}
	return nil
}

func (l *Leader) stop() {
	l.stopped.Store(true)
	for _, e := range l.all() {
		e.drop(ErrStopped)
	}
	l.inbox.Close()
}

// note is what became of a change. A share has one under way.
type note struct {
	e      *entry
	p      *share.Partition
	seq    uint64
	result any
	err    error
}

// alarm is when Run is to look at locks: the earliest end of any, or earlier.
type alarm struct {
	mu   sync.Mutex
	at   time.Time
	wake chan struct{}
}

func (a *alarm) set(at time.Time) {
	if at.IsZero() {
		return
	}
	a.mu.Lock()
	earlier := a.at.IsZero() || at.Before(a.at)
	if earlier {
		a.at = at
	}
	a.mu.Unlock()
	if earlier {
		signal(a.wake)
	}
}

func (a *alarm) next() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

func (a *alarm) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = time.Time{}
}

// signal wakes a loop that has a one-place channel; a signal that is pending already says the same.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
