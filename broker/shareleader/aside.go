package shareleader

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/share"
)

// A share that breaks a rule of its own is set aside; see package aside.

var errAside = fmt.Errorf("%w: the share broke a rule of its own and is set aside; the broker's log says which, see \"share set aside\"", ErrNotAvailable)

// guarded runs f under the entry's lock and answers whom it answers. A panic of f sets the share aside, and no more.
func (e *entry) guarded(f func(out *share.PartitionEffects)) (broken bool) {
	var out share.PartitionEffects
	panicked := aside.Contain(&e.mu, func() { f(&out) }, func(panicked any) { e.setAside(panicked, &out) })
	if panicked != nil {
		e.l.mu.Lock()
		e.l.aside.Add(e.key, time.Now())
		e.l.mu.Unlock()
		e.l.forget(e)
		e.wakeAll()
	}
	deliver(&out)
	return panicked != nil
}

// setAside follows a panic of the share. Under mu.
func (e *entry) setAside(panicked any, out *share.PartitionEffects) {
	e.l.said.Say(slog.LevelError, "share set aside", nil, "share set aside: it broke a rule of its own, and is loaded again in a minute; this is a fault of Qanat's, please report it",
		slog.String("group", e.group), slog.Any("partition", e.at), slog.Any("panic", panicked), slog.String("stack", string(debug.Stack())))
	defer func() { _ = recover() }() // it is broken: whom it still answers is answered, the others' requests time out
	e.abort(errAside, out)
}
