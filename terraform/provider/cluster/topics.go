package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Wish is a topic that is to be: -1 partitions or replicas are the brokers' default.
type Wish struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Configs           map[string]string
}

func (w Wish) request(c *Cluster, validateOnly bool) *kmsg.CreateTopicsRequest {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = w.Name, w.Partitions, w.ReplicationFactor
	for _, k := range sortedKeys(w.Configs) {
		e := kmsg.NewCreateTopicsRequestTopicConfig()
		e.Name, e.Value = k, kmsg.StringPtr(w.Configs[k])
		t.Configs = append(t.Configs, e)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{t}
	req.TimeoutMillis = int32(c.settings.Request.Milliseconds())
	req.ValidateOnly = validateOnly
	return req
}

// CheckTopic asks the cluster whether it would create the topic. That one of its name exists is no error: it may be about to go.
func (c *Cluster) CheckTopic(ctx context.Context, w Wish) error {
	err := c.create(ctx, w, true)
	if Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

func (c *Cluster) create(ctx context.Context, w Wish, validateOnly bool) error {
	what := "create topic " + w.Name
	resp, err := request[*kmsg.CreateTopicsResponse](ctx, c, w.request(c, validateOnly))
	if err != nil {
		return failed(what, err, nil)
	}
	if len(resp.Topics) != 1 {
		return failed(what, errors.New("the broker's answer is about something else"), nil)
	}
	return coded(what, resp.Topics[0].ErrorCode, resp.Topics[0].ErrorMessage)
}

// Created is how a creation has ended.
type Created struct {
	Topic *Topic
	// Taken says that the topic was there already: exactly as it is wished, and without a record. It is what a broken-off apply leaves.
	Taken bool
	// Unsure says why not every broker shows it yet; it exists all the same.
	Unsure error
}

// CreateTopic creates a topic and returns when every broker shows it.
func (c *Cluster) CreateTopic(ctx context.Context, w Wish) (Created, error) {
	defer c.view.forget(w.Name)
	var out Created
	err := c.create(ctx, w, false)
	switch {
	case Is(err, kerr.TopicAlreadyExists):
		same, look := c.untouched(ctx, w)
		if look != nil || !same {
			return out, err
		}
		out.Taken = true
	case err != nil:
		return out, err
	}
	out.Unsure = c.awaitShown(ctx, w.Name, func(t *kmsg.MetadataResponseTopic) bool {
		return w.Partitions < 1 || len(t.Partitions) >= int(w.Partitions)
	})
	if out.Topic, err = c.Fresh(ctx, w.Name); err == nil && out.Topic == nil {
		err = failed("create topic "+w.Name, kerr.UnknownTopicOrPartition, nil)
	}
	if err != nil { // what was asked for is there, though it cannot be looked at
		if out.Unsure == nil {
			out.Unsure = err
		}
		err = nil
	}
	return out, err
}

// untouched tells whether a topic is exactly as wished, and nobody has written to it.
func (c *Cluster) untouched(ctx context.Context, w Wish) (bool, error) {
	t, err := c.Fresh(ctx, w.Name)
	if err != nil || t == nil {
		return false, err
	}
	if w.Partitions > 0 && len(t.Partitions) != int(w.Partitions) || w.ReplicationFactor > 0 && t.ReplicationFactor != int(w.ReplicationFactor) || t.Uneven || len(t.Configs) != len(w.Configs) {
		return false, nil
	}
	for k, v := range w.Configs {
		if t.Configs[k] != v {
			return false, nil
		}
	}
	adm, err := c.admin(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	ends, err := adm.ListEndOffsets(ctx, w.Name)
	if err != nil {
		return false, err
	}
	empty := len(ends[w.Name]) == len(t.Partitions)
	ends.Each(func(o kadm.ListedOffset) { empty = empty && o.Err == nil && o.Offset == 0 })
	return empty, nil
}

// DeleteTopic deletes a topic and returns when no broker shows it.
func (c *Cluster) DeleteTopic(ctx context.Context, name string) error {
	defer c.view.forget(name)
	what := "delete topic " + name
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = kmsg.StringPtr(name)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics, req.TopicNames = []kmsg.DeleteTopicsRequestTopic{t}, []string{name}
	req.TimeoutMillis = int32(c.settings.Request.Milliseconds())
	resp, err := request[*kmsg.DeleteTopicsResponse](ctx, c, req)
	if err != nil {
		return failed(what, err, nil)
	}
	for _, r := range resp.Topics {
		if err := coded(what, r.ErrorCode, r.ErrorMessage); err != nil && !Is(err, kerr.UnknownTopicOrPartition) {
			return err
		}
	}
	return c.onEveryBroker(ctx, what, topicShown(name, func(t *kmsg.MetadataResponseTopic) bool { return t.ErrorCode == kerr.UnknownTopicOrPartition.Code }))
}

// Grow gives a topic more partitions, and returns when every broker shows them. CheckGrow only asks whether it would.
func (c *Cluster) Grow(ctx context.Context, name string, to int) error {
	defer c.view.forget(name)
	if err := c.grow(ctx, name, to, false); err != nil {
		return err
	}
	return c.awaitShown(ctx, name, func(t *kmsg.MetadataResponseTopic) bool { return len(t.Partitions) >= to })
}

// CheckGrow asks the cluster whether it would give a topic more partitions.
func (c *Cluster) CheckGrow(ctx context.Context, name string, to int) error {
	return c.grow(ctx, name, to, true)
}

func (c *Cluster) grow(ctx context.Context, name string, to int, validateOnly bool) error {
	what := fmt.Sprintf("give topic %s %d partitions", name, to)
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = name, int32(to)
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Topics, req.ValidateOnly = []kmsg.CreatePartitionsRequestTopic{t}, validateOnly
	req.TimeoutMillis = int32(c.settings.Request.Milliseconds())
	resp, err := request[*kmsg.CreatePartitionsResponse](ctx, c, req)
	if err != nil {
		return failed(what, err, nil)
	}
	for _, r := range resp.Topics {
		if err := coded(what, r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// Replicate gives every partition of a topic as many replicas, and returns when the new ones are in sync and the others gone. progress hears
// how many partitions are on the way, whenever that changes. Interrupted, the cluster goes on by itself.
func (c *Cluster) Replicate(ctx context.Context, name string, factor int, progress func(left, all int)) error {
	defer c.view.forget(name)
	what := fmt.Sprintf("give topic %s the replication factor %d", name, factor)
	moves, err := c.placements(ctx, name, factor)
	if err != nil || len(moves) == 0 {
		return err
	}
	adm, err := c.admin(ctx)
	if err != nil {
		return err
	}
	var req kadm.AlterPartitionAssignmentsReq
	for p, replicas := range moves {
		req.Assign(name, p, replicas)
	}
	bounded, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	resp, err := adm.AlterPartitionAssignments(bounded, req)
	if err != nil {
		return failed(what, err, nil)
	}
	for _, r := range resp.Sorted() {
		if r.Err != nil {
			return failed(fmt.Sprintf("%s, partition %d", what, r.Partition), r.Err, &r.ErrMessage)
		}
	}
	last := -1
	err = c.until(ctx, c.settings.Wait, func(ctx context.Context) (bool, error) {
		l, err := c.list(ctx, name)
		if err != nil { // a broker that goes down meanwhile ends nothing
			return false, nil
		}
		t := l.topics[name]
		if t == nil {
			return false, failed(what, kerr.UnknownTopicOrPartition, nil)
		}
		left := 0
		for _, p := range t.Partitions {
			// The two requests may be answered by two brokers, one of which does not know of the move yet: who is in sync settles it.
			if !slices.Equal(p.Replicas, p.Target) || len(p.Replicas) != factor || len(p.InSync) != factor {
				left++
			}
		}
		if left != last {
			progress(left, len(t.Partitions))
			last = left
		}
		return left == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{What: what + " in time", Err: err, Text: fmt.Sprintf("%d partitions are still being moved after %v", last, c.settings.Wait),
			Hint: "The cluster goes on by itself; `qanat cluster health` says what it waits for. timeouts.wait is how long the provider waits."}
	}
	return err
}

// CheckReplicate finds out whether there are brokers enough.
func (c *Cluster) CheckReplicate(ctx context.Context, name string, factor int) error {
	_, err := c.placements(ctx, name, factor)
	return err
}

func (c *Cluster) placements(ctx context.Context, name string, factor int) (map[int32][]int32, error) {
	what := fmt.Sprintf("give topic %s the replication factor %d", name, factor)
	l, err := c.list(ctx, name)
	if err != nil {
		return nil, err
	}
	t := l.topics[name]
	if t == nil {
		return nil, failed(what, kerr.UnknownTopicOrPartition, nil)
	}
	moves, err := Place(t.Partitions, l.brokers, factor)
	if err != nil {
		text := err.Error()
		return nil, failed(what, kerr.InvalidReplicationFactor, &text)
	}
	return moves, nil
}

// awaitShown returns when every broker shows the topic with a leader for each partition, and ok.
func (c *Cluster) awaitShown(ctx context.Context, name string, ok func(*kmsg.MetadataResponseTopic) bool) error {
	return c.onEveryBroker(ctx, "see topic "+name+" on every broker", topicShown(name, func(t *kmsg.MetadataResponseTopic) bool {
		return t.ErrorCode == 0 && ok(t) && !slices.ContainsFunc(t.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 })
	}))
}

// topicShown asks one broker for a topic.
func topicShown(name string, ok func(*kmsg.MetadataResponseTopic) bool) func(context.Context, int32, *kgo.Broker) bool {
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(name)
	return func(ctx context.Context, _ int32, b *kgo.Broker) bool {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{t}
		resp, err := b.Request(ctx, req)
		if err != nil {
			return false
		}
		answer := resp.(*kmsg.MetadataResponse)
		return len(answer.Topics) == 1 && ok(&answer.Topics[0])
	}
}

// onEveryBroker returns when every broker that is active has been found to show what is to be shown.
func (c *Cluster) onEveryBroker(ctx context.Context, what string, shows func(context.Context, int32, *kgo.Broker) bool) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	shown := map[int32]bool{}
	var missing []string
	err = c.until(ctx, c.settings.Request, func(ctx context.Context) (bool, error) {
		m, err := c.metadata(ctx, []string{})
		if err != nil { // one that is not there will not be listed in a moment
			return false, nil
		}
		missing = missing[:0]
		for _, b := range m.Brokers {
			if !shown[b.NodeID] {
				bounded, cancel := context.WithTimeout(ctx, time.Second)
				shown[b.NodeID] = shows(bounded, b.NodeID, cl.Broker(int(b.NodeID)))
				cancel()
			}
			if !shown[b.NodeID] {
				missing = append(missing, fmt.Sprint(b.NodeID))
			}
		}
		return len(m.Brokers) > 0 && len(missing) == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		text := fmt.Sprintf("After %v these brokers do not answer as they should yet: %s", c.settings.Request, strings.Join(missing, ", "))
		return &Error{What: what, Err: err, Text: text, Hint: "`qanat cluster health` says what is wrong with them. The next terraform apply looks again."}
	}
	return err
}
