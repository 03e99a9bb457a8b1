package api

import (
	"log/slog"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Metadata (key 3, v0-13): brokers, topics, leaders.
//
//   - A null list of topics (v0: an empty one) means all of them; v10+ also asks by topic id (KIP-516), which is answered
//     with UNKNOWN_TOPIC_ID where there is none. Ids need v12, in which the name may be null.
//   - A topic that is asked for by name and does not exist is created where the request (v4+; before, always) and
//     auto.create.topics.enable allow it; the reply then already shows it.
//   - A repeated topic is answered once.
//   - Fenced brokers are left out: nobody can talk to them. Their replicas are offline.
//   - While a broker that has just gone is not fenced yet the answer waits: a client that is told of a dead leader may not ask
//     again for seconds.
//   - Authorized operations (KIP-430, v8): see authorized_operations.go.
//
// A full answer for a thousand topics shares what view.go has prepared: its cost is the encoding.

var leaderNotAvailable = kerr.LeaderNotAvailable.Code

// metadataTopicVersion is the first version whose topics may be named by id alone.
const metadataTopicIDVersion = 12

// autoCreateWaitMs bounds how long Metadata waits for the topics it creates; the request has no timeout of its own.
const autoCreateWaitMs = 10_000

// settleWaitMs bounds how long a question for leaders waits while that is being decided; no client gives up as soon.
const settleWaitMs = 5000

func (h *Handler) metadata(x *wire.Exchange) {
	req := x.Request.(*kmsg.MetadataRequest)
	resp := kmsg.NewPtrMetadataResponse()
	resp.AuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	all := req.Topics == nil || x.Version == 0 && len(req.Topics) == 0
	var failed map[string]error
	if !all {
		failed = h.autoCreate(x, req)
	}
	h.settle(x)
	m := h.quorum.Image()
	v := h.view.of(m)
	clusterID := m.ClusterID()
	resp.ClusterID = &clusterID
	resp.ControllerID = int32(h.controller())
	m.Brokers(func(b *image.Broker) bool {
		if host, port, ok := endpoint(b, listener(x)); ok && b.State != command.Fenced {
			mb := kmsg.NewMetadataResponseBroker()
			mb.NodeID, mb.Host, mb.Port, mb.Rack = int32(b.ID), host, port, rack(b)
			resp.Brokers = append(resp.Brokers, mb)
		}
		return true
	})
	if all {
		resp.Topics = v.topics[:v.listed]
		if req.IncludeTopicAuthorizedOperations {
			resp.Topics = slices.Clone(resp.Topics)
			authorizeTopics(resp.Topics)
		}
		reply(x, resp)
		return
	}
	resp.Topics = make([]kmsg.MetadataResponseTopic, 0, len(req.Topics))
	var seen map[metadataKey]struct{}
	if len(req.Topics) > 1 {
		seen = make(map[metadataKey]struct{}, len(req.Topics))
	}
	for i := range req.Topics {
		k := metadataKeyOf(&req.Topics[i])
		if seen != nil {
			if _, again := seen[k]; again {
				continue
			}
			seen[k] = struct{}{}
		}
		resp.Topics = append(resp.Topics, v.find(k, x.Version, failed))
	}
	if req.IncludeTopicAuthorizedOperations {
		authorizeTopics(resp.Topics)
	}
	reply(x, resp)
}

// metadataKey is a topic as a request names it: by id, where it has one, or else by name. Java's consumer has an empty name beside an id.
type metadataKey struct {
	name string
	id   kafka.TopicID
	byID bool
}

func metadataKeyOf(t *kmsg.MetadataRequestTopic) metadataKey {
	if t.Topic == nil || t.TopicID != [16]byte(kafka.TopicID{}) {
		return metadataKey{id: t.TopicID, byID: true}
	}
	return metadataKey{name: *t.Topic}
}

// find is one topic's answer. failed tells why a topic could not be created.
func (v *view) find(k metadataKey, version int16, failed map[string]error) kmsg.MetadataResponseTopic {
	mt := kmsg.NewMetadataResponseTopic()
	mt.AuthorizedOperations = unauthorized
	if k.byID {
		mt.TopicID = k.id
		if version < metadataTopicIDVersion {
			mt.ErrorCode = kerr.InvalidRequest.Code
			return mt
		}
		if i, ok := v.byID[k.id]; ok {
			return v.topics[i]
		}
		mt.ErrorCode = kerr.UnknownTopicID.Code
		return mt
	}
	if i, ok := v.byName[k.name]; ok {
		return v.topics[i]
	}
	mt.Topic = &k.name
	mt.IsInternal = internalTopic(k.name)
	switch err := checkTopicName(k.name); {
	case err != nil:
		mt.ErrorCode = code(err)
	case failed[k.name] != nil:
		mt.ErrorCode = code(failed[k.name])
	default:
		mt.ErrorCode = kerr.UnknownTopicOrPartition.Code
	}
	return mt
}

// autoCreate creates the topics that the request names and nobody has made, where that is allowed. It returns why
// those that it tried could not be created.
func (h *Handler) autoCreate(x *wire.Exchange, req *kmsg.MetadataRequest) map[string]error {
	if !h.settings.autoCreate || x.Version >= 4 && !req.AllowAutoTopicCreation {
		return nil
	}
	m := h.quorum.Image()
	var planner *planner
	var names []string
	var commands []command.Command
	failed := map[string]error{}
	for i := range req.Topics {
		name := req.Topics[i].Topic
		if metadataKeyOf(&req.Topics[i]).byID || internalTopic(*name) {
			continue
		}
		if _, exists := m.TopicByName(*name); exists {
			continue
		}
		if planner == nil {
			planner = h.newPlanner(m)
		}
		want := kmsg.NewCreateTopicsRequestTopic()
		want.Topic, want.NumPartitions, want.ReplicationFactor = *name, -1, -1
		if planner.planned[*name] {
			continue // named twice
		}
		c, err := planner.topic(&want)
		if err != nil {
			failed[*name] = err
			continue
		}
		names, commands = append(names, *name), append(commands, c)
	}
	if len(commands) == 0 {
		return failed
	}
	ctx, cancel := within(x, autoCreateWaitMs)
	defer cancel()
	outcomes := h.propose(ctx, commands)
	for i, err := range outcomes {
		if err != nil && code(err) != kerr.TopicAlreadyExists.Code { // another client was faster: all the same
			failed[names[i]] = err
			h.complain(x, slog.LevelWarn, "topic was not created on demand", "topic", names[i], "error", err)
		}
	}
	h.awaitHosted(ctx, commands, outcomes)
	return failed
}

// settle waits while the image may name leaders, or coordinators, that others have seen die a moment ago.
func (h *Handler) settle(x *wire.Exchange) {
	if h.Settle == nil {
		return
	}
	ctx, cancel := within(x, settleWaitMs)
	defer cancel()
	h.Settle(ctx)
}

// controller is the node that administrative clients are sent to: the quorum's leader, or this broker, which takes any
// request, while there is none.
func (h *Handler) controller() kafka.BrokerID {
	if id := h.quorum.LeaderID(); id != kafka.NoBroker {
		return id
	}
	return h.Node
}
