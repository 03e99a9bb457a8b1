package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The look at a topic could fail because one broker does not answer: just when it is wanted.
func TestTopicDescribedWithoutOneBroker(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(6, "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	dead := k.LeaderFor("events", 0)
	k.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if k.CurrentNode() == dead {
			return nil, errors.New("dead"), true
		}
		return nil, nil, false
	})
	c := &cli{t: t, brokers: strings.Join(k.ListenAddrs(), ",")}
	r := c.run("topic", "describe", "events", "-o", "json")
	var d topicDescription
	if err := json.Unmarshal([]byte(r.out), &d); r.code != exitOK || err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	unanswered := 0
	for _, p := range d.Partitions {
		if (p.Leader == dead) != strings.Contains(p.Error, "does not answer") || (p.Leader == dead) != (p.End < 0) {
			t.Errorf("%+v", p)
		}
		if p.Error != "" {
			unanswered++
		}
	}
	if len(d.Partitions) != 6 || unanswered == 0 {
		t.Errorf("%d partitions, %d not answered", len(d.Partitions), unanswered)
	}
}

// How long a member has not been heard could be told by this machine's clock, which the leader's is hours away from.
func TestQuorumAgesByTheLeadersClock(t *testing.T) {
	leaders := time.Now().Add(-5 * time.Hour)
	resp := kmsg.NewPtrDescribeQuorumResponse()
	rt, rp := kmsg.NewDescribeQuorumResponseTopic(), kmsg.NewDescribeQuorumResponseTopicPartition()
	rp.LeaderID = 1
	for id, heard := range map[int32]time.Duration{1: 0, 2: 3 * time.Second} {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.LastFetchTimestamp = id, leaders.Add(-heard).UnixMilli()
		s.LastCaughtUpTimestamp = s.LastFetchTimestamp
		rp.CurrentVoters = append(rp.CurrentVoters, s)
	}
	rt.Partitions = append(rt.Partitions, rp)
	resp.Topics = append(resp.Topics, rt)
	s, err := quorumOf(resp)
	if err != nil || len(s.Members) != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s.Members[0].Heard != 0 || s.Members[1].Heard != 3 || s.Members[1].CaughtUp != 3 {
		t.Errorf("%+v", s.Members)
	}
}
