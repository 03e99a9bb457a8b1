package group

import (
	"encoding/binary"
	"errors"
	"time"
)

type topicSet map[string]struct{}

// readTopics recomputes what the group subscribes to, when its generation changes.
//
// nil: not known, because it is no consumer group or a member's metadata cannot be read.
func (g *Group) readTopics() {
	g.topics = nil
	if g.protocolType != ConsumerType {
		return
	}
	set := topicSet{}
	for _, m := range g.order {
		if err := readSubscription(m.metadata(g.protocol), set); err != nil {
			return
		}
	}
	g.topics = &set
}

// Subscribed tells whether the group consumes the topic. A consumer group whose subscription cannot be read is
// taken to consume everything.
func (g *Group) Subscribed(topic string) bool {
	if g.topics == nil {
		return g.protocolType == ConsumerType
	}
	_, ok := (*g.topics)[topic]
	return ok
}

var errSubscription = errors.New("consumer subscription is cut short")

// readSubscription adds the topics of a ConsumerProtocolSubscription. Every version begins as version 0 does:
// version int16, topics as an array of strings.
func readSubscription(b []byte, into topicSet) error {
	if len(b) < 6 {
		return errSubscription
	}
	if int16(binary.BigEndian.Uint16(b)) < 0 {
		return errors.New("consumer subscription has a negative version")
	}
	n := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if n < 0 || int(n) > len(b)/2 {
		return errSubscription
	}
	for range n {
		if len(b) < 2 {
			return errSubscription
		}
		l := int(int16(binary.BigEndian.Uint16(b)))
		if l < 0 || l > len(b)-2 {
			return errSubscription
		}
		into[string(b[2:2+l])] = struct{}{}
		b = b[2+l:]
	}
	return nil
}

// Expiry says from when the retention of a committed offset counts.
type Expiry uint8

const (
	KeepOffsets  Expiry = iota // none expires
	SinceCommit                // from its commit
	SinceEmpty                 // from when the group became empty
	Unsubscribed               // from its commit, for topics that the group does not subscribe to
)

// OffsetExpiry is Kafka's rule (KIP-211, KIP-496); the time goes with SinceEmpty.
func (g *Group) OffsetExpiry() (Expiry, time.Time) {
	switch {
	case g.state == Dead:
		return KeepOffsets, time.Time{}
	case g.protocolType == "":
		return SinceCommit, time.Time{}
	case g.state == Empty:
		return SinceEmpty, g.since
	case g.state == Stable && g.topics != nil:
		return Unsubscribed, time.Time{}
	}
	return KeepOffsets, time.Time{}
}
