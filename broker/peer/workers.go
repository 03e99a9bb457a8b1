package peer

import "time"

// workers run functions, each in a goroutine that no other function is in. Such a goroutine stays for a while: for one that begins anew with
// every request, growing its stack is a good part of what the request costs. There are never more than ran at once within that while, and none
// that is idle outlives the connection that it was begun for.
type workers struct{ next chan func() }

// idleFor is how long a goroutine that has nothing to do stays.
const idleFor = time.Second

func newWorkers() workers { return workers{next: make(chan func())} }

// run has f run, at once, and does not wait for it. gone ends with the connection. f must not panic.
func (w workers) run(gone <-chan struct{}, f func()) {
	select {
	case w.next <- f: // taken by one that is idle
	default:
		go w.work(gone, f)
	}
}

func (w workers) work(gone <-chan struct{}, f func()) {
	idle := time.NewTimer(idleFor)
	defer idle.Stop()
	for {
		f()
		idle.Reset(idleFor)
		select {
		case f = <-w.next:
		case <-gone:
			return
		case <-idle.C:
			return
		}
	}
}
