package statelog

import (
	"fmt"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// many is a cluster with a thousand groups of a thousand offsets.
func many(b *testing.B) (*cluster, kafka.TopicID) {
	c := newCluster(b)
	c.on(1)
	topic := c.topic("orders", 1000)
	for g := range 1000 {
		var commands []command.Command
		for p := range int32(1000) {
			commands = append(commands, commit(fmt.Sprint("group-", g), topic, p, 1))
		}
		c.entry(commands...)
	}
	return c, topic
}

// BenchmarkOpen opens one partition of a million committed offsets' fifty.
func BenchmarkOpen(b *testing.B) {
	c, _ := many(b)
	l := New(1, c)
	for b.Loop() {
		l.offsets[0].HighWatermark()
		l.offsets[0].forget()
	}
}

// BenchmarkTouched is what one commit costs who applies entries while every partition is read.
func BenchmarkTouched(b *testing.B) {
	c, topic := many(b)
	l := New(1, c)
	l.each(func(p *Partition) { p.HighWatermark() })
	m := c.Image()
	touches := make([]image.Touch, 1000)
	index := c.index
	for b.Loop() {
		index++
		for i := range touches {
			touches[i] = image.Touch{Index: index, Kind: image.TouchOffset, Name: fmt.Sprint("group-", i), Partition: kafka.Partition{Topic: topic}, Topic: "orders"}
		}
		l.touched(m, touches, false)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/commit")
}
