package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/streams"
	"github.com/qanat-io/qanat/wire"
)

// StreamsGroupDescribe (key 89, v0): streams groups with their epochs, topology and members, and which tasks each has and is to have.
//
//   - A group that does not exist, or is of another kind: GROUP_ID_NOT_FOUND.
//   - Partitions of internal topics are shown when all topics are there and fit; else as the application says them, 0 for what follows from others.

func (h *Handler) streamsGroupDescribe(x *wire.Exchange) {
	req := x.Request.(*kmsg.StreamsGroupDescribeRequest)
	resp := kmsg.NewPtrStreamsGroupDescribeResponse()
	names := once(req.Groups)
	resp.Groups = make([]kmsg.StreamsGroupDescribeResponseGroup, len(names))
	for i, name := range names {
		out := &resp.Groups[i]
		out.Default()
		out.Group = name
		d, err := h.Groups.StreamsDescribe(name)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = code(err), message(err)
			continue
		}
		out.State, out.Epoch, out.AssignmentEpoch = d.State.String(), d.Epoch, d.AssignmentEpoch
		out.AuthorizedOperations = operations(req.IncludeAuthorizedOperations, groupOperations)
		if d.Topology != nil {
			out.Topology = describedTopology(d.Topology)
		}
		for j := range d.Members {
			out.Members = append(out.Members, describedStreamsMember(d.Topology, &d.Members[j]))
		}
	}
	reply(x, resp)
}

func describedTopology(t *streams.Topology) *kmsg.StreamsGroupDescribeResponseGroupTopology {
	out := kmsg.NewStreamsGroupDescribeResponseGroupTopology()
	out.Epoch = t.Epoch
	out.Subtopologies = []kmsg.StreamsGroupDescribeResponseGroupTopologySubtopology{}
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		o := kmsg.NewStreamsGroupDescribeResponseGroupTopologySubtopology()
		o.SubtopologyID, o.SourceTopics, o.RepartitionSinkTopics = s.ID, s.Sources, s.Sinks
		o.StateChangelogTopics, o.RepartitionSourceTopics = topicInfos(s.Changelogs), topicInfos(s.Repartition)
		out.Subtopologies = append(out.Subtopologies, o)
	}
	return &out
}

func topicInfos(ts []streams.InternalTopic) []kmsg.TopicInfo {
	var out []kmsg.TopicInfo
	for i := range ts {
		o := kmsg.NewTopicInfo()
		o.Topic, o.NumPartitions, o.ReplicationFactor = ts[i].Name, ts[i].Partitions, ts[i].Replicas
		for _, c := range ts[i].Configs {
			oc := kmsg.NewTopicInfoConfig()
			oc.Key, oc.Value = c.Key, c.Value
			o.Configs = append(o.Configs, oc)
		}
		out = append(out, o)
	}
	return out
}

func describedStreamsMember(t *streams.Topology, d *streams.MemberDescription) kmsg.StreamsGroupDescribeResponseGroupMember {
	out := kmsg.NewStreamsGroupDescribeResponseGroupMember()
	out.MemberID, out.RackID, out.MemberEpoch, out.ClientID, out.ClientHost = d.ID, nullable(d.Rack), d.Epoch, d.ClientID, d.ClientHost
	out.TopologyEpoch, out.ProcessID = d.TopologyEpoch, d.Process
	if d.Endpoint != nil {
		e := kmsg.NewStreamsGroupDescribeResponseGroupMemberUserEndpoint()
		e.Host, e.Port = d.Endpoint.Host, d.Endpoint.Port
		out.UserEndpoint = &e
	}
	for _, tag := range d.Tags {
		o := kmsg.NewStreamsGroupDescribeResponseGroupMemberClientTag()
		o.Key, o.Value = tag.Key, tag.Value
		out.ClientTags = append(out.ClientTags, o)
	}
	out.Assignment.ActiveTasks, out.Assignment.StandbyTasks = wireTasks(t, d.Assigned.Active), wireTasks(t, d.Assigned.Standby)
	out.TargetAssignment.ActiveTasks, out.TargetAssignment.StandbyTasks = wireTasks(t, d.Target.Active), wireTasks(t, d.Target.Standby)
	return out
}
