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
)

// groupMember is a member of a group of the consumer protocol (KIP-848), or of a streams group (KIP-1071), which has tasks.
type groupMember struct {
	Member   string `json:"member"`
	Instance string `json:"instance,omitempty"`
	ClientID string `json:"client_id"`
	Host     string `json:"host"`
	Epoch    int32  `json:"epoch"`
	Protocol string `json:"protocol"` // consumer, streams, or classic while the group is migrated
	Assigned string `json:"assigned"` // what it has, as topic:0-3,5, or subtopology:0-3,5
	Target   string `json:"target"`   // what it is to have

	// Of streams groups.
	Process       string `json:"process,omitempty"`
	Standby       string `json:"standby,omitempty"`
	TargetStandby string `json:"target_standby,omitempty"`
}

// owner is who reads a partition.
type owner struct{ member, client, host string }

// owners are they by topic and partition.
type owners map[string]map[int32]owner

func (o owners) add(topic string, p int32, who owner) {
	if o[topic] == nil {
		o[topic] = map[int32]owner{}
	}
	o[topic][p] = who
}

// describeConsumers describes groups of the consumer protocol, by name; those that are none are left out.
func describeConsumers(ctx context.Context, adm *kadm.Client, names []string) (map[string]*groupDescription, error) {
	out := map[string]*groupDescription{}
	if len(names) == 0 {
		return out, nil
	}
	described, err := adm.DescribeConsumerGroups(ctx, names...)
	if err != nil {
		if unserved(err) {
			return out, nil
		}
		return nil, fmt.Errorf("describe groups: %w", err)
	}
	for _, d := range described {
		switch {
		case errors.Is(d.Err, kerr.GroupIDNotFound):
			continue
		case d.Err != nil:
			return nil, fmt.Errorf("group %s: %w", d.Group, d.Err)
		}
		g, err := consumerGroupOf(ctx, adm, d)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", d.Group, err)
		}
		out[d.Group] = g
	}
	return out, nil
}

// unserved tells whether an error says that the cluster does not serve a protocol of groups: then there are no such groups.
func unserved(err error) bool {
	return errors.Is(err, kerr.UnsupportedVersion) || strings.Contains(err.Error(), "does not support") || strings.Contains(err.Error(), "too old")
}

func consumerGroupOf(ctx context.Context, adm *kadm.Client, d kadm.DescribedConsumerGroup) (*groupDescription, error) {
	g := &groupDescription{
		Group: d.Group, Type: "consumer", State: d.State, Protocol: d.AssignorName, Coordinator: d.Coordinator.NodeID, Members: len(d.Members),
		Epoch: d.Epoch, AssignmentEpoch: d.AssignmentEpoch, Partitions: []groupOffsets{},
	}
	owners, partitions := owners{}, kadm.TopicsSet{}
	for i := range d.Members {
		m := &d.Members[i]
		protocol := "consumer"
		if m.MemberType == 0 {
			protocol = "classic"
		}
		instance := ""
		if m.InstanceID != nil {
			instance = *m.InstanceID
		}
		g.MemberList = append(g.MemberList, groupMember{
			Member: m.MemberID, Instance: instance, ClientID: m.ClientID, Host: m.ClientHost, Epoch: m.MemberEpoch, Protocol: protocol,
			Assigned: assignmentText(m.Assignment), Target: assignmentText(m.TargetAssignment),
		})
		m.Assignment.Each(func(t string, p int32) { owners.add(t, p, owner{m.MemberID, m.ClientID, m.ClientHost}) })
		partitions.Merge(m.Assignment)
	}
	return g, g.addOffsets(ctx, adm, partitions, owners)
}

// addOffsets shows how far the group is in partitions, and in those of which it has committed offsets.
func (g *groupDescription) addOffsets(ctx context.Context, adm *kadm.Client, partitions kadm.TopicsSet, owners owners) error {
	fetched := adm.FetchManyOffsets(ctx, g.Group)[g.Group]
	if fetched.Err != nil {
		return fetched.Err
	}
	committed := fetched.Fetched
	partitions.Merge(committed.Partitions())
	delete(partitions, "") // a topic that the broker could not name
	if len(partitions) == 0 {
		return nil
	}
	starts, err := adm.ListStartOffsets(ctx, partitions.Topics()...)
	if err != nil {
		return err
	}
	ends, err := adm.ListEndOffsets(ctx, partitions.Topics()...)
	if err != nil {
		return err
	}
	for _, t := range partitions.Sorted() {
		for _, p := range t.Partitions {
			o := lagOf(committed, starts, ends, t.Topic, p)
			who := owners[t.Topic][p]
			o.Member, o.ClientID, o.Host = who.member, who.client, who.host
			g.Lag += max(o.Lag, 0)
			g.Partitions = append(g.Partitions, o)
		}
	}
	return nil
}

// lagOf is how far behind a group is in a partition; -1 when that is not known.
func lagOf(committed kadm.OffsetResponses, starts, ends kadm.ListedOffsets, topic string, p int32) groupOffsets {
	o := groupOffsets{Topic: topic, Partition: p, Committed: -1, Start: -1, End: -1, Lag: -1}
	start, _ := starts.Lookup(topic, p)
	end, ok := ends.Lookup(topic, p)
	c, has := committed.Lookup(topic, p)
	switch {
	case !ok:
		o.Error = kerr.UnknownTopicOrPartition.Error()
	case end.Err != nil:
		o.Error = end.Err.Error()
	case start.Err != nil:
		o.Error = start.Err.Error()
	case has && c.Err != nil:
		o.Error = c.Err.Error()
	}
	if o.Error != "" {
		return o
	}
	o.Start, o.End = start.Offset, end.Offset
	from := o.Start
	if has && c.At >= 0 {
		o.Committed, from = c.At, c.At
	}
	o.Lag = max(o.End-from, 0)
	return o
}

// assignmentText is partitions as topic:0-3,5 topic:…
func assignmentText(s kadm.TopicsSet) string {
	var topics []string
	for _, t := range s.Sorted() {
		ps := slices.Sorted(slices.Values(t.Partitions))
		var runs []string
		for i := 0; i < len(ps); {
			end := i
			for end+1 < len(ps) && ps[end+1] == ps[end]+1 {
				end++
			}
			run := strconv.Itoa(int(ps[i]))
			if end > i {
				run += "-" + strconv.Itoa(int(ps[end]))
			}
			runs = append(runs, run)
			i = end + 1
		}
		topics = append(topics, t.Topic+":"+strings.Join(runs, ","))
	}
	return strings.Join(topics, " ")
}

// memberTable shows the members of a group of the consumer protocol: where each is on the way to its target.
func memberTable(g *groupDescription) table {
	t := table{columns: []string{"+MEMBER", "CLIENT", "+HOST", "#EPOCH", "+PROTOCOL", "ASSIGNED", "TARGET"}}
	for _, m := range g.MemberList {
		target := m.Target
		if target == m.Assigned {
			target = "the same"
		}
		t.add(m.Member, m.ClientID, m.Host, strconv.Itoa(int(m.Epoch)), m.Protocol, m.Assigned, target)
	}
	return t
}
