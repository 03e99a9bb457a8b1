package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Group is a consumer group.
type Group struct {
	Name     string
	State    string // "Dead" when there is none of that name
	Type     string // classic or consumer
	Protocol string
	Members  []Member
	Offsets  []GroupOffset // by topic and partition
}

// Member is one of a group's.
type Member struct{ ID, Instance, ClientID, Host string }

// GroupOffset is how far a group is in a partition.
type GroupOffset struct {
	Topic     string
	Partition int32
	Committed int64
	End       int64 // -1 where it is not known
}

// Lag is how many records are still to come, 0 where that is not known.
func (o GroupOffset) Lag() int64 { return max(0, o.End-o.Committed) }

// Group looks at a group: its members and what it has committed.
func (c *Cluster) Group(ctx context.Context, name string) (*Group, error) {
	what := "look at group " + name
	adm, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	g, err := c.members(ctx, name)
	if err != nil {
		return nil, err
	}
	offsets, err := adm.FetchOffsets(ctx, name)
	if err != nil {
		return nil, failed(what, err, nil)
	}
	topics := map[string]bool{}
	for _, o := range offsets.Sorted() {
		if o.Err == nil && o.At >= 0 {
			g.Offsets = append(g.Offsets, GroupOffset{o.Topic, o.Partition, o.At, -1})
			topics[o.Topic] = true
		}
	}
	if len(topics) == 0 {
		return g, nil
	}
	names := make([]string, 0, len(topics))
	for t := range topics {
		names = append(names, t)
	}
	ends, err := adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, failed(what, err, nil)
	}
	for i := range g.Offsets {
		o := &g.Offsets[i]
		if end, ok := ends.Lookup(o.Topic, o.Partition); ok && end.Err == nil {
			o.End = end.Offset
		}
	}
	return g, nil
}

// members are a group without its offsets.
func (c *Cluster) members(ctx context.Context, name string) (*Group, error) {
	what := "look at group " + name
	adm, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	g := &Group{Name: name, State: "Dead", Type: "classic"}
	consumers, err := adm.DescribeConsumerGroups(ctx, name)
	if d, ok := consumers[name]; err == nil && ok && d.Err == nil {
		g.State, g.Type, g.Protocol = d.State, "consumer", d.AssignorName
		for _, m := range d.Members {
			g.Members = append(g.Members, Member{m.MemberID, orEmpty(m.InstanceID), m.ClientID, m.ClientHost})
		}
		return g, nil
	}
	// Not of that protocol, or a cluster that does not serve it.
	classic, err := adm.DescribeGroups(ctx, name)
	if err != nil {
		return nil, failed(what, err, nil)
	}
	d := classic[name]
	if d.Err != nil && !Is(d.Err, kerr.GroupIDNotFound) {
		return nil, failed(what, d.Err, nil)
	}
	if d.Err == nil {
		g.State, g.Protocol = d.State, d.Protocol
	}
	for _, m := range d.Members {
		g.Members = append(g.Members, Member{m.MemberID, orEmpty(m.InstanceID), m.ClientID, m.ClientHost})
	}
	return g, nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Committed are a group's offsets of a topic; nil when there are none.
func (c *Cluster) Committed(ctx context.Context, group, topic string) (map[int32]int64, error) {
	adm, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	offsets, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, failed("read the offsets of group "+group, err, nil)
	}
	var out map[int32]int64
	for p, o := range offsets[topic] {
		if o.Err == nil && o.At >= 0 {
			if out == nil {
				out = map[int32]int64{}
			}
			out[p] = o.At
		}
	}
	return out, nil
}

// Places are the offsets of a topic's partitions at a place: "earliest", "latest", or the first record at or after a time.
func (c *Cluster) Places(ctx context.Context, topic, place string) (map[int32]int64, error) {
	what := fmt.Sprintf("find %s in topic %s", place, topic)
	adm, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	var found kadm.ListedOffsets
	switch place {
	case "earliest":
		found, err = adm.ListStartOffsets(ctx, topic)
	case "latest":
		found, err = adm.ListEndOffsets(ctx, topic)
	default:
		at, wrong := time.Parse(time.RFC3339, place)
		if wrong != nil {
			return nil, failed(what, wrong, nil, "Write earliest, latest, or a time such as 2026-11-26T09:00:00Z.")
		}
		found, err = adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	}
	if err != nil {
		return nil, failed(what, err, nil)
	}
	out := map[int32]int64{}
	for p, o := range found[topic] {
		if o.Err != nil {
			return nil, failed(what, o.Err, nil)
		}
		out[p] = o.Offset
	}
	if len(out) == 0 {
		return nil, failed(what, kerr.UnknownTopicOrPartition, nil, "Create the topic first: a reference such as topic = qanat_topic.NAME.name has Terraform keep the order.")
	}
	return out, nil
}

// Commit sets a group's offsets of a topic. It refuses while the group has members, who would not hear of it.
func (c *Cluster) Commit(ctx context.Context, group, topic string, offsets map[int32]int64) error {
	what := fmt.Sprintf("set the offsets of group %s in topic %s", group, topic)
	adm, err := c.admin(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	g, err := c.members(ctx, group)
	if err != nil {
		return err
	}
	if n := len(g.Members); n > 0 {
		var who []string
		for _, m := range g.Members[:min(n, 3)] {
			who = append(who, m.ClientID+" on "+m.Host)
		}
		text := fmt.Sprintf("The group has %d members (%s): they hold their own positions and would commit over what is set", n, strings.Join(who, ", "))
		return failed(what, kerr.NonEmptyGroup, &text, "Stop the group's consumers, apply, and start them again. They begin at what was set.")
	}
	ends, err := c.Places(ctx, topic, "latest")
	if err != nil {
		return err
	}
	var commit kadm.Offsets
	for p, at := range offsets {
		end, ok := ends[p]
		if !ok {
			text := fmt.Sprintf("Topic %s has no partition %d; it has %d", topic, p, len(ends))
			return failed(what, kerr.UnknownTopicOrPartition, &text, "Write the numbers of partitions that exist as keys of offsets.")
		}
		if at > end {
			text := fmt.Sprintf("Partition %d ends at %d; %d is behind its end", p, end, at)
			return failed(what, kerr.OffsetOutOfRange, &text, "Write an offset up to the end, or to = \"latest\".")
		}
		commit.AddOffset(topic, p, at, -1)
	}
	done, err := adm.CommitOffsets(ctx, group, commit)
	if err != nil {
		return failed(what, err, nil)
	}
	list := done.Sorted()
	slices.SortFunc(list, func(a, b kadm.OffsetResponse) int { return cmp.Compare(a.Partition, b.Partition) })
	for _, o := range list {
		if o.Err != nil {
			return failed(fmt.Sprintf("%s, partition %d", what, o.Partition), o.Err, nil)
		}
	}
	return nil
}
