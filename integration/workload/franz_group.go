package workload

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/history"
)

// member is a client in its group.
type member struct {
	*client
	cl *kgo.Client

	mu    sync.Mutex // callbacks come from other goroutines than polls
	owned []int32
	next  []int64        // what the next poll would begin with, of owned partitions
	dirty map[int32]bool // partitions with something to commit
}

// group follows the topic as a member, and commits what it was handed: often, and before it gives partitions up.
// Polling holds rebalances off, so that what is polled is owned.
func (c *client) group(ctx context.Context) error {
	m := &member{client: c, next: make([]int64, c.Partitions), dirty: map[int32]bool{}}
	cl, err := c.connect(append(m.joining(), kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost))...)
	if err != nil {
		return err
	}
	m.cl = cl
	defer cl.CloseAllowingRebalance()
	for ctx.Err() == nil {
		m.poll(ctx)
		cl.AllowRebalance()
	}
	return nil
}

// joining is what every member says.
func (c *client) joining() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumerGroup(c.Spec.Group), kgo.ConsumeTopics(c.Spec.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10 * time.Second), kgo.RebalanceTimeout(15 * time.Second), kgo.FetchMaxWait(500 * time.Millisecond),
	}
	switch c.Assignor {
	case "range":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	case "broker":
		opts = append(opts, kgo.ServerSideBalancer())
	}
	return opts
}

func (m *member) poll(ctx context.Context) {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fetches := m.cl.PollRecords(wait, 500)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.polled(fetches, m.next)
	fetches.EachPartition(func(t kgo.FetchTopicPartition) {
		if len(t.Records) > 0 {
			m.dirty[t.Partition] = true
		}
	})
	if len(m.dirty) > 0 && m.rng.IntN(5) == 0 {
		m.commit(ctx)
	}
}

// commit commits what is dirty and waits for the answer.
func (m *member) commit(ctx context.Context) {
	_, generation := m.cl.GroupMetadata()
	offsets := map[int32]kgo.EpochOffset{}
	ops := map[int32]int32{}
	for p := range m.dirty {
		offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: m.next[p]}
		ops[p] = m.Commit(m.Spec.Group, generation, p, m.next[p])
	}
	clear(m.dirty)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	m.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.Spec.Topic: offsets}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil || resp == nil {
			return // without an answer: unknown
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					m.NotCommitted(ops[p.Partition], code(e))
					continue
				}
				m.Committed(ops[p.Partition])
			}
		}
	})
}

func (m *member) assigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, generation := cl.GroupMetadata()
	m.owned = append(m.owned, added[m.Spec.Topic]...)
	slices.Sort(m.owned)
	m.Assign(m.Spec.Group, generation, m.owned, added[m.Spec.Topic])
}

func (m *member) revoked(ctx context.Context, _ *kgo.Client, gone map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.dirty) > 0 {
		m.commit(ctx)
	}
	m.giveUp(gone)
}

func (m *member) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.giveUp(gone)
}

func (m *member) giveUp(gone map[string][]int32) {
	list := gone[m.Spec.Topic]
	if len(list) == 0 {
		return
	}
	_, generation := m.cl.GroupMetadata()
	m.owned = slices.DeleteFunc(m.owned, func(p int32) bool { return slices.Contains(list, p) })
	for _, p := range list {
		delete(m.dirty, p)
	}
	m.Revoke(m.Spec.Group, generation, list)
}

// committed asks for the group's offsets again and again.
func (c *client) committed(ctx context.Context) error {
	cl, err := c.connect()
	if err != nil {
		return err
	}
	defer cl.Close()
	every(ctx, 200*time.Millisecond, func() {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = c.ask(ask, cl)
	})
	return nil
}

// ask asks for the group's offset in every partition. The error is one that left questions without an answer.
func (c *client) ask(ctx context.Context, cl *kgo.Client) error {
	_, err := c.offsets(ctx, cl, func(*kmsg.OffsetFetchRequestGroup) {})
	return err
}

// offsets is ask, by somebody, and what was answered.
func (c *client) offsets(ctx context.Context, cl *kgo.Client, by func(*kmsg.OffsetFetchRequestGroup)) (map[int32]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true // or the answer may be one that a newer coordinator has overtaken
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = c.Spec.Group
	by(&group)
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic = c.Spec.Topic
	ops := make([]int32, c.Partitions)
	for p := range int32(c.Partitions) {
		topic.Partitions = append(topic.Partitions, p)
		ops[p] = c.Fetch(c.Spec.Group, p)
	}
	group.Topics = append(group.Topics, topic)
	req.Groups = append(req.Groups, group)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil && len(resp.Groups) == 1 {
		err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
	}
	if err != nil {
		for _, op := range ops {
			c.NotFetched(op, code(err))
		}
		return nil, err
	}
	told := map[int32]int64{}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					err = e
					c.NotFetched(ops[p.Partition], code(e))
					continue
				}
				told[p.Partition] = max(p.Offset, history.NoOffset)
				c.Fetched(ops[p.Partition], told[p.Partition])
			}
		}
	}
	return told, err
}
