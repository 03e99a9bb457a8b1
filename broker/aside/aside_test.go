package aside

import (
	"sync"
	"testing"
	"time"
)

// A panic would leave the lock held, or go on to the caller, or be mistaken for none; what follows it would run without the lock.
func TestContain(t *testing.T) {
	var mu sync.Mutex
	if p := Contain(&mu, func() {}, func(any) { t.Error("nothing was broken") }); p != nil {
		t.Error(p)
	}
	var seen any
	p := Contain(&mu, func() { panic("rule") }, func(p any) {
		if seen = p; mu.TryLock() {
			t.Error("the lock was free")
		}
	})
	if p != "rule" || seen != "rule" || !mu.TryLock() {
		t.Errorf("returned %v, told %v", p, seen)
	}
}

// A machine would be let in too early, or never again, or be remembered for ever.
func TestSet(t *testing.T) {
	var s Set[string]
	now := time.Now()
	s.Add("a", now)
	if !s.Has("a", now.Add(For-1)) || s.Has("b", now) || s.Has("a", now.Add(For)) {
		t.Error("set aside for another time than For")
	}
	s.Add("a", now)
	if s.Add("b", now.Add(For)); len(s.until) != 1 {
		t.Errorf("%d are remembered", len(s.until))
	}
}
