package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// describeShares shows those of the groups that are share groups: where they begin in partitions, and what is still to do.
func describeShares(ctx context.Context, adm *kadm.Client, names []string) (map[string]*groupDescription, error) {
	out := map[string]*groupDescription{}
	if len(names) == 0 {
		return out, nil
	}
	described, err := adm.DescribeShareGroups(ctx, names...)
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
			return nil, fmt.Errorf("group %s: %w", d.GroupID, d.Err)
		}
		g := &groupDescription{
			Group: d.GroupID, Type: "share", State: d.GroupState, Protocol: d.Assignor, Coordinator: d.Coordinator.NodeID, Members: len(d.Members),
			Epoch: d.GroupEpoch, AssignmentEpoch: d.AssignmentEpoch, Partitions: []groupOffsets{},
		}
		if err := shareOffsets(ctx, adm, g); err != nil {
			return nil, fmt.Errorf("group %s: %w", d.GroupID, err)
		}
		out[d.GroupID] = g
	}
	return out, nil
}

// shareOffsets fills in a group's partitions.
func shareOffsets(ctx context.Context, adm *kadm.Client, g *groupDescription) error {
	all, err := adm.DescribeShareGroupOffsets(ctx, g.Group)
	if err != nil {
		return err
	}
	d := all[g.Group]
	if d.Err != nil {
		return d.Err
	}
	topics := kadm.TopicsSet{}
	for _, o := range d.Offsets.Sorted() {
		topics.Add(o.Topic)
	}
	starts, ends, err := shareEnds(ctx, adm, topics.Topics())
	if err != nil {
		return err
	}
	for _, o := range d.Offsets.Sorted() {
		line := groupOffsets{Topic: o.Topic, Partition: o.Partition, Committed: o.StartOffset, Lag: o.Lag, Start: -1, End: -1}
		if at, ok := starts.Lookup(o.Topic, o.Partition); ok && at.Err == nil {
			line.Start = at.Offset
		}
		if at, ok := ends.Lookup(o.Topic, o.Partition); ok && at.Err == nil {
			line.End = at.Offset
		}
		if o.Err != nil {
			line.Error = o.Err.Error()
		}
		g.Lag += max(o.Lag, 0)
		g.Partitions = append(g.Partitions, line)
	}
	return nil
}

func shareEnds(ctx context.Context, adm *kadm.Client, topics []string) (starts, ends kadm.ListedOffsets, err error) {
	if len(topics) == 0 {
		return nil, nil, nil
	}
	if starts, err = adm.ListStartOffsets(ctx, topics...); err == nil {
		ends, err = adm.ListEndOffsets(ctx, topics...)
	}
	return starts, ends, err
}
