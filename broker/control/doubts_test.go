package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A client that asks for the leader right after a kill would be told of the dead one, or everybody would wait for a broker that is
// slow, or cut off from this one alone.
func TestDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		d := NewDoubts(3, w.nodes[3], w.nodes[3])
		asked := func() time.Duration {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d.Settle(ctx)
			return time.Since(began)
		}
		if took := asked(); took != hop {
			t.Errorf("waited %v while everybody is there: a hop is %v", took, hop)
		}
		pings := w.nodes[3].pinged()
		for range 100 {
			go asked()
		}
		time.Sleep(10 * hop)
		if n := w.nodes[3].pinged() - pings; n > 2*2 {
			t.Errorf("%d signs of life for 100 who ask at once", n)
		}
		// Not even the connection's end is known here yet.
		w.mu.Lock()
		w.nodes[2].up = false
		w.nodes[3].hangups = 2 // when it looks: the process is just dying
		w.mu.Unlock()
		go func() {
			time.Sleep(5 * hop)
			w.kill(2)
		}()
		if took := asked(); took == 0 || took > 100*time.Millisecond {
			t.Errorf("waited %v for a dead broker to be fenced", took)
		}
		if b, _ := w.nodes[3].Image().Broker(2); b.State != command.Fenced {
			t.Error("settled before the dead broker was fenced")
		}
		w.mu.Lock()
		w.nodes[3].hangups = 0
		w.mu.Unlock()
		// A connection that closes says nothing of a broker that lives.
		w.nodes[3].closed(1)
		if took := asked(); took > 10*hop {
			t.Errorf("waited %v for a live broker", took)
		}
		// A broker that is cut off is waited for once.
		w.set(1, true)
		if took := asked(); took != signWithin+probeWithin {
			t.Errorf("waited %v for a silent broker", took)
		}
		if took := asked(); took != 0 {
			t.Errorf("waited %v again for a silent broker", took)
		}
		w.set(1, false)
		time.Sleep(signWithin)
		asked()
		time.Sleep(10 * hop)
		if took := asked(); took != hop {
			t.Errorf("waited %v for a broker that is heard again", took)
		}
		// Nobody is left to fence this one: the doubt ends all the same.
		w.elect(kafka.NoBroker)
		w.kill(1)
		if took := asked(); took > doubtFor {
			t.Errorf("waited %v while there is no controller", took)
		}
	})
}
