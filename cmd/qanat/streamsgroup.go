package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// subtopology is a part of what an application of a streams group does: a task for each partition of what it reads.
type subtopology struct {
	ID         string   `json:"id"`
	Reads      []string `json:"reads"`
	Writes     []string `json:"writes"` // of topics that another one reads
	Changelogs []string `json:"changelogs"`
}

// describeStreams describes those of the groups that are streams groups, by name.
func describeStreams(ctx context.Context, cl *kgo.Client, names []string) (map[string]*groupDescription, error) {
	out := map[string]*groupDescription{}
	if len(names) == 0 {
		return out, nil
	}
	adm := kadm.NewClient(cl)
	for _, c := range adm.FindGroupCoordinators(ctx, names...) {
		if c.Err != nil {
			return nil, fmt.Errorf("group %s: %w", c.Name, c.Err)
		}
		req := kmsg.NewPtrStreamsGroupDescribeRequest()
		req.Groups = []string{c.Name}
		resp, err := req.RequestWith(ctx, cl.Broker(int(c.NodeID)))
		if err != nil {
			if unserved(err) {
				return out, nil
			}
			return nil, fmt.Errorf("describe group %s: %w", c.Name, err)
		}
		for i := range resp.Groups {
			d := &resp.Groups[i]
			err := kerr.ErrorForCode(d.ErrorCode)
			if errors.Is(err, kerr.GroupIDNotFound) {
				continue
			}
			var g *groupDescription
			if err == nil {
				g, err = streamsGroupOf(ctx, adm, d)
			}
			if err != nil {
				return nil, fmt.Errorf("group %s: %w", d.Group, err)
			}
			g.Coordinator = c.NodeID
			out[d.Group] = g
		}
	}
	return out, nil
}

func streamsGroupOf(ctx context.Context, adm *kadm.Client, d *kmsg.StreamsGroupDescribeResponseGroup) (*groupDescription, error) {
	g := &groupDescription{
		Group: d.Group, Type: "streams", State: d.State, Protocol: "sticky", Members: len(d.Members),
		Epoch: d.Epoch, AssignmentEpoch: d.AssignmentEpoch, Partitions: []groupOffsets{},
	}
	reads := map[string][]string{}
	if d.Topology != nil {
		for i := range d.Topology.Subtopologies {
			s := &d.Topology.Subtopologies[i]
			sub := subtopology{ID: s.SubtopologyID, Reads: slices.Clone(s.SourceTopics), Writes: s.RepartitionSinkTopics, Changelogs: topicNames(s.StateChangelogTopics)}
			sub.Reads = append(sub.Reads, topicNames(s.RepartitionSourceTopics)...)
			reads[sub.ID] = sub.Reads
			g.Subtopologies = append(g.Subtopologies, sub)
		}
	}
	owners, partitions := owners{}, kadm.TopicsSet{}
	for i := range d.Members {
		m := &d.Members[i]
		g.MemberList = append(g.MemberList, groupMember{
			Member: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, Epoch: m.MemberEpoch, Protocol: "streams", Process: m.ProcessID,
			Assigned: taskText(m.Assignment.ActiveTasks), Target: taskText(m.TargetAssignment.ActiveTasks),
			Standby: taskText(m.Assignment.StandbyTasks), TargetStandby: taskText(m.TargetAssignment.StandbyTasks),
		})
		for _, t := range m.Assignment.ActiveTasks {
			for _, topic := range reads[t.SubtopologyID] {
				for _, p := range t.Partitions {
					owners.add(topic, p, owner{m.MemberID, m.ClientID, m.ClientHost})
					partitions.Add(topic, p)
				}
			}
		}
	}
	return g, g.addOffsets(ctx, adm, partitions, owners)
}

func topicNames(ts []kmsg.TopicInfo) []string {
	out := make([]string, len(ts))
	for i := range ts {
		out[i] = ts[i].Topic
	}
	return out
}

// taskText is tasks as subtopology:0-3,5 subtopology:…
func taskText(tasks []kmsg.TaskIDs) string {
	s := kadm.TopicsSet{}
	for _, t := range tasks {
		s.Add(t.SubtopologyID, t.Partitions...)
	}
	return assignmentText(s)
}

// streamsTables shows a streams group's topology, and its members: which tasks each has, and what it is to have.
func streamsTables(g *groupDescription) []table {
	topology := table{columns: []string{"SUBTOPOLOGY", "READS", "WRITES", "CHANGELOGS"}}
	for _, s := range g.Subtopologies {
		topology.add(s.ID, strings.Join(s.Reads, " "), strings.Join(s.Writes, " "), strings.Join(s.Changelogs, " "))
	}
	members := table{columns: []string{"+MEMBER", "CLIENT", "+HOST", "+PROCESS", "#EPOCH", "TASKS", "STANDBYS", "TARGET"}}
	for _, m := range g.MemberList {
		target := "the same"
		if m.Target != m.Assigned || m.TargetStandby != m.Standby {
			target = m.Target
			if m.TargetStandby != "" {
				target += " standby " + m.TargetStandby
			}
		}
		members.add(m.Member, m.ClientID, m.Host, m.Process, strconv.Itoa(int(m.Epoch)), m.Assigned, m.Standby, target)
	}
	return []table{topology, members}
}
