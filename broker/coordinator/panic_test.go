package coordinator

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/hush"
)

// broken is a group whose rules are violated: as time passes, or by whoever asks for its state.
type broken struct {
	machine
	whenAsked bool
}

func (b broken) advance(now time.Time, out *effects) {
	if !b.whenAsked {
		panic("a broken invariant")
	}
	b.machine.advance(now, out)
}

func (b broken) Exists() bool {
	if b.whenAsked {
		panic("a broken invariant")
	}
	return b.machine.Exists()
}

// said is a log that is read while it is written to.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), what)
}

// breakGroup puts a broken group in the place of one that is in memory.
func breakGroup(c *Coordinator, name string, whenAsked bool) {
	s := c.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.groups[name]
	e.g = broken{e.g, whenAsked}
}

// One group that breaks its rules would take all others with it, or whoever waits in it would wait for ever, or it would not be served again.
func TestBrokenGroupIsSetAside(t *testing.T) {
	for name, whenAsked := range map[string]bool{"as time passes": false, "by who asks": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := DefaultConfig()
				cfg.Limits.InitialDelay = 0
				_, c, stop := rig(t, cfg)
				defer stop()
				synctest.Wait()
				var lines said
				c.said = hush.NewUpTo(eventLines, slog.New(slog.NewTextHandler(&lines, nil)))
				member := alone(t, c, "g")
				other := alone(t, c, "other")
				parked := make(chan group.JoinResult, 1)
				c.Join("g", ask(""), func(j group.JoinResult) { parked <- j }) // waits for the member to join again
				synctest.Wait()
				breakGroup(c, "g", whenAsked)
				if whenAsked {
					func() {
						defer func() {
							if recover() == nil {
								t.Error("who asked was answered by a broken group")
							}
						}()
						_, _ = c.Describe("g")
					}()
				} else {
					time.Sleep(cfg.Limits.MaxSession)
				}
				synctest.Wait()
				select {
				case j := <-parked:
					if !errors.Is(j.Err, group.ErrNotAvailable) {
						t.Errorf("who waited is told %v", j.Err)
					}
				default:
					t.Error("who waited is not answered")
				}
				if whenAsked { // else other's session is over by now
					if err := c.Heartbeat("g", member); !errors.Is(err, group.ErrNotAvailable) {
						t.Errorf("a group that is set aside is answered for with %v", err)
					}
					if err := c.Heartbeat("other", other); err != nil {
						t.Errorf("another group: %v", err)
					}
				}
				if n := lines.count("group set aside"); n != 1 {
					t.Errorf("%d lines say that it is set aside", n)
				}
				time.Sleep(aside.For)
				if alone(t, c, "g"); c.Serving() != nil {
					t.Error("no group is served any more")
				}
			})
		})
	}
}
