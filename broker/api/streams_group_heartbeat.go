package api

import (
	"fmt"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/streams"
	"github.com/qanat-io/qanat/wire"
)

// StreamsGroupHeartbeat (key 88, v0): a member of a streams group joins, goes on or leaves, and is told its epoch and its tasks (KIP-1071).
//
//   - Epoch 0 joins, and brings the application's topology; -1 leaves. Null fields are as said before.
//   - A topology with the broker's own topics, or with names that no topic can have: STREAMS_INVALID_TOPOLOGY.
//   - Internal topics that are missing are created before the answer; what could not be created is in the answer's status, and tried again
//     with the next heartbeat. The tasks come with a later one.
//   - Static members, regular expressions, warm-up tasks and offsets of tasks: INVALID_REQUEST, as in Kafka 4.3.
//   - Answered when all that the answer tells is durable.
//   - Not served below the metadata level that has streams groups: see apiVersions.

func (h *Handler) streamsGroupHeartbeat(x *wire.Exchange) {
	req := x.Request.(*kmsg.StreamsGroupHeartbeatRequest)
	b := streams.Heartbeat{
		MemberID: req.MemberID, Epoch: req.MemberEpoch, EndpointEpoch: req.EndpointInformationEpoch, InstanceID: req.InstanceID, Rack: req.RackID,
		ClientID: x.ClientID, ClientHost: clientHost(x), RebalanceMs: req.RebalanceTimeoutMillis, Process: req.ProcessID,
		Owned: streams.Owned{
			Active: taskIDs(req.ActiveTasks), Standby: taskIDs(req.StandbyTasks), Warmup: taskIDs(req.WarmupTasks),
			HasActive: req.ActiveTasks != nil, HasStandby: req.StandbyTasks != nil, HasWarmup: req.WarmupTasks != nil,
		},
		HasTags: req.ClientTags != nil, HasOffsets: req.TaskOffsets != nil || req.TaskEndOffsets != nil, Shutdown: req.ShutdownApplication,
	}
	if e := req.UserEndpoint; e != nil {
		b.Endpoint = &streams.Endpoint{Host: e.Host, Port: e.Port}
	}
	for i := range req.ClientTags {
		b.Tags = append(b.Tags, streams.Pair{Key: req.ClientTags[i].Key, Value: req.ClientTags[i].Value})
	}
	if req.Topology != nil {
		b.Topology = topologyOf(req.Topology)
		for name := range b.Topology.Names() {
			err := checkTopicName(name)
			if err == nil && internalTopic(name) {
				err = fmt.Errorf("topic %q is the broker's own", name)
			}
			if err != nil {
				reply(x, streamsHeartbeatResponse(streams.Reply{Err: refuse(kerr.StreamsInvalidTopology, "%v", err)}))
				return
			}
		}
	}
	h.Groups.StreamsHeartbeat(req.Group, &b, func(r streams.Reply) {
		if r.Err != nil || len(r.Create) == 0 {
			reply(x, streamsHeartbeatResponse(r))
			return
		}
		h.createInternal(x, r.Create, func(failed string) {
			resp := streamsHeartbeatResponse(r)
			for i := range resp.Status {
				if s := &resp.Status[i]; failed != "" && s.StatusCode == int8(streams.MissingInternalTopics) {
					s.StatusDetail += "; could not be created: " + failed
				}
			}
			reply(x, resp)
		})
	})
}

// createInternal creates topics, but for those that another has created meanwhile. done is called once, when all are, from any goroutine: with why
// the first of those is not there that could not be created; "" for none.
func (h *Handler) createInternal(x *wire.Exchange, topics []streams.NewTopic, done func(failed string)) {
	var mu sync.Mutex
	var failed []string
	left := 1 // ours, until all are proposed
	ended := func(name string, err error) {
		mu.Lock()
		if err != nil && code(err) != kerr.TopicAlreadyExists.Code {
			failed = append(failed, fmt.Sprintf("%s (%v)", name, err))
		}
		left--
		last := left == 0
		mu.Unlock()
		if last {
			done(strings.Join(failed[:min(len(failed), 1)], ""))
		}
	}
	planner, quota := h.newPlanner(h.quorum.Image()), h.mutations(x, 0)
	for i := range topics {
		t := &topics[i]
		want := kmsg.NewCreateTopicsRequestTopic()
		want.Topic, want.NumPartitions, want.ReplicationFactor = t.Name, t.Partitions, t.Replicas
		if t.Replicas == 0 {
			want.ReplicationFactor = -1
		}
		for j := range t.Configs {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = t.Configs[j].Key, &t.Configs[j].Value
			want.Configs = append(want.Configs, c)
		}
		mu.Lock()
		left++
		mu.Unlock()
		c, err := planner.topic(&want)
		if err == nil {
			err = quota.admit(len(c.Partitions))
		}
		if err != nil {
			ended(t.Name, err)
			continue
		}
		h.quorum.ProposeAsync(c, func(_ any, err error) { ended(t.Name, err) })
	}
	ended("", nil)
}

