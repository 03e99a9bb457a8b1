package peer

import (
	"testing"
	"testing/synctest"
	"time"
)

// What is to run at the same time would wait for each other, or the goroutines that ran it would stay for ever: synctest takes one that is left for
// a deadlock.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkers()
		for round := range 3 {
			running, finish := make(chan struct{}), make(chan struct{})
			for range 5 {
				w.run(nil, func() { running <- struct{}{}; <-finish })
			}
			for range 5 {
				<-running // all of them, before any has ended
			}
			close(finish)
			synctest.Wait()
			time.Sleep(time.Duration(round) * idleFor / 2) // fake time: they are idle, or just gone, when the next come
		}
		time.Sleep(idleFor)
	})
}

// A goroutine would begin anew for every request, and grow its stack for each, or stay when its connection has gone.
func TestWorkersAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkers()
		gone := make(chan struct{})
		defer synctest.Wait()
		defer close(gone) // and it ends
		w.run(gone, func() {})
		synctest.Wait()
		ran := false
		select {
		case w.next <- func() { ran = true }:
		default:
			t.Error("nobody waits for the next")
		}
		synctest.Wait()
		if !ran {
			t.Error("it was not run")
		}
	})
}
