package workload

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/history"
)

// ShareLock is how long the locks of a share group's members last.
const ShareLock = 5 * time.Second

// ConfigureShare has a group begin at the beginning, its locks last for ShareLock, and no record be given up before it was given out ten times.
func ConfigureShare(ctx context.Context, cl *kgo.Client, group string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for name, value := range map[string]string{
		"share.auto.offset.reset": "earliest", "share.record.lock.duration.ms": fmt.Sprint(ShareLock.Milliseconds()), "share.delivery.count.limit": "10",
	} {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, kmsg.StringPtr(value)
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("configure share group %s: %w", group, err)
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("configure share group %s: %w", group, err)
		}
	}
	return nil
}

// sharer is a member of the share group: for a while, then the process goes on as another.
type sharer struct {
	*client
	cl *kgo.Client

	mu     sync.Mutex
	failed map[int32]error // what became of words on a partition's records since they were asked for
}

// share has one member after the other take records.
func (c *client) share(ctx context.Context) error {
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, time.Second+time.Duration(c.rng.IntN(6000))*time.Millisecond)
		err := c.member(life, func(s *sharer) { s.take(life, 1+c.rng.IntN(200), s.decide) })
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// member is a member of the group from its beginning to its end.
func (c *client) member(ctx context.Context, turn func(*sharer)) error {
	c.Join()
	s := &sharer{client: c}
	cl, err := c.connect(kgo.ShareGroup(c.Spec.Group), kgo.ConsumeTopics(c.Spec.Topic), kgo.FetchMaxWait(500*time.Millisecond), kgo.ShareAckCallback(s.heard))
	if err != nil {
		return err
	}
	s.cl = cl
	for ctx.Err() == nil {
		turn(s)
	}
	c.Leave()
	cl.Close()
	return nil
}

// heard notes words that may not have been taken in.
func (s *sharer) heard(_ *kgo.Client, results kgo.ShareAckResults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		if r.Err != nil && s.failed != nil {
			s.failed[r.Partition] = r.Err
		}
	}
}

// decide is what a member says of a record: of most, that it is done.
func (s *sharer) decide() history.SettleKind {
	switch n := s.rng.IntN(100); {
	case n < 8:
		return history.Release
	case n < 10:
		return history.Reject
	}
	return history.Accept
}

// take polls once, and says of each record what becomes of it. Some time may pass between the two.
func (s *sharer) take(ctx context.Context, most int, decide func() history.SettleKind) {
	poll, cancel := context.WithTimeout(ctx, time.Second)
	fetches := s.cl.PollRecords(poll, most)
	cancel()
	s.handed(fetches)
	if fetches.NumRecords() == 0 {
		return
	}
	if s.rng.IntN(4) == 0 {
		wait(ctx)
	}
	s.mu.Lock()
	s.failed = map[int32]error{}
	s.mu.Unlock()
	asked := map[int32][]int32{}
	fetches.EachRecord(func(r *kgo.Record) {
		kind := decide()
		asked[r.Partition] = append(asked[r.Partition], s.Settle(r.Partition, r.Offset, kind))
		s.cl.MarkAcks([...]kgo.AckStatus{kgo.AckAccept, kgo.AckRelease, kgo.AckReject}[kind], r)
	})
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	err := s.cl.FlushAcks(flush)
	s.mu.Lock()
	failed := s.failed
	s.failed = nil
	s.mu.Unlock()
	for partition, ops := range asked {
		why := failed[partition]
		if why == nil {
			why = err
		}
		for _, op := range ops {
			if why != nil {
				s.NotSettled(op, code(why))
			} else {
				s.Settled(op)
			}
		}
	}
}

// handed notes records by runs of consecutive offsets.
func (s *sharer) handed(fetches kgo.Fetches) { s.runs(fetches, s.Take, nil) }

// starts asks where the shares start, again and again.
func (c *client) starts(ctx context.Context) error {
	cl, err := c.connect()
	if err != nil {
		return err
	}
	defer cl.Close()
	every(ctx, 200*time.Millisecond, func() {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, _ = c.askStarts(ask, cl) // the history has what came of it
	})
	return nil
}

// askStarts asks where the shares of all partitions start; NoOffset where they have not begun.
func (c *client) askStarts(ctx context.Context, cl *kgo.Client) ([]int64, error) {
	req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	group := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
	group.GroupID = c.Spec.Group
	topic := kmsg.NewDescribeShareGroupOffsetsRequestGroupTopic()
	topic.Topic = c.Spec.Topic
	ops, starts := make([]int32, c.Partitions), make([]int64, c.Partitions)
	for p := range int32(c.Partitions) {
		topic.Partitions = append(topic.Partitions, p)
		ops[p], starts[p] = c.Start(p), history.NoOffset
	}
	group.Topics = append(group.Topics, topic)
	req.Groups = append(req.Groups, group)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil && len(resp.Groups) == 1 {
		err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
	}
	if err != nil {
		for _, op := range ops {
			c.NotStarted(op, code(err))
		}
		return nil, err
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					err = e
					c.NotStarted(ops[p.Partition], code(e))
					continue
				}
				starts[p.Partition] = max(p.StartOffset, history.NoOffset)
				c.Started(ops[p.Partition], starts[p.Partition])
			}
		}
	}
	return starts, err
}

// drain takes what is left until the shares start where the partitions end. All other clients have ended before.
func (c *client) drain(ctx context.Context) error {
	var starts []int64
	done, finish := context.WithCancel(ctx)
	defer finish()
	err := c.member(done, func(s *sharer) {
		s.take(ctx, 1000, func() history.SettleKind { return history.Accept })
		ends, err := c.ends(ctx, kadm.NewClient(s.cl))
		if err != nil {
			return
		}
		if starts, err = c.askStarts(ctx, s.cl); err != nil {
			return
		}
		for p, end := range ends {
			if starts[p] < end {
				return
			}
		}
		finish()
	})
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("shares start at %v: %w", starts, ctx.Err())
	}
	if err != nil {
		return err
	}
	for p, start := range starts {
		c.Drained(int32(p), start)
	}
	return nil
}
