package consumer

import (
	"encoding/binary"
	"errors"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What members of the classic protocol tell each other, and the broker must understand to serve them in a consumer group: the subscription in their
// metadata, and the assignment. Both begin with a version; what a later one adds stands behind.

// newestEmbedded is the newest version that is written.
const newestEmbedded = 3

var errEmbedded = errors.New("metadata of a consumer is cut short")

// subscription is a ConsumerProtocolSubscription, as far as it counts here. Topics are by name.
type subscription struct {
	version int16
	topics  []string
	owned   []namedPartitions
	rack    string
}

type namedPartitions struct {
	topic      string
	partitions []int32
}

// cutter takes fields off bytes; the first that is not there ends it. Counts are checked against what is left.
type cutter struct {
	b   []byte
	bad bool
}

func (c *cutter) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cutter) int16() int16 {
	if b := c.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (c *cutter) int32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// count is an array's length, of elements with at least so many bytes.
func (c *cutter) count(each int) int {
	n := int(c.int32())
	if n < 0 || n > len(c.b)/each {
		c.bad = c.bad || n > 0
		return 0
	}
	return n
}

func (c *cutter) text() string { return string(c.take(int(c.int16()))) }

// bytes skips nullable bytes.
func (c *cutter) bytes() {
	if n := c.int32(); n > 0 {
		c.take(int(n))
	}
}

func (c *cutter) named() []namedPartitions {
	out := make([]namedPartitions, 0, c.count(6))
	for range cap(out) {
		p := namedPartitions{topic: c.text()}
		for range c.count(4) {
			p.partitions = append(p.partitions, c.int32())
		}
		if c.bad {
			return nil
		}
		out = append(out, p)
	}
	return out
}

func readSubscription(b []byte) (s subscription, err error) {
	c := &cutter{b: b}
	s.version = c.int16()
	for range c.count(2) {
		s.topics = append(s.topics, c.text())
	}
	c.bytes() // of the client's assignor
	if s.version >= 1 {
		s.owned = c.named()
	}
	if s.version >= 2 {
		c.int32() // the generation in which it owned them
	}
	if s.version >= 3 {
		if n := c.int16(); n > 0 {
			s.rack = string(c.take(int(n)))
		}
	}
	if c.bad || s.version < 0 {
		return subscription{}, errEmbedded
	}
	return s, nil
}

// readAssignment reads a ConsumerProtocolAssignment; none is an empty one.
func readAssignment(b []byte) ([]namedPartitions, error) {
	if len(b) == 0 {
		return nil, nil
	}
	c := &cutter{b: b}
	if c.int16() < 0 {
		c.bad = true
	}
	out := c.named()
	if c.bad {
		return nil, errEmbedded
	}
	return out, nil
}

// setOfNames finds the partitions that exist.
func setOfNames(topics image.Topics, named []namedPartitions) assign.Set {
	var ps []kafka.Partition
	for _, n := range named {
		if t, ok := topics.ByName(n.topic); ok {
			for _, p := range n.partitions {
				ps = append(ps, kafka.Partition{Topic: t.ID, Index: p})
			}
		}
	}
	return assign.SetOf(ps)
}

// writeAssignment is a ConsumerProtocolAssignment without user data, in the version that the member speaks.
func writeAssignment(version int16, topics image.Topics, s assign.Set) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(min(max(version, 0), newestEmbedded)))
	b = append(b, 0, 0, 0, 0) // how many topics
	n := uint32(0)
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && s[end].Topic == s[i].Topic {
			end++
		}
		if t, ok := topics.ByID(s[i].Topic); ok { // else it was deleted a moment ago
			n++
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(t.Name))), t.Name...)
			b = binary.BigEndian.AppendUint32(b, uint32(end-i))
			for _, p := range s[i:end] {
				b = binary.BigEndian.AppendUint32(b, uint32(p.Index))
			}
		}
		i = end
	}
	binary.BigEndian.PutUint32(b[2:], n)
	return append(b, 0xff, 0xff, 0xff, 0xff) // no user data
}
