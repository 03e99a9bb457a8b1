package api

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Semantic bounds on what one request may ask for. Frames are capped elsewhere; these stop a small frame from asking for a
// lot of work.
const (
	maxTopicsPerRequest     = 10_000  // created, deleted or grown at once
	maxPartitionsPerRequest = 10_000  // created at once; Kafka's bound
	maxFetchPartitions      = 200_000 // in one fetch or one fetch session
	maxResources            = 10_000  // described or altered at once
)

// maxTopicName is Kafka's longest topic name.
const maxTopicName = 249

// checkTopicName applies Kafka's rules: 1 to 249 of [a-zA-Z0-9._-], neither "." nor "..".
func checkTopicName(name string) error {
	switch {
	case name == "":
		return refuse(kerr.InvalidTopicException, "topic name is empty")
	case name == "." || name == "..":
		return refuse(kerr.InvalidTopicException, "topic name %q is not allowed", name)
	case len(name) > maxTopicName:
		return refuse(kerr.InvalidTopicException, "topic name has %d characters, more than %d", len(name), maxTopicName)
	}
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return refuse(kerr.InvalidTopicException, "topic name %q has characters other than ASCII letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

// mayCollide tells whether another legal name can have the same metric name: Kafka's metrics print '.' as '_'.
func mayCollide(name string) bool { return strings.ContainsAny(name, "._") }

// metricName is the form in which colliding names are equal.
func metricName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// find by name or id, with the errors that belong to each.

// topicNamed finds a topic by name.
func topicNamed(m *image.Image, name string) (*image.Topic, error) {
	if t, ok := m.TopicByName(name); ok {
		return t, nil
	}
	if t := statelog.Named(name); t != nil {
		return nil, refuseInternal(t)
	}
	return nil, refuse(kerr.UnknownTopicOrPartition, "topic %q does not exist", name)
}

// topicWithID finds a topic by id.
func topicWithID(m *image.Image, id kafka.TopicID) (*image.Topic, error) {
	if t, ok := m.TopicByID(id); ok {
		return t, nil
	}
	if t := statelog.WithID(id); t != nil {
		return nil, refuseInternal(t)
	}
	return nil, refuse(kerr.UnknownTopicID, "no topic has the id %s", id)
}

// The errors of leading; values, because a fetch meets them on its fast path.
var (
	errNoPartition = refuse(kerr.UnknownTopicOrPartition, "the topic has no such partition")
	errNotHosted   = refuse(kerr.NotLeaderForPartition, "this broker does not lead the partition")
)

// leading finds the partition of a topic that this broker leads.
func (h *Handler) leading(t *image.Topic, index int32) (leader, error) {
	if index < 0 || index >= t.Partitions {
		return nil, errNoPartition
	}
	p := h.find(kafka.Partition{Topic: t.ID, Index: index})
	if p == nil {
		return nil, errNotHosted
	}
	return p, nil
}

// leadingAt is leading by the topic's name, in the epoch that a client believes in; kafka.NoEpoch is any.
func (h *Handler) leadingAt(m *image.Image, topic string, index int32, epoch kafka.LeaderEpoch) (leader, error) {
	t, err := topicNamed(m, topic)
	if err != nil {
		return nil, err
	}
	l, err := h.leading(t, index)
	if err != nil {
		return nil, err
	}
	return l, l.CheckEpoch(epoch)
}
