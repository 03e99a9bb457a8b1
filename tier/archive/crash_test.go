package archive

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// False if: killing the process before or after any step (put, commit, spill, trim,
// delete, release), at any occurrence, loses data, leaves a committed entry
// without its object, a local segment deleted before publication, data that
// never gets uploaded after the restart, or an orphan that no sweep finds.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	for _, pageEntries := range []int{0, 1} {
		t.Run(fmt.Sprintf("pages of %d", pageEntries), func(t *testing.T) { crashEverywhere(t, pageEntries) })
	}
}

func crashEverywhere(t *testing.T, pageEntries int) {
	for at := 0; ; at++ {
		finished := false
		t.Run(fmt.Sprintf("step %d", at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { finished = crashAt(t, pageEntries, at) })
		})
		if finished || t.Failed() {
			if at < 50 {
				t.Fatalf("only %d steps: the scenario has lost its meaning", at)
			}
			return
		}
	}
}

// crashAt runs the scenario and kills the process at the given step; true when there was no such step.
func crashAt(t *testing.T, pageEntries, at int) (finished bool) {
	w := newWorld(t, 2)
	w.pageEntries = pageEntries
	steps, where := 0, "nowhere"
	w.crash = func(step string) bool {
		if steps++; steps-1 == at {
			where = step
			return true
		}
		return false
	}
	for _, p := range w.parts {
		p.policy.LocalRetention.Bytes = 0
		p.policy.Retention.Age = time.Hour
	}
	cfg := Config{OrphanGrace: 2 * time.Hour}
	_, stop := w.start(cfg)
	for range 4 {
		for _, p := range w.parts {
			p.log.segment(0)
		}
		after(25 * time.Minute) // the first expire before the last are written
	}
	stop()
	w.check()
	finished = !w.dead

	// Another process, over what is left.
	w.mu.Lock()
	w.dead, w.crash = false, nil
	w.mu.Unlock()
	for _, p := range w.parts {
		p.log.segment(0)
		p.policy.Retention.Age = -1
	}
	w.bucket.Clear()
	a, stop := w.start(cfg)
	defer stop()
	after(10 * time.Minute)
	w.check()
	entries := 0
	for _, p := range w.parts {
		m := p.Manifest()
		entries += len(w.entries(p)) + len(m.Pages())
		if pageEntries > 0 && len(m.Pages()) == 0 {
			t.Errorf("killed %s: nothing is spilled", where)
		}
		if m.End() != p.log.end() {
			t.Errorf("killed %s: remote ends at %d, log at %d", where, m.End(), p.log.end())
		}
		if n := len(p.log.Segments()); n != 1 {
			t.Errorf("killed %s: %d local segments", where, n)
		}
	}
	after(3 * time.Hour)
	if _, err := a.Sweep(t.Context(), cfg.OrphanGrace, false); err != nil {
		t.Error(err)
	}
	w.check()
	if n := len(w.objects()); n != entries {
		t.Errorf("killed %s: %d objects of %d entries after the sweep", where, n, entries)
	}
	return finished
}
