package control

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// A clock that is hours off would not be found, whoever's it is; the wrong ones would be blamed; or ages would be told by it.
func TestClockIsOff(t *testing.T) {
	for _, off := range []kafka.BrokerID{1, 3} { // the controller's too
		story(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.killAll()
			by := 3 * time.Hour
			for id := kafka.BrokerID(1); id <= 3; id++ {
				w.wall = nil
				if id == off {
					w.wall = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(by) }
				}
				w.start(id)
			}
			time.Sleep(3 * time.Second)
			for id := kafka.BrokerID(1); id <= 3; id++ {
				s := w.nodes[id].session
				if got := s.Skews(); len(got) != 1 || got[0].Broker != off || (got[0].By()-by).Abs() > time.Second {
					t.Errorf("broker %d is told of %v: broker %d is %s ahead", id, got, off, by)
				}
				if d := time.Until(s.Clock.Now()).Abs(); d > time.Second {
					t.Errorf("broker %d tells ages by a clock that is %s off", id, d)
				}
			}
			w.mu.Lock()
			by = time.Second // clocks differ so much, and nobody cares
			w.mu.Unlock()
			time.Sleep(3 * time.Second)
			if got := w.nodes[2].session.Skews(); len(got) != 0 {
				t.Errorf("%v are said to be off", got)
			}
		})
	}
}

// A machine whose clock is ahead would delete what is not old: ages are told by what most say, on as the monotonic clock goes; and by
// its own clock again when that is right.
func TestClockFollowsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		is := func(what string, want time.Duration) {
			t.Helper()
			if d := time.Until(c.Now()); (d - want).Abs() > 50*time.Millisecond {
				t.Errorf("%s: %s from the machine's, not %s", what, d, want)
			}
		}
		is("nobody has said anything", 0)
		now := time.Now()
		c.tell(now.Add(-72*time.Hour).UnixMilli(), now, now)
		is("three days ahead", -72*time.Hour)
		if c.Off() != 72*time.Hour {
			t.Errorf("off by %s", c.Off())
		}
		time.Sleep(time.Hour)
		is("an hour later, nobody heard", -72*time.Hour)
		now = time.Now()
		c.tell(0, now, now)
		c.tell(now.UnixMilli(), now.Add(-time.Minute), now)
		is("who does not say, or took long", -72*time.Hour)
		c.tell(now.Add(time.Second).UnixMilli(), now, now)
		is("as good as right", 0)
	})
}

// Of two clocks nobody knows which is right: the earlier one counts, which deletes nothing too soon. Who is gone does not count.
func TestClocksOfFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, now := newClocks(), time.Now()
		here := map[kafka.BrokerID]bool{1: true, 2: true, 3: true}
		lives := func(id kafka.BrokerID) bool { return here[id] }
		if ms, off := k.look(now, lives); ms != 0 || off != nil {
			t.Error(ms, off)
		}
		k.hear(1, now.Add(time.Hour).UnixMilli(), now)
		k.hear(2, now.UnixMilli(), now)
		k.hear(3, 0, now) // an older release
		time.Sleep(time.Minute)
		now = time.Now()
		if ms, off := k.look(now, lives); ms != now.UnixMilli() || len(off) != 1 || off[0] != (Skew{1, time.Hour.Milliseconds()}) {
			t.Error(ms, now.UnixMilli(), off)
		}
		delete(here, 2)
		if ms, off := k.look(now, lives); ms != now.Add(time.Hour).UnixMilli() || off != nil {
			t.Error(ms, off)
		}
	})
}
