package api

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// CreateTopics (key 19, v2-7).
//
//   - -1 partitions or replicas mean the broker's defaults (KIP-464). A manual assignment replaces both, and both must then be -1.
//   - Names follow Kafka's rules; one that differs from an existing name only by '.' against '_' is refused, since their
//     metrics would have one name.
//   - Configurations are checked key by key and as a whole.
//   - Validate-only does everything but the creation.
//   - v5+ reports partitions, replication factor and every configuration with its source (KIP-525); v7+ the topic id.
//   - v6+ refuses what goes beyond controller_mutation_rate (KIP-599).
//   - All topics of a request are proposed together; each has its own outcome.

const createTopicsQuotaVersion = 6

func (h *Handler) createTopics(x *wire.Exchange) {
	req := x.Request.(*kmsg.CreateTopicsRequest)
	resp := kmsg.NewPtrCreateTopicsResponse()
	resp.Topics = make([]kmsg.CreateTopicsResponseTopic, len(req.Topics))
	times := map[string]int{}
	for i := range req.Topics {
		times[req.Topics[i].Topic]++
	}
	planner, quota := h.newPlanner(h.quorum.Image()), h.mutations(x, createTopicsQuotaVersion)
	p := proposals{errs: make([]error, len(req.Topics))}
	plans := make([]command.CreateTopic, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		switch {
		case len(req.Topics) > maxTopicsPerRequest:
			p.errs[i] = refuse(kerr.InvalidRequest, "more than %d topics in one request", maxTopicsPerRequest)
		case times[t.Topic] > 1:
			p.errs[i] = refuse(kerr.InvalidRequest, "topic %q is named twice in the request", t.Topic)
		default:
			plans[i], p.errs[i] = planner.topic(t)
		}
		if p.errs[i] == nil && !req.ValidateOnly {
			p.errs[i] = quota.admit(len(plans[i].Partitions))
		}
		if p.errs[i] == nil && !req.ValidateOnly {
			p.add(i, plans[i])
		}
	}
	if len(p.commands) > 0 {
		ctx, cancel := within(x, req.TimeoutMillis)
		defer cancel()
		h.awaitHosted(ctx, p.commands, h.carryOut(ctx, &p))
	}
	for i := range req.Topics {
		resp.Topics[i] = h.createdTopic(req.Topics[i].Topic, &plans[i], p.errs[i], req.ValidateOnly)
	}
	reply(x, resp)
}

// createdTopic reports one topic of the request.
func (h *Handler) createdTopic(name string, c *command.CreateTopic, err error, validateOnly bool) kmsg.CreateTopicsResponseTopic {
	ct := kmsg.NewCreateTopicsResponseTopic()
	ct.Topic = name
	ct.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // null would mean that they may not be seen
	if err != nil {
		ct.ErrorCode, ct.ErrorMessage = code(err), message(err)
		return ct
	}
	if !validateOnly {
		ct.TopicID = c.ID
	}
	ct.NumPartitions = int32(len(c.Partitions))
	ct.ReplicationFactor = int16(len(c.Partitions[0]))
	m := h.quorum.Image()
	entries := h.Config.DescribeTopic(c.Configs, h.dynamicBroker(m), h.dynamicDefault(m))
	ct.Configs = make([]kmsg.CreateTopicsResponseTopicConfig, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		cc := kmsg.NewCreateTopicsResponseTopicConfig()
		cc.Name, cc.ReadOnly, cc.Source, cc.IsSensitive = e.Key.Name, e.Key.ReadOnly, int8(e.Source), e.Key.Sensitive
		if !e.Key.Sensitive {
			cc.Value = &e.Value
		}
		ct.Configs = append(ct.Configs, cc)
	}
	return ct
}

// planner turns wishes for topics into commands, against one image and against each other.
type planner struct {
	h          *Handler
	image      *image.Image
	live       []kafka.BrokerID // that replicas may be placed on
	planned    map[string]bool
	colliding  map[string]string // metric names of existing topics; filled when first needed
	partitions int               // planned so far
}

