package coordinator

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/image"
)

// broken is a group whose rules are violated, seen as time passes.
type broken struct{ machine }

func (broken) advance(time.Time, *effects) { panic("a broken invariant") }

// A panic that comes while time passes for a group would not end the process: the broker would serve no group any more, and still be the one to ask.
func TestPanicEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQuorum(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.run(ctx)
		cfg := DefaultConfig()
		cfg.Node, cfg.Limits.InitialDelay = 1, 0
		c := New(cfg, q, slog.New(slog.DiscardHandler))
		q.subscribe(ctx, func(m *image.Image) { _ = c.Follow(m) })
		ended := make(chan any, 1)
		go func() {
			defer func() { ended <- recover() }()
			_ = c.Run(ctx)
		}()
		synctest.Wait()
		alone(t, c, "g")
		s := c.shardOf("g")
		s.mu.Lock()
		e := s.groups["g"]
		e.g = broken{e.g}
		s.mu.Unlock()
		if p := <-ended; p != "a broken invariant" { // once the member's session is over
			t.Errorf("Run ended with %v", p)
		}
	})
}
