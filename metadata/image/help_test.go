package image

import (
	"bytes"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world applies commands one after the other.
type world struct {
	t     testing.TB
	m     *Image
	index uint64
}

func newWorld(t testing.TB) *world { return &world{t: t, m: Empty()} }

// apply applies c under env as an entry of its own.
func (w *world) apply(env command.Envelope, c command.Command) (any, Changes, error) {
	w.index++
	next, result, ch, err := Apply(w.m, w.index, env, c)
	w.m = next
	return result, ch, err
}

// do is apply of what must succeed.
func (w *world) do(c command.Command) any {
	w.t.Helper()
	r, _, err := w.apply(command.Envelope{TimeMs: 1000}, c)
	if err != nil {
		w.t.Fatalf("%s: %v", c.Kind(), err)
	}
	return r
}

func id(n byte) kafka.TopicID { return kafka.TopicID{n, 15: 1} }

func part(n byte, i int32) kafka.Partition { return kafka.Partition{Topic: id(n), Index: i} }

func topic(n byte, name string, partitions int) command.CreateTopic {
	c := command.CreateTopic{ID: id(n), Name: name}
	for range partitions {
		c.Partitions = append(c.Partitions, []kafka.BrokerID{1, 2})
	}
	return c
}

func segment(base, next kafka.Offset, epoch kafka.LeaderEpoch) manifest.Entry {
	return manifest.Entry{Base: base, Next: next, Epoch: epoch, UUID: [16]byte{byte(base), byte(next)}, Size: 100, DataSize: 90, MaxTimestamp: int64(next)}
}

func encoded(t testing.TB, m *Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
