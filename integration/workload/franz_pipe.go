package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/history"
)

// piper is a member of the group that makes a record of each that it is handed, in the transaction that commits its offset. Polling holds
// rebalances off until that has ended.
type piper struct {
	member
	// base is where the group has come to by this member's knowledge: an aborted transaction goes back to it. Under mu.
	base map[int32]int64
	// topic is what offsets are committed of: newer requests name its id alone.
	topic kmsg.TxnOffsetCommitRequestTopic
	// who the group has it by, and in which generation or epoch.
	who func() (memberID string, generation int32)
	// overtake, if not nil, has something reach the group before offsets do that were made ready for it.
	overtake func(context.Context)
}

func (c *client) piper() piper {
	return piper{member: member{client: c, next: make([]int64, c.Partitions), dirty: map[int32]bool{}}, base: map[int32]int64{}}
}

// pipe consumes the first partitions, the sources, and makes a record of the last ones of each that it is handed. It consumes those, too, and commits
// their offsets with the others', which nothing is made of.
func (c *client) pipe(ctx context.Context) error {
	for ctx.Err() == nil {
		p := c.piper()
		cl, err := c.connect(append(p.joining(), append(c.transacting(), kgo.OnPartitionsAssigned(p.assigned), kgo.OnPartitionsRevoked(p.lost), kgo.OnPartitionsLost(p.lost))...)...)
		if err != nil {
			return err
		}
		p.cl, p.who = cl, cl.GroupMetadata
		for ctx.Err() == nil && p.turn(ctx) {
			cl.AllowRebalance()
		}
		cl.CloseAllowingRebalance()
		wait(ctx)
	}
	return nil
}

func (p *piper) lost(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	p.member.lost(ctx, cl, gone)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, partition := range gone[p.Spec.Topic] {
		delete(p.base, partition)
	}
}

// turn is a poll, and a transaction of what it has handed out; false says that the client is not to go on.
func (p *piper) turn(ctx context.Context) bool {
	poll, cancel := context.WithTimeout(ctx, time.Second)
	fetches := p.cl.PollRecords(poll, 1+p.rng.IntN(100))
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polled(fetches, p.next)
	var sources []*kgo.Record
	fetches.EachPartition(func(t kgo.FetchTopicPartition) {
		if len(t.Records) == 0 {
			return
		}
		if _, known := p.base[t.Partition]; !known {
			p.base[t.Partition] = t.Records[0].Offset
		}
		p.dirty[t.Partition] = true
		for _, r := range t.Records {
			if !r.Attrs.IsControl() && int(t.Partition) < p.Sources {
				sources = append(sources, r)
			}
		}
	})
	if len(sources) == 0 {
		return true // what else there is is committed with the next
	}
	// What is under way when the process is to end is ended first.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*transactionTimeout)
	defer cancel()
	return p.transaction(ctx, sources)
}

// transaction makes the records, offers the offsets, and ends both: a quarter is aborted.
func (p *piper) transaction(ctx context.Context, sources []*kgo.Record) bool {
	if err := p.cl.BeginTransaction(); err != nil {
		return false
	}
	var values []history.Value
	var records []*kgo.Record
	for _, r := range sources {
		source, err := history.ParsePayload(r.Value)
		if err != nil {
			continue // noted where it was polled
		}
		partition := int32(p.Sources + p.rng.IntN(p.Partitions-p.Sources))
		v := p.Derived(partition, source)
		values = append(values, v)
		records = append(records, &kgo.Record{Partition: partition, Value: history.Payload(v, p.Size/2+p.rng.IntN(p.Size))})
	}
	err := p.cl.ProduceSync(ctx, records...).FirstErr()
	var ops []int32
	if err == nil {
		ops, err = p.offer(ctx)
	}
	if err != nil || p.rng.IntN(4) == 0 {
		// Nobody has asked for a commit, whatever becomes of the abort.
		for _, v := range values {
			p.NotSent(v, true, "aborted")
		}
		for _, op := range ops {
			p.Dropped(op)
		}
		if p.cl.EndTransaction(ctx, kgo.TryAbort) != nil || err != nil {
			return false
		}
		p.goBack()
		return true
	}
	if len(values) > 0 {
		p.Transaction(values[0], values[len(values)-1])
	}
	err = p.cl.EndTransaction(ctx, kgo.TryCommit)
	for i, v := range values {
		p.sent(v, records[i], err)
	}
	for _, op := range ops {
		if err != nil {
			p.NotCommitted(op, code(err))
		} else {
			p.Committed(op)
		}
	}
	for partition := range p.dirty {
		p.base[partition] = p.next[partition]
	}
	clear(p.dirty)
	return err == nil
}

// goBack has everything handed out again that was to be committed.
func (p *piper) goBack() {
	to := map[int32]kgo.EpochOffset{}
	for partition := range p.dirty {
		p.next[partition] = p.base[partition]
		p.Seek(partition, p.base[partition])
		to[partition] = kgo.EpochOffset{Epoch: -1, Offset: p.base[partition]}
	}
	clear(p.dirty)
	p.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{p.Spec.Topic: to})
}

// offer has the transaction commit the offsets of what was handed out. Its commits are completed when the transaction is.
func (p *piper) offer(ctx context.Context) (ops []int32, err error) {
	id, epoch, err := p.cl.ProducerID(ctx)
	if err != nil {
		return nil, err
	}
	if p.topic.Topic == "" {
		if err := p.learnTopic(ctx); err != nil {
			return nil, err
		}
	}
	memberID, generation := p.who()
	topic := p.topic
	topic.Partitions = nil
	for partition := range p.dirty {
		ops = append(ops, p.Commit(p.Spec.Group, generation, partition, p.next[partition]))
		o := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		o.Partition, o.Offset = partition, p.next[partition]
		topic.Partitions = append(topic.Partitions, o)
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = p.TransactionalID, id, epoch, p.Spec.Group
	added, err := add.RequestWith(ctx, p.cl)
	if err == nil {
		err = kerr.ErrorForCode(added.ErrorCode)
	}
	if err != nil {
		return ops, fmt.Errorf("add the group to the transaction: %w", err)
	}
	if p.overtake != nil {
		p.overtake(ctx)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = p.TransactionalID, p.Spec.Group, id, epoch
	req.Generation, req.MemberID = generation, memberID
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, p.cl)
	if err != nil {
		return ops, fmt.Errorf("commit offsets in the transaction: %w", err)
	}
	for _, t := range resp.Topics {
		for _, o := range t.Partitions {
			if err := kerr.ErrorForCode(o.ErrorCode); err != nil {
				return ops, fmt.Errorf("commit the offset of partition %d in the transaction: %w", o.Partition, err)
			}
		}
	}
	return ops, nil
}

func (p *piper) learnTopic(ctx context.Context) error {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(p.Spec.Topic)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, p.cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return err
		}
		p.topic = kmsg.NewTxnOffsetCommitRequestTopic()
		p.topic.Topic, p.topic.TopicID = p.Spec.Topic, t.TopicID
	}
	return nil
}
