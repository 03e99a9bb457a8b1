package control

import (
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

const (
	// A broker that was silent, came back, and was silent again must wait before it may be active once more: what moves away
	// and back each time costs everybody more than its absence. The wait doubles with each time that was not long ago.
	firstHold = time.Second
	lastHold  = 8 * time.Second
	flapped   = time.Minute
)

// liveness is what the controller knows of who is there. Not safe for concurrent use; time is told to it.
type liveness struct {
	timeout time.Duration
	brokers map[kafka.BrokerID]*pulse
}

// pulse is one broker's.
type pulse struct {
	epoch kafka.BrokerEpoch
	heard time.Time
	spoke bool // heard is not only the time that it is given
	dead  bool

	silences int // that came close behind one another
	silent   time.Time
}

func newLiveness(timeout time.Duration) *liveness {
	return &liveness{timeout: timeout, brokers: map[kafka.BrokerID]*pulse{}}
}

// follow takes in who is registered. Who is new has the time of a session to be heard.
func (l *liveness) follow(m *image.Image, now time.Time) {
	for id := range l.brokers {
		if _, ok := m.Broker(id); !ok {
			delete(l.brokers, id)
		}
	}
	m.Brokers(func(b *image.Broker) bool {
		if p := l.brokers[b.ID]; p == nil || p.epoch < b.Epoch {
			l.brokers[b.ID] = &pulse{epoch: b.Epoch, heard: now}
		}
		return true
	})
}

// hear notes a heartbeat, and tells whether it is the first. A broker that was dead and is heard is not any more.
func (l *liveness) hear(id kafka.BrokerID, epoch kafka.BrokerEpoch, now time.Time) (first bool) {
	p := l.brokers[id]
	if p == nil || p.epoch != epoch {
		return false
	}
	first = !p.spoke
	p.heard, p.spoke, p.dead = now, true, false
	return first
}

// lives tells whether a broker is known and heard.
func (l *liveness) lives(id kafka.BrokerID) bool {
	p := l.brokers[id]
	return p != nil && !p.dead
}

// lastHeard says that a broker was last heard at a moment.
func (l *liveness) lastHeard(id kafka.BrokerID, t time.Time) {
	if p := l.brokers[id]; p != nil {
		p.heard = t
	}
}

// spare gives everybody the time of a session: the controller itself was not there to hear them.
func (l *liveness) spare(now time.Time) {
	for _, p := range l.brokers {
		if !p.dead {
			p.heard = now
		}
	}
}

// heardSince tells whether a broker, of whichever epoch, was heard behind a moment.
func (l *liveness) heardSince(id kafka.BrokerID, t time.Time) bool {
	p := l.brokers[id]
	return p != nil && p.heard.After(t)
}

// bury notes that a broker's process is dead, unless another has registered or it was heard since that was found. It tells
// whether that is news.
func (l *liveness) bury(id kafka.BrokerID, epoch kafka.BrokerEpoch, since time.Time) bool {
	p := l.brokers[id]
	if p == nil || p.epoch != epoch || p.dead || p.heard.After(since) {
		return false
	}
	p.dead = true
	return true
}

// expire notes who has not been heard for the time of a session, and returns them.
func (l *liveness) expire(now time.Time) (ids []kafka.BrokerID) {
	for id, p := range l.brokers {
		if !p.dead && now.Sub(p.heard) >= l.timeout {
			p.dead = true
			if now.Sub(p.silent) > flapped {
				p.silences = 0
			}
			p.silences++
			p.silent = now
			ids = append(ids, id)
		}
	}
	return ids
}

// mayActivate tells whether a broker that is heard may be active: see firstHold.
func (l *liveness) mayActivate(id kafka.BrokerID, now time.Time) bool {
	p := l.brokers[id]
	if p == nil || p.dead {
		return false
	}
	if p.silences < 2 {
		return true
	}
	hold := min(firstHold<<min(p.silences-2, 10), lastHold)
	return now.Sub(p.silent) >= hold
}

// state is a broker's in the image, Fenced when it is not there.
func state(m *image.Image, id kafka.BrokerID) command.BrokerState {
	if b, ok := m.Broker(id); ok {
		return b.State
	}
	return command.Fenced
}
