package control

import (
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// What ails a broker's partitions is not known to the others, or still is when it has passed, the broker has gone, or another is the
// controller; or text that somebody else has written, or very much of it, has the heartbeat refused.
func TestAilmentsAreKnownEverywhere(t *testing.T) {
	story(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.killAll()
		ill := Ailment{Kind: Damaged, Partitions: 500}
		for i := range 500 {
			ill.Worst = append(ill.Worst, Ailing{Topic: kafka.TopicID{9, 0xff}, Index: int32(i), What: "\xff\xfe" + strings.Repeat("é", ailingText)})
		}
		var own []Ailment // of broker 2
		for id := kafka.BrokerID(1); id <= 3; id++ {
			if w.ails = nil; id == 2 {
				w.ails = func() []Ailment { w.mu.Lock(); defer w.mu.Unlock(); return own }
			}
			w.start(id)
		}
		tell := func(list ...Ailment) {
			w.mu.Lock()
			own = list
			w.mu.Unlock()
			time.Sleep(2*ailmentsEvery + time.Second)
		}
		known := func(what string, want int) {
			t.Helper()
			for id, n := range w.nodes {
				if !n.up {
					continue
				}
				got := n.session.Ailing()
				if len(got) != want {
					t.Errorf("%s: broker %d knows %d ailments, want %d", what, id, len(got), want)
					continue
				}
				for _, a := range got {
					if a.Broker != 2 || a.Kind != Damaged || a.Partitions != 500 || len(a.Worst) != ailingMost || a.Worst[1].Index != 1 || a.Worst[1].Topic != ill.Worst[1].Topic {
						t.Errorf("%s: broker %d knows %+v", what, id, a)
					}
				}
			}
		}
		tell()
		known("all is well", 0)
		tell(ill)
		known("broker 2 is ill", 1)
		tell()
		known("it is well again", 0)
		tell(ill)
		known("it is ill again", 1)
		w.elect(3)
		time.Sleep(3 * time.Second)
		known("another is the controller", 1)
		w.kill(2)
		time.Sleep(5 * time.Second)
		known("it has gone", 0)
	})
}