func topologyOf(t *kmsg.StreamsGroupHeartbeatRequestTopology) *streams.Topology {
	out := &streams.Topology{Epoch: t.Epoch, Subtopologies: make([]streams.Subtopology, len(t.Subtopologies))}
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		o := &out.Subtopologies[i]
		*o = streams.Subtopology{
			ID: s.SubtopologyID, Sources: s.SourceTopics, Regexes: s.SourceTopicRegex, Sinks: s.RepartitionSinkTopics,
			Repartition: internalTopics(s.RepartitionSourceTopics), Changelogs: internalTopics(s.StateChangelogTopics),
		}
		for j := range s.CopartitionGroups {
			g := &s.CopartitionGroups[j]
			o.Groups = append(o.Groups, streams.Copartition{Sources: g.SourceTopics, Regexes: g.SourceTopicRegex, Repartition: g.RepartitionSourceTopics})
		}
	}
	return out
}

func internalTopics(ts []kmsg.TopicInfo) []streams.InternalTopic {
	var out []streams.InternalTopic
	for i := range ts {
		o := streams.InternalTopic{Name: ts[i].Topic, Partitions: ts[i].NumPartitions, Replicas: ts[i].ReplicationFactor}
		for _, c := range ts[i].Configs {
			o.Configs = append(o.Configs, streams.Pair{Key: c.Key, Value: c.Value})
		}
		out = append(out, o)
	}
	return out
}

func taskIDs(ts []kmsg.TaskIDs) []streams.TaskIDs {
	var out []streams.TaskIDs
	for i := range ts {
		out = append(out, streams.TaskIDs{Subtopology: ts[i].SubtopologyID, Partitions: ts[i].Partitions})
	}
	return out
}

// wireTasks is tasks as requests and answers have them; never nil, which would say that they are as before.
func wireTasks(t *streams.Topology, ts streams.Tasks) []kmsg.TaskIDs {
	out := []kmsg.TaskIDs{}
	for _, ids := range t.ByID(ts) {
		o := kmsg.NewTaskIDs()
		o.SubtopologyID, o.Partitions = ids.Subtopology, ids.Partitions
		out = append(out, o)
	}
	return out
}

// acceptableRecoveryLag and taskOffsetIntervalMs are for warm-up tasks and offsets of tasks; without those, clients make no use of them.
const acceptableRecoveryLag, taskOffsetIntervalMs = 0, 0

func streamsHeartbeatResponse(r streams.Reply) *kmsg.StreamsGroupHeartbeatResponse {
	resp := kmsg.NewPtrStreamsGroupHeartbeatResponse()
	if r.Err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(r.Err), message(r.Err)
		return resp
	}
	resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = r.MemberID, r.Epoch, int32(r.Interval.Milliseconds())
	resp.AcceptableRecoveryLagLegacy, resp.TaskOffsetIntervalMillis = acceptableRecoveryLag, taskOffsetIntervalMs
	resp.EndpointInformationEpoch = r.EndpointEpoch
	resp.Status = []kmsg.StreamsGroupHeartbeatResponseStatus{}
	for _, s := range r.Status {
		o := kmsg.NewStreamsGroupHeartbeatResponseStatus()
		o.StatusCode, o.StatusDetail = int8(s.Code), s.Detail
		resp.Status = append(resp.Status, o)
	}
	if r.Assigned {
		resp.ActiveTasks, resp.StandbyTasks = wireTasks(r.Topology, r.Assignment.Active), wireTasks(r.Topology, r.Assignment.Standby)
		resp.WarmupTasks = []kmsg.TaskIDs{}
	}
	if r.Told {
		resp.PartitionsByUserEndpoint = []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint{}
	}
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		o := kmsg.NewStreamsGroupHeartbeatResponsePartitionsByUserEndpoint()
		o.UserEndpoint.Host, o.UserEndpoint.Port = e.Host, e.Port
		for _, t := range e.Active {
			o.ActivePartitions = append(o.ActivePartitions, kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition{Topic: t.Topic, Partitions: t.Partitions})
		}
		for _, t := range e.Standby {
			o.StandbyPartitions = append(o.StandbyPartitions, kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition{Topic: t.Topic, Partitions: t.Partitions})
		}
		resp.PartitionsByUserEndpoint = append(resp.PartitionsByUserEndpoint, o)
	}
	return resp
}
