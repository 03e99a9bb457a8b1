package cluster

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	pageTopics = 2000             // described by one request; it answers some 5 MB
	viewAge    = 30 * time.Second // a view that is older is taken anew: who watches for hours is not shown the past
)

// Topic is a topic as it is to be managed.
type Topic struct {
	Name              string
	ID                string // hexadecimal
	Partitions        []Partition
	ReplicationFactor int               // of all partitions, or the first that another differs from
	Uneven            bool              // partitions differ in it
	Configs           map[string]string // what was set on the topic; nothing that comes from brokers or defaults
	Internal          bool
}

// Broker is one that is active.
type Broker struct {
	ID   int32
	Host string
	Port int32
	Rack string
}

// Partition is one of a topic's.
type Partition struct {
	Leader   int32 // -1: nobody
	Replicas []int32
	InSync   []int32
	Target   []int32 // the replicas once a reassignment that is under way is done; else Replicas
}

// view is what was seen of all topics, once.
type view struct {
	c *Cluster

	mu      sync.Mutex
	taken   time.Time
	listing *flight[*listing]
	pages   map[int]*flight[map[string]map[string]string]
	written map[string]bool // since it was taken: asked for by themselves
	asked   struct{ listings, pages, single int }
}

// listing is a cluster without configurations.
type listing struct {
	id         string
	controller int32
	brokers    []Broker
	topics     map[string]*Topic
	names      []string // of all topics that are not internal, sorted: pages are cut from it
}

