package shareleader

import (
	"errors"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/wire/kafka"
)

// PartitionAcks are what a member says of records of a partition.
type PartitionAcks struct {
	Partition kafka.Partition
	Acks      []share.Ack
	Err       error // it was refused before
}

// Acknowledge does what a member says of records. It has been done when it returns; answer is called once, from any goroutine, perhaps before
// that, with what became of each partition's, when all of it is durable.
func (l *Leader) Acknowledge(group, member string, of []PartitionAcks, answer func([]error)) {
	s := l.cfg.Settings(l.quorum.Image(), group)
	w := &answers{errs: make([]error, len(of)), told: make([]bool, len(of)), left: len(of) + 1, answer: answer}
	for i, a := range of {
		if a.Err != nil {
			w.set(i, a.Err)
			continue
		}
		l.acknowledge(key{group, a.Partition}, member, a.Acks, s, func(err error) { w.set(i, err) })
	}
	w.set(-1, nil)
}

func (l *Leader) acknowledge(k key, member string, acks []share.Ack, s Settings, answer func(error)) {
	for {
		e, err := l.find(k)
		if err != nil {
			if errors.Is(err, errUnknownGroup) { // nobody was given anything
				err = share.ErrRecordState
			}
			answer(err)
			return
		}
		done := false
		gone := e.with(func(now time.Time, out *share.PartitionEffects) {
			e.used, e.limits = now, s.Limits
			if e.p == nil {
				done, err = true, share.ErrRecordState
				return
			}
			done, err = e.p.Acknowledge(now, member, acks, s.Limits, share.Ticket(answer), out)
		})
		if gone != nil {
			continue // it was dropped this moment
		}
		if done {
			answer(err)
		}
		return
	}
}

// answers gathers what became of several.
type answers struct {
	mu     sync.Mutex
	errs   []error
	told   []bool // a share that is set aside may answer twice
	left   int
	answer func([]error)
}

func (w *answers) set(i int, err error) {
	w.mu.Lock()
	if i >= 0 {
		if w.told[i] {
			w.mu.Unlock()
			return
		}
		w.errs[i], w.told[i] = err, true
	}
	w.left--
	last := w.left == 0
	w.mu.Unlock()
	if last {
		w.answer(w.errs)
	}
}
