package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A client that follows a hint faster than the news of it (KIP-951) would be sent away, and lose a quarter of a second.
func TestHintsBeforeTheNews(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	l := s.log(id, 0)
	// The image names this broker as the leader; the partition has not followed yet. It does when it is looked for again.
	heard := make(chan struct{})
	close(heard)
	s.followed = func() <-chan struct{} {
		if l.LeaderEpoch() < 0 {
			l.change(func() { l.epoch = 0 })
		}
		return heard
	}
	l.change(func() { l.epoch = -1 })
	if p := ask[*kmsg.ProduceResponse](s, produceRequest(id, 1, 0), 13).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("%+v", p)
	}
	l.change(func() { l.epoch = -1 })
	req := fetchRequest(0, finalEpoch, 0, wanted{id, 0, 0})
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
	if p := parts(s.fetchNow(req)); p[0].ErrorCode != 0 {
		t.Errorf("%+v", p)
	}
	l.change(func() { l.epoch = -1 })
	ends := kmsg.NewPtrOffsetForLeaderEpochRequest()
	et := kmsg.NewOffsetForLeaderEpochRequestTopic()
	et.Topic = "t"
	et.Partitions = append(et.Partitions, kmsg.NewOffsetForLeaderEpochRequestTopicPartition())
	et.Partitions[0].CurrentLeaderEpoch = 0
	ends.Topics = append(ends.Topics, et)
	if p := ask[*kmsg.OffsetForLeaderEpochResponse](s, ends, 4).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("%+v", p)
	}
	// Who asks for nothing newer than what is known does not wait at all.
	s.followed = func() <-chan struct{} {
		t.Error("waited for news")
		return heard
	}
	s.fetchNow(req)
	ask[*kmsg.ProduceResponse](s, produceRequest(id, 1, 0), 13)
	// News that do not come are not waited for: the answer is what this broker knows.
	s.followed = func() <-chan struct{} { return nil }
	l.change(func() { l.epoch = -1 })
	began := time.Now()
	if p := ask[*kmsg.ProduceResponse](s, produceRequest(id, 1, 0), 13).Topics[0].Partitions[0]; p.ErrorCode == 0 || time.Since(began) < expectLead {
		t.Errorf("%+v after %v", p, time.Since(began))
	}
}
