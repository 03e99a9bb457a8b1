package partition

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// A roll for retention's sake, beside appends, would snapshot a producer state that lacks the last batch: after a restart
// its retry is appended a second time. (Or crash: the state is a map.)
func TestRollBesideAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const producers = 200
		w := newWorld(t, nil)
		var rolling sync.WaitGroup
		rolling.Go(func() {
			for range producers {
				if err := w.p.Log().Local().Roll(); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for id := range kafka.ProducerID(producers) {
			w.p.Produce(from(id, 0, 0, 1), nil, 1, time.Minute, &answers{}, 0) // answered when written: in the order of offsets
		}
		rolling.Wait()
		synctest.Wait()
		w.reopen()
		for id := range kafka.ProducerID(producers) {
			w.must(from(id, 0, 0, 1), kafka.Offset(id))
		}
		w.close()
	})
}
