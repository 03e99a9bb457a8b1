package control

import (
	"slices"
	"strings"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// AilmentKind is what can be wrong with a partition on one broker, which the image does not show. Numbers are never used again.
type AilmentKind int

const (
	Offline    AilmentKind = 1 // its storage does not open
	Damaged    AilmentKind = 2 // it takes no records: local data is damaged that nothing else holds
	Unreadable AilmentKind = 3 // the bucket does not have, or has damaged, what its manifest names
	Unarchived AilmentKind = 4 // what is to go to the bucket has failed for a while
)

// Ailment is what is wrong with some partitions of one broker. They come to every broker by way of the controller:
//
//	heartbeat: what ails my partitions ─▸ controller: of all who are there ─▸ verdict: what ails whose
type Ailment struct {
	Broker     kafka.BrokerID `cbor:"1,keyasint,omitempty"` // the controller fills it in
	Kind       AilmentKind    `cbor:"2,keyasint"`
	Partitions int            `cbor:"3,keyasint"` // that have it
	Worst      []Ailing       `cbor:"4,keyasint,omitempty"`
}

// Ailing is one of these partitions, not as a kafka.Partition: a message is six items deep at most.
type Ailing struct {
	Topic kafka.TopicID `cbor:"1,keyasint"`
	Index int32         `cbor:"2,keyasint"`
	What  string        `cbor:"3,keyasint"`
}

// Partition is which one it is.
func (a Ailing) Partition() kafka.Partition { return kafka.Partition{Topic: a.Topic, Index: a.Index} }

// What of ailments goes with heartbeats: every broker hears of every other's once in a heartbeat interval.
const (
	ailmentsMost = 8 // kinds
	ailingMost   = 3 // partitions of a kind; all are counted
	ailingText   = 300

	// ailmentsEvery is how often a broker looks at its partitions for that.
	ailmentsEvery = 5 * time.Second
)

// trimmed is what of a broker's ailments is told on. Its text comes from anywhere, and what is no UTF-8 would have the whole heartbeat refused.
func trimmed(list []Ailment, of kafka.BrokerID) []Ailment {
	out := slices.Clone(list[:min(len(list), ailmentsMost)])
	for i := range out {
		out[i].Broker = of
		out[i].Worst = slices.Clone(out[i].Worst[:min(len(out[i].Worst), ailingMost)])
		for k := range out[i].Worst {
			what := out[i].Worst[k].What
			if len(what) > ailingText {
				what = what[:ailingText] + "…"
			}
			out[i].Worst[k].What = strings.ToValidUTF8(what, "?")
		}
	}
	return out
}

// Ailing is what ails the partitions of brokers that are there, as the controller last said; this one's own among them.
func (s *Session) Ailing() []Ailment {
	if list := s.ailing.Load(); list != nil {
		return *list
	}
	return nil
}

// ownAilments are this broker's, as of a moment ago. Run's goroutine only.
func (s *Session) ownAilments(now time.Time) []Ailment {
	if s.Ailments == nil {
		return nil
	}
	if s.looked.IsZero() || now.Sub(s.looked) >= ailmentsEvery {
		s.own, s.looked = trimmed(s.Ailments(), s.cfg.Node), now
	}
	return s.own
}

// ail notes what ails a broker's partitions, and returns what ails all that are there. c.mu is held.
func (c *Controller) ail(of kafka.BrokerID, list []Ailment) (all []Ailment) {
	delete(c.ailments, of)
	if len(list) > 0 {
		c.ailments[of] = trimmed(list, of)
	}
	for id, list := range c.ailments {
		if !c.live.lives(id) {
			delete(c.ailments, id)
			continue
		}
		all = append(all, list...)
	}
	slices.SortStableFunc(all, func(x, y Ailment) int { return int(x.Broker - y.Broker) })
	return all
}