// flight is a question that is asked once for all who want to know.
type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func (f *flight[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// fly asks in the name of all: who came first may go before there is an answer.
func fly[T any](ctx context.Context, ask func(context.Context) (T, error), failed func()) *flight[T] {
	f := &flight[T]{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		if f.value, f.err = ask(context.WithoutCancel(ctx)); f.err != nil {
			failed()
		}
	}()
	return f
}

func (v *view) init(c *Cluster) {
	v.c = c
	v.reset()
}

func (v *view) reset() {
	v.listing, v.pages, v.written = nil, map[int]*flight[map[string]map[string]string]{}, map[string]bool{}
}

// forget drops everything that was seen, or that of one topic.
func (v *view) forget(topic string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if topic == "" {
		v.reset()
		return
	}
	v.written[topic] = true
}

// list is the listing, taken now or before.
func (v *view) list(ctx context.Context) (*listing, error) {
	v.mu.Lock()
	if v.listing != nil && v.c.now().Sub(v.taken) > viewAge {
		v.reset()
	}
	if v.listing == nil {
		v.taken = v.c.now()
		v.asked.listings++
		v.listing = fly(ctx, func(ctx context.Context) (*listing, error) { return v.c.list(ctx) }, func() { v.forget("") })
	}
	f := v.listing
	v.mu.Unlock()
	return f.wait(ctx)
}

// page has the configurations of a page of topics.
func (v *view) page(ctx context.Context, l *listing, n int) (map[string]map[string]string, error) {
	v.mu.Lock()
	f := v.pages[n]
	if f == nil {
		v.asked.pages++
		names := l.names[n*pageTopics : min((n+1)*pageTopics, len(l.names))]
		f = fly(ctx, func(ctx context.Context) (map[string]map[string]string, error) { return v.c.topicConfigs(ctx, names) }, func() { v.forget("") })
		v.pages[n] = f
	}
	v.mu.Unlock()
	return f.wait(ctx)
}

// Topic is a topic as the view shows it; nil when there is none of that name.
func (c *Cluster) Topic(ctx context.Context, name string) (*Topic, error) {
	l, err := c.view.list(ctx)
	if err != nil {
		return nil, err
	}
	t, place := l.topics[name], -1
	if t != nil && !t.Internal {
		place, _ = slices.BinarySearch(l.names, name)
	}
	c.view.mu.Lock()
	alone := c.view.written[name] || t != nil && place < 0
	if alone {
		c.view.asked.single++
	}
	c.view.mu.Unlock()
	switch {
	case alone:
		return c.Fresh(ctx, name)
	case t == nil:
		return nil, nil
	}
	configs, err := c.view.page(ctx, l, place/pageTopics)
	if err != nil {
		return nil, err
	}
	set, ok := configs[name]
	if !ok { // deleted between the two requests
		return nil, nil
	}
	whole := *t
	whole.Configs = set
	return &whole, nil
}

// Topics are the names of all topics that are not internal, as the view shows them.
func (c *Cluster) Topics(ctx context.Context) ([]string, error) {
	l, err := c.view.list(ctx)
	if err != nil {
		return nil, err
	}
	return l.names, nil
}

// Fresh is a topic as it is now; nil when there is none of that name.
func (c *Cluster) Fresh(ctx context.Context, name string) (*Topic, error) {
	l, err := c.list(ctx, name)
	if err != nil {
		return nil, err
	}
	t := l.topics[name]
	if t == nil {
		return nil, nil
	}
	configs, err := c.topicConfigs(ctx, []string{name})
	if err != nil {
		return nil, err
	}
	set, ok := configs[name]
	if !ok {
		return nil, nil
	}
	t.Configs = set
	return t, nil
}

// metadata asks for topics, for all when names is nil. The client's own answers from what it knows: that may be from before a write.
func (c *Cluster) metadata(ctx context.Context, names []string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	if names != nil {
		req.Topics = []kmsg.MetadataRequestTopic{}
	}
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	resp, err := request[*kmsg.MetadataResponse](ctx, c, req)
	return resp, failed("look at the cluster's topics", err, nil)
}

// list asks for topics, all without names.
func (c *Cluster) list(ctx context.Context, names ...string) (*listing, error) {
	m, err := c.metadata(ctx, names)
	if err != nil {
		return nil, err
	}
	moving, err := c.reassignments(ctx, m, len(names) == 0)
	if err != nil {
		return nil, err
	}
	l := &listing{controller: m.ControllerID, brokers: brokersOf(m), topics: make(map[string]*Topic, len(m.Topics))}
	if m.ClusterID != nil {
		l.id = *m.ClusterID
	}
	for i := range m.Topics {
		t := &m.Topics[i]
		err := coded("look at topic "+*t.Topic, t.ErrorCode, nil)
		switch {
		case Is(err, kerr.UnknownTopicOrPartition):
			continue
		case err != nil && len(t.Partitions) == 0:
			return nil, err
		}
		l.topics[*t.Topic] = topicOf(t, moving[*t.Topic])
		if !t.IsInternal {
			l.names = append(l.names, *t.Topic)
		}
	}
	slices.Sort(l.names)
	return l, nil
}

func brokersOf(m *kmsg.MetadataResponse) []Broker {
	var out []Broker
	for _, b := range m.Brokers {
		one := Broker{ID: b.NodeID, Host: b.Host, Port: b.Port}
		if b.Rack != nil {
			one.Rack = *b.Rack
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// reassignments are the targets of what is being moved now, by topic and partition.
func (c *Cluster) reassignments(ctx context.Context, m *kmsg.MetadataResponse, all bool) (map[string]map[int32][]int32, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis = int32(c.settings.Request.Milliseconds())
	for i := range m.Topics {
		if all || len(m.Topics[i].Partitions) == 0 {
			continue
		}
		t := kmsg.NewListPartitionReassignmentsRequestTopic()
		t.Topic = *m.Topics[i].Topic
		for _, p := range m.Topics[i].Partitions {
			t.Partitions = append(t.Partitions, p.Partition)
		}
		req.Topics = append(req.Topics, t)
	}
	if !all && len(req.Topics) == 0 {
		return nil, nil
	}
	const what = "look at what is being moved"
	resp, err := request[*kmsg.ListPartitionReassignmentsResponse](ctx, c, req)
	if err != nil {
		return nil, failed(what, err, nil)
	}
	if err := coded(what, resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	out := map[string]map[int32][]int32{}
	for _, t := range resp.Topics {
		out[t.Topic] = map[int32][]int32{}
		for _, p := range t.Partitions {
			target := slices.DeleteFunc(slices.Clone(p.Replicas), func(b int32) bool { return slices.Contains(p.RemovingReplicas, b) })
			out[t.Topic][p.Partition] = target
		}
	}
	return out, nil
}

func topicOf(m *kmsg.MetadataResponseTopic, moving map[int32][]int32) *Topic {
	t := &Topic{Name: *m.Topic, ID: hex.EncodeToString(m.TopicID[:]), Internal: m.IsInternal, Partitions: make([]Partition, len(m.Partitions))}
	slices.SortFunc(m.Partitions, func(a, b kmsg.MetadataResponseTopicPartition) int { return cmp.Compare(a.Partition, b.Partition) })
	for i, p := range m.Partitions {
		one := Partition{Leader: p.Leader, Replicas: p.Replicas, InSync: p.ISR, Target: p.Replicas}
		if target := moving[p.Partition]; target != nil {
			one.Target = target
		}
		switch n := len(one.Target); {
		case i == 0:
			t.ReplicationFactor = n
		case n != t.ReplicationFactor:
			t.Uneven = true
		}
		t.Partitions[i] = one
	}
	return t
}

// topicConfigs are what was set on topics; those that do not exist are left out.
func (c *Cluster) topicConfigs(ctx context.Context, names []string) (map[string]map[string]string, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, n := range names {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, n
		req.Resources = append(req.Resources, r)
	}
	resp, err := request[*kmsg.DescribeConfigsResponse](ctx, c, req)
	if err != nil {
		return nil, failed("read the topics' configurations", err, nil)
	}
	out := make(map[string]map[string]string, len(resp.Resources))
	for _, r := range resp.Resources {
		err := coded("read the configuration of topic "+r.ResourceName, r.ErrorCode, r.ErrorMessage)
		switch {
		case Is(err, kerr.UnknownTopicOrPartition):
			continue
		case err != nil:
			return nil, err
		}
		set := map[string]string{}
		for _, e := range r.Configs {
			if e.Source == kmsg.ConfigSourceDynamicTopicConfig && e.Value != nil {
				set[e.Name] = *e.Value
			}
		}
		out[r.ResourceName] = set
	}
	return out, nil
}

// NoTopic is the error where there is none of that name.
func NoTopic(name string) error {
	return failed("look at topic "+name, kerr.UnknownTopicOrPartition, nil, "There is none of that name; `qanat topic list` lists those that there are.")
}