func (h *Handler) newPlanner(m *image.Image) *planner {
	return &planner{h: h, image: m, live: controller.Takers(m), planned: map[string]bool{}}
}

// topic plans one topic.
func (p *planner) topic(t *kmsg.CreateTopicsRequestTopic) (command.CreateTopic, error) {
	c := command.CreateTopic{Name: t.Topic}
	if err := p.checkName(t.Topic); err != nil {
		return c, err
	}
	var err error
	if c.Configs, err = p.h.topicConfigs(p.image, t.Configs); err != nil {
		return c, err
	}
	if len(t.ReplicaAssignment) > 0 {
		c.Partitions, err = p.assigned(t)
	} else {
		c.Partitions, err = p.placed(t)
	}
	if err != nil {
		return c, err
	}
	p.partitions += len(c.Partitions)
	p.planned[t.Topic] = true
	if p.colliding != nil {
		p.colliding[metricName(t.Topic)] = t.Topic
	}
	c.ID = kafka.NewTopicID()
	return c, nil
}

// checkName refuses illegal, existing and colliding names.
func (p *planner) checkName(name string) error {
	if err := checkTopicName(name); err != nil {
		return err
	}
	if _, exists := p.image.TopicByName(name); exists || p.planned[name] || internalTopic(name) {
		return fmt.Errorf("topic %q: %w", name, image.ErrTopicExists)
	}
	if !mayCollide(name) {
		return nil
	}
	if p.colliding == nil {
		p.colliding = map[string]string{}
		p.image.Topics(func(t *image.Topic) bool {
			p.colliding[metricName(t.Name)] = t.Name
			return true
		})
		for name := range p.planned {
			p.colliding[metricName(name)] = name
		}
	}
	if other, taken := p.colliding[metricName(name)]; taken {
		return refuse(kerr.InvalidTopicException, "topic %q collides with existing topic %q: '.' and '_' are one in metric names", name, other)
	}
	return nil
}

// topicConfigs checks a new topic's overrides.
func (h *Handler) topicConfigs(m *image.Image, wanted []kmsg.CreateTopicsRequestTopicConfig) (map[string]string, error) {
	out := make(map[string]string, len(wanted))
	for i := range wanted {
		w := &wanted[i]
		if w.Value == nil {
			return nil, refuse(kerr.InvalidConfig, "configuration %q has a null value", w.Name)
		}
		if _, again := out[w.Name]; again {
			return nil, refuse(kerr.InvalidConfig, "configuration %q is given twice", w.Name)
		}
		if err := checkConfig(config.TopicScope, w.Name, *w.Value); err != nil {
			return nil, err
		}
		out[w.Name] = *w.Value
	}
	if err := h.Config.ValidateTopic(slices.Collect(maps.Keys(out)), out, h.dynamicBroker(m), h.dynamicDefault(m)); err != nil {
		return nil, refuse(kerr.InvalidConfig, "%v", err)
	}
	return out, nil
}

// assigned takes the client's replicas: partitions 0…n-1, each with the same number of distinct, known brokers.
func (p *planner) assigned(t *kmsg.CreateTopicsRequestTopic) ([][]kafka.BrokerID, error) {
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return nil, refuse(kerr.InvalidRequest, "with a replica assignment, partitions and replication factor must both be -1")
	}
	if err := p.roomFor(len(t.ReplicaAssignment)); err != nil {
		return nil, err
	}
	out := make([][]kafka.BrokerID, len(t.ReplicaAssignment))
	for i := range t.ReplicaAssignment {
		a := &t.ReplicaAssignment[i]
		if a.Partition < 0 || int(a.Partition) >= len(out) || out[a.Partition] != nil {
			return nil, refuse(kerr.InvalidReplicaAssignment, "partitions must be numbered from 0 without gaps or repeats; %d is not", a.Partition)
		}
		replicas, err := checkReplicas(p.image, a.Replicas, nil)
		if err != nil {
			return nil, err
		}
		out[a.Partition] = replicas
	}
	for i := range out {
		if len(out[i]) != len(out[0]) {
			return nil, refuse(kerr.InvalidReplicaAssignment, "partition %d has %d replicas, partition 0 has %d", i, len(out[i]), len(out[0]))
		}
	}
	return out, nil
}

