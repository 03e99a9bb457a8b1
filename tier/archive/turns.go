package archive

import (
	"context"
	"io"
	"runtime"
)

// turns keeps uploads from taking the processors from produce requests: all of
// them together work on no more processors than all but one, a step at a time.
// A step is short (a piece of a segment read and its checksums taken, or a
// piece handed to the driver); no turn is held over the network or a write.
// Who waits is served in order. nil gives a turn to everyone.
type turns chan struct{}

func newTurns() turns { return make(turns, max(1, runtime.GOMAXPROCS(0)-1)) }

func (t turns) take(ctx context.Context) error {
	// Asked first, for a free turn and an ended context would be chosen from at random.
	if t == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turns) give() {
	if t != nil {
		<-t
	}
}

// yielding is a reader for a scan: from one read to the next, which is where the
// bytes' checksums are taken, it holds a turn. It ends with ctx.
type yielding struct {
	io.ReaderAt
	ctx   context.Context
	turns turns
	has   bool
}

func (y *yielding) ReadAt(p []byte, off int64) (int, error) {
	y.rest()
	runtime.Gosched() // other goroutines first, whether or not they wait for a turn
	if err := y.turns.take(y.ctx); err != nil {
		return 0, err
	}
	y.has = true
	return y.ReaderAt.ReadAt(p, off)
}

// rest gives the turn back, if it has one. Called when the scan is over, however it ended.
func (y *yielding) rest() {
	if y.has {
		y.turns.give()
		y.has = false
	}
}
