package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (a *app) shareCommand() *cobra.Command {
	seek, describe := a.groupSeekCommand(true), a.groupDescribeCommand()
	seek.Short = "Set where a share group begins anew"
	seek.Example = "  qanat share seek workers --to start --topics jobs --dry-run"
	describe.Short = "Show share groups: where each share starts, and what is still to do"
	c := a.parent("share", "Look at share groups, queues on topics (KIP-932), and move them",
		a.groupListCommand("List share groups", "share"), describe, seek, a.shareForgetCommand())
	c.Aliases = []string{"shares"}
	return c
}

func (a *app) shareForgetCommand() *cobra.Command {
	c := a.outputs(&cobra.Command{
		Use:   "forget GROUP TOPIC...",
		Short: "Have a share group forget topics: what it has done in them, and where it was",
		Long: `Have a share group forget topics: what it has done in them, and where it was. When it takes records of them again, it begins
where share.auto.offset.reset says. The group must have no members: stop its consumers first.`,
		Args: wantArgs(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			group, topics := args[0], args[1:]
			m, err := startsOf(cmd.Context(), adm, group)
			if err != nil {
				return err
			}
			for _, topic := range topics {
				if _, ok := m.now[topic]; !ok {
					return failf(exitNotFound, "`qanat share describe "+group+"` shows its topics", "share group %s has nothing in topic %s", group, topic)
				}
			}
			if err := a.confirm(fmt.Sprintf("Have share group %s forget what it has done in %s", group, strings.Join(topics, ", "))); err != nil {
				return err
			}
			res, err := adm.DeleteShareGroupOffsets(cmd.Context(), group, topics...)
			if err != nil {
				return withMembers(fmt.Errorf("share group %s: %w", group, err))
			}
			var o outcomes
			for _, topic := range slices.Sorted(maps.Keys(res)) {
				o.add(topic, "forgotten", res[topic])
			}
			return o.show(a, "TOPIC")
		},
	})
	a.destructive(c)
	c.ValidArgsFunction = a.completeGroups(1)
	return c
}

// startsOf is where a share group's shares start; it has to be one.
func startsOf(ctx context.Context, adm *kadm.Client, group string) (movable, error) {
	m, ok, err := sharesOf(ctx, adm, group)
	if err == nil && !ok {
		err = failf(exitNotFound, "`qanat share list` lists those that do", "share group %s does not exist", group)
	}
	return m, err
}

// sharesOf is where a group's shares start; false when it is no share group.
func sharesOf(ctx context.Context, adm *kadm.Client, group string) (movable, bool, error) {
	described, err := adm.DescribeShareGroups(ctx, group)
	if err != nil {
		if unserved(err) {
			return movable{}, false, nil
		}
		return movable{}, false, fmt.Errorf("describe share group %s: %w", group, err)
	}
	if d, ok := described[group]; !ok || errors.Is(d.Err, kerr.GroupIDNotFound) {
		return movable{}, false, nil
	} else if d.Err != nil {
		return movable{}, false, fmt.Errorf("describe share group %s: %w", group, d.Err)
	}
	all, err := adm.DescribeShareGroupOffsets(ctx, group)
	if err == nil {
		err = all[group].Err
	}
	if err != nil {
		return movable{}, false, fmt.Errorf("where share group %s is: %w", group, err)
	}
	m := movable{now: kadm.OffsetResponses{}}
	for _, o := range all[group].Offsets.Sorted() {
		m.now.Add(kadm.OffsetResponse{Offset: kadm.Offset{Topic: o.Topic, Partition: o.Partition, At: o.StartOffset}, Err: o.Err})
	}
	m.set = func(ctx context.Context, to kadm.Offsets) (kadm.OffsetResponses, error) {
		res, err := adm.AlterShareGroupOffsets(ctx, group, to)
		done := kadm.OffsetResponses{}
		to.Each(func(o kadm.Offset) {
			if err, ok := res.Lookup(o.Topic, o.Partition); ok {
				done.Add(kadm.OffsetResponse{Offset: o, Err: err})
			}
		})
		return done, err
	}
	return m, true, nil
}

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
		switch {
		case o.Err != nil:
			line.Error = o.Err.Error()
		case line.End >= 0 && line.Committed > line.End: // as with Kafka, whose admin API takes any offset
			line.Error = fmt.Sprintf("begins beyond the end: nothing is given out before offset %d is written; `qanat share seek` moves it", line.Committed)
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