// checkReplicas turns a list of node ids into replicas. A broker must be active and not on its way to be emptied, unless has
// says that it has the partition already; has may be nil.
func checkReplicas(m *image.Image, nodes []int32, has func(kafka.BrokerID) bool) ([]kafka.BrokerID, error) {
	if len(nodes) == 0 {
		return nil, refuse(kerr.InvalidReplicaAssignment, "a partition without replicas")
	}
	out := make([]kafka.BrokerID, 0, len(nodes))
	for _, n := range nodes {
		b := kafka.BrokerID(n)
		r, known := m.Broker(b)
		switch {
		case !known:
			return nil, refuse(kerr.InvalidReplicaAssignment, "broker %d is not registered: start it first, or choose another", n)
		case slices.Contains(out, b):
			return nil, refuse(kerr.InvalidReplicaAssignment, "broker %d is named twice for one partition", n)
		case has != nil && has(b):
		case r.Drain:
			return nil, refuse(kerr.InvalidReplicaAssignment, "broker %d is being drained: end that first, or choose another", n)
		case r.State != command.Active:
			return nil, refuse(kerr.InvalidReplicaAssignment, "broker %d is %s: start it first, or choose another", n, r.State)
		}
		out = append(out, b)
	}
	return out, nil
}

// placed lets the controller choose replicas.
func (p *planner) placed(t *kmsg.CreateTopicsRequestTopic) ([][]kafka.BrokerID, error) {
	count, factor := t.NumPartitions, int(t.ReplicationFactor)
	if count == -1 {
		count = p.h.settings.partitions
	}
	if factor == -1 {
		factor = p.h.settings.replicationFactor
	}
	if count < 1 {
		return nil, refuse(kerr.InvalidPartitions, "number of partitions was %d; it must be at least 1, or -1 for the default", count)
	}
	if factor < 1 || factor > math.MaxInt16 {
		return nil, refuse(kerr.InvalidReplicationFactor, "replication factor was %d; it must be at least 1, or -1 for the default", factor)
	}
	if err := p.roomFor(int(count)); err != nil {
		return nil, err
	}
	return place(p.image, p.live, int(count), factor)
}

// place asks the controller for replicas; what it cannot place is the client's replication factor. Brokers that are away get replicas only where
// those that are there do not suffice, and lead none; somebody must be there.
func place(m *image.Image, live []kafka.BrokerID, count, factor int) ([][]kafka.BrokerID, error) {
	var spares []kafka.BrokerID
	if len(live) > 0 {
		spares = controller.Spares(m)
	}
	if factor > len(live)+len(spares) {
		return nil, refuse(kerr.InvalidReplicationFactor, "replication factor %d is larger than the number of brokers that can take a replica, %d of %d (none that is being drained): ask for fewer, or add brokers",
			factor, len(live)+len(spares), m.BrokerCount())
	}
	now := min(factor, len(live))
	replicas, err := controller.Place(m, live, count, now)
	var later [][]kafka.BrokerID
	if err == nil && factor > now {
		later, err = controller.Place(m, spares, count, factor-now)
	}
	if err != nil {
		return nil, refuse(kerr.InvalidReplicationFactor, "%v", err)
	}
	for i, more := range later {
		replicas[i] = append(replicas[i], more...)
	}
	return replicas, nil
}

// roomFor bounds what one request may create.
func (p *planner) roomFor(partitions int) error {
	if p.partitions+partitions > maxPartitionsPerRequest {
		return refuse(kerr.PolicyViolation, "more than %d partitions in one request", maxPartitionsPerRequest)
	}
	return nil
}
