package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (a *app) groupCommand() *cobra.Command {
	c := a.parent("group", "Look at consumer groups, and move them",
		a.groupListCommand("List groups", ""), a.groupDescribeCommand(), a.groupSeekCommand(false), a.groupDeleteCommand())
	c.Aliases = []string{"groups"}
	return c
}

// groupRow is one of group list.
type groupRow struct {
	Group       string `json:"group"`
	Type        string `json:"type"` // classic, consumer (KIP-848), share (KIP-932) or streams (KIP-1071)
	State       string `json:"state"`
	Protocol    string `json:"protocol_type"`
	Coordinator int32  `json:"coordinator"`
}

// groupListCommand lists groups of a type; "": of all.
func (a *app) groupListCommand(short, of string) *cobra.Command {
	var states, types []string
	c := a.outputs(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   short,
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(oneOf("state", states, groupStates), oneOf("type", types, groupTypes)); err != nil {
				return err
			}
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			groups, err := adm.ListGroups(cmd.Context(), states...)
			if err != nil {
				return fmt.Errorf("list groups: %w", err)
			}
			rows := []groupRow{}
			t := table{columns: []string{"GROUP", "TYPE", "STATE", "+PROTOCOL", "+#COORDINATOR"}}
			for _, g := range groups.Sorted() {
				if of != "" && g.GroupType != of || len(types) > 0 && !slices.Contains(types, g.GroupType) {
					continue
				}
				rows = append(rows, groupRow{g.Group, g.GroupType, g.State, g.ProtocolType, g.Coordinator})
				t.add(g.Group, g.GroupType, g.State, g.ProtocolType, strconv.Itoa(int(g.Coordinator)))
			}
			return a.show(rows, t)
		},
	})
	c.Flags().StringSliceVar(&states, "state", nil, "only groups in these states: "+strings.Join(groupStates, ", "))
	if of == "" {
		c.Flags().StringSliceVar(&types, "type", nil, "only groups of these types: "+strings.Join(groupTypes, ", "))
	}
	return c
}

// What groups may be, in Kafka's words.
var (
	groupStates = []string{"PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling", "NotReady"}
	groupTypes  = []string{"classic", "consumer", "share", "streams"}
)

// oneOf writes a flag's values as they are known, whatever their case, and refuses others: a misspelt one would find nothing.
func oneOf(flag string, values, known []string) error {
	for i, v := range values {
		at := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, v) })
		if at < 0 {
			return failf(exitUsage, "", "--%s %q: it is one of %s", flag, v, strings.Join(known, ", "))
		}
		values[i] = known[at]
	}
	return nil
}

// groupDescription is one of group describe.
type groupDescription struct {
	Group       string         `json:"group"`
	Type        string         `json:"type"`
	State       string         `json:"state"`
	Protocol    string         `json:"protocol"` // the assignor, in all types
	Coordinator int32          `json:"coordinator"`
	Members     int            `json:"members"`
	Lag         int64          `json:"lag"`
	LagSeconds  *float64       `json:"lag_seconds,omitempty"` // the worst; absent when unknown
	Partitions  []groupOffsets `json:"partitions,omitzero"`   // nil: a summary was asked for

	// Of all but classic groups: the group's epoch, that of its target assignment, and how far each member has followed.
	Epoch           int32         `json:"epoch,omitempty"`
	AssignmentEpoch int32         `json:"assignment_epoch,omitempty"`
	MemberList      []groupMember `json:"member_list,omitempty"`
	Subtopologies   []subtopology `json:"subtopologies,omitempty"` // of streams groups
}

type groupOffsets struct {
	Topic      string   `json:"topic"`
	Partition  int32    `json:"partition"`
	Committed  int64    `json:"committed"` // -1: nothing is
	Start      int64    `json:"start"`
	End        int64    `json:"end"`
	Lag        int64    `json:"lag"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
	Member     string   `json:"member,omitempty"`
	ClientID   string   `json:"client_id,omitempty"`
	Host       string   `json:"host,omitempty"`
	Error      string   `json:"error,omitempty"`
}

func (a *app) groupDescribeCommand() *cobra.Command {
	var watch time.Duration
	var summary bool
	c := a.outputs(&cobra.Command{
		Use:     "describe GROUP...",
		Aliases: []string{"info"},
		Short:   "Show groups, their offsets and their lag in records and in time",
		Long: `Show groups, their offsets and their lag. Lag in time is how long the oldest record that the group has
not committed has waited: the age of that record, by its own timestamp. A share group has committed what lies
before the first record that is not done; its lag does not count what is done behind it.`,
		Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if watch == 0 {
				return a.describeGroups(cmd.Context(), cl, args, summary)
			}
			return a.watch(cmd.Context(), watch, func() error { return a.describeGroups(cmd.Context(), cl, args, summary) })
		},
	})
	c.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again every so often")
	c.Flags().Lookup("watch").NoOptDefVal = "2s"
	c.Flags().BoolVarP(&summary, "summary", "s", false, "a line for each group only")
	c.ValidArgsFunction = a.completeGroups(-1)
	return c
}

// watch repeats show until Ctrl-C, on a screen that is cleared in between where there is one.
func (a *app) watch(ctx context.Context, every time.Duration, show func() error) error {
	if every < 100*time.Millisecond {
		return failf(exitUsage, "", "--watch %s: must be at least 100ms", every)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if a.stdoutTTY {
			fmt.Fprint(a.stdout, "\x1b[H\x1b[2J")
		}
		if err := show(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (a *app) describeGroups(ctx context.Context, cl *kgo.Client, names []string, summary bool) error {
	lags, err := kadm.NewClient(cl).Lag(ctx, slices.Clone(names)...) // Lag reorders what it is given
	if err != nil {
		return fmt.Errorf("describe groups: %w", err)
	}
	var others []string // of no classic group with members: perhaps of the consumer protocol
	for _, name := range names {
		if l, ok := lags[name]; !ok || errors.Is(l.Error(), kerr.GroupIDNotFound) || l.Error() == nil && len(l.Members) == 0 {
			others = append(others, name)
		}
	}
	consumers, err := describeConsumers(ctx, kadm.NewClient(cl), others)
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(name string) bool { return consumers[name] != nil })
	shares, err := describeShares(ctx, kadm.NewClient(cl), others)
	if err != nil {
		return err
	}
	maps.Copy(consumers, shares)
	others = slices.DeleteFunc(others, func(name string) bool { return consumers[name] != nil })
	streams, err := describeStreams(ctx, cl, others)
	if err != nil {
		return err
	}
	maps.Copy(consumers, streams)
	list := make([]*groupDescription, 0, len(names))
	var missing []string
	for _, name := range names {
		if g := consumers[name]; g != nil {
			list = append(list, g)
			continue
		}
		l, ok := lags[name]
		err := l.Error()
		switch {
		case !ok || errors.Is(err, kerr.GroupIDNotFound) || err == nil && l.State == "Dead" && len(l.Lag) == 0:
			missing = append(missing, name)
		case err != nil:
			return fmt.Errorf("group %s: %w", name, err)
		default:
			list = append(list, groupOf(l))
		}
	}
	if len(list) > 0 { // those that are there are shown beside the ones that are not
		waiting(ctx, list, a.seedOptions())
		if err := a.showGroups(list, summary); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return noGroup(missing...)
	}
	return nil
}

func noGroup(groups ...string) error {
	const remedy = "`qanat group list` lists those that do"
	if len(groups) > 1 {
		return failf(exitNotFound, remedy, "groups %s do not exist", strings.Join(groups, ", "))
	}
	return failf(exitNotFound, remedy, "group %s does not exist", groups[0])
}

func groupOf(l kadm.DescribedGroupLag) *groupDescription {
	g := &groupDescription{
		Group: l.Group, Type: "classic", State: l.State, Protocol: l.Protocol, Coordinator: l.Coordinator.NodeID,
		Members: len(l.Members), Lag: l.Lag.Total(), Partitions: []groupOffsets{},
	}
	for _, m := range l.Lag.Sorted() {
		o := groupOffsets{Topic: m.Topic, Partition: m.Partition, Committed: m.Commit.At, Start: m.Start.Offset, End: m.End.Offset, Lag: m.Lag}
		if m.Member != nil {
			o.Member, o.ClientID, o.Host = m.Member.MemberID, m.Member.ClientID, m.Member.ClientHost
		}
		if m.Err != nil {
			o.Error = m.Err.Error()
		}
		g.Partitions = append(g.Partitions, o)
	}
	return g
}

func (a *app) showGroups(list []*groupDescription, summary bool) error {
	var tables []table
	short := table{columns: []string{"GROUP", "TYPE", "STATE", "#MEMBERS", "#LAG", "#LAG-TIME", "+#EPOCH", "+#ASSIGNED", "+PROTOCOL", "+#COORDINATOR"}}
	for _, g := range list {
		epoch, assigned := "-", "-"
		if g.Type != "classic" {
			epoch, assigned = strconv.Itoa(int(g.Epoch)), strconv.Itoa(int(g.AssignmentEpoch))
		}
		short.add(g.Group, g.Type, g.State, strconv.Itoa(g.Members), strconv.FormatInt(g.Lag, 10), agePtr(g.LagSeconds), epoch, assigned, g.Protocol, strconv.Itoa(int(g.Coordinator)))
	}
	tables = append(tables, short)
	if summary {
		for _, g := range list {
			g.Partitions, g.MemberList, g.Subtopologies = nil, nil, nil
		}
		return a.show(list, tables...)
	}
	group := "+GROUP"
	if len(list) > 1 {
		group = "GROUP"
	}
	for _, g := range list {
		t := table{columns: []string{group, "TOPIC", "#PARTITION", "#COMMITTED", "+#START", "#END", "#LAG", "#LAG-TIME", "CLIENT", "+MEMBER", "+HOST", "ERROR"}}
		for _, o := range g.Partitions {
			t.add(g.Group, o.Topic, strconv.Itoa(int(o.Partition)), offsetText(o.Committed), offsetText(o.Start), offsetText(o.End),
				offsetText(o.Lag), agePtr(o.LagSeconds), o.ClientID, o.Member, o.Host, o.Error)
		}
		tables = append(tables, t)
		switch {
		case g.Type == "streams":
			tables = append(tables, streamsTables(g)...)
		case len(g.MemberList) > 0:
			tables = append(tables, memberTable(g))
		}
	}
	return a.show(list, tables...)
}

func agePtr(s *float64) string {
	if s == nil {
		return "-"
	}
	return secondsText(*s)
}

func (a *app) groupDeleteCommand() *cobra.Command {
	c := a.deleteCommand(deletion{
		what: "GROUP", short: "Delete groups that have no members, and their offsets", goes: "offsets",
		exist: func(ctx context.Context, adm *kadm.Client, groups []string) error {
			there, err := adm.ListGroups(ctx)
			if err != nil {
				return fmt.Errorf("list groups: %w", err)
			}
			for _, group := range groups {
				if _, ok := there[group]; !ok {
					return noGroup(group)
				}
			}
			return nil
		},
		delete: func(ctx context.Context, adm *kadm.Client, groups []string) (o outcomes, err error) {
			res, err := adm.DeleteGroups(ctx, groups...)
			if err != nil {
				return o, fmt.Errorf("delete groups: %w", err)
			}
			for _, r := range res.Sorted() {
				o.add(r.Group, "deleted", r.Err)
			}
			o.first = withMembers(o.first)
			return o, nil
		},
	})
	c.ValidArgsFunction = a.completeGroups(-1)
	return c
}

// sought is one partition of group seek.
type sought struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    int64  `json:"before"`
	After     int64  `json:"after"`
	Error     string `json:"error,omitempty"`
}

// seeking is what group seek was asked for.
type seeking struct {
	group, to, toGroup string
	topics             []string
	dryRun, shares     bool
}

// groupSeekCommand moves groups; shares: share groups alone.
func (a *app) groupSeekCommand(shares bool) *cobra.Command {
	x := seeking{shares: shares}
	c := a.outputs(&cobra.Command{
		Use:   "seek GROUP --to WHERE",
		Short: "Set a group's committed offsets",
		Long: `Set a group's committed offsets: to start, end, an offset, +N after the start, -N before the end, a time
(@2026-01-01, @-1h), or to those of another group. The group must have no members: stop its consumers first.

A share group begins anew there: what it had done behind that offset is forgotten, and given out again.`,
		Example: "  qanat group seek readers --to @-24h --dry-run\n  qanat group seek readers --to start --topics events",
		Args:    wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.group = args[0]
			return a.seek(cmd.Context(), x)
		},
	})
	f := c.Flags()
	f.StringVar(&x.to, "to", "", "start, end, OFFSET, +N, -N or @TIME")
	f.StringVar(&x.toGroup, "to-group", "", "where this group is")
	f.StringSliceVarP(&x.topics, "topics", "t", nil, "these topics (default: all that the group has committed)")
	f.BoolVar(&x.dryRun, "dry-run", false, "change nothing")
	c.MarkFlagsMutuallyExclusive("to", "to-group")
	c.MarkFlagsOneRequired("to", "to-group")
	a.destructive(c)
	c.ValidArgsFunction = a.completeGroups(1)
	return c
}

func (a *app) seek(ctx context.Context, x seeking) error {
	var to point
	if x.toGroup == "" { // an empty --to is no point either: a variable of a script may be unset
		var err error
		if to, err = parsePoint(x.to); err != nil {
			return failf(exitUsage, "", "--to %q: %w", x.to, err)
		}
	}
	adm, err := a.admins(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	find := offsetsOf
	if x.shares {
		find = startsOf
	}
	offsets, err := find(ctx, adm, x.group)
	if err != nil {
		return err
	}
	target, err := x.target(ctx, adm, to, offsets.now)
	if err != nil {
		return err
	}
	if !x.dryRun {
		if err := a.confirm("Set the offsets of group " + x.group); err != nil {
			return err
		}
	}
	var done kadm.OffsetResponses
	if !x.dryRun {
		if done, err = offsets.set(ctx, target); err != nil {
			return withMembers(fmt.Errorf("set offsets of group %s: %w", x.group, err))
		}
	}
	return a.showSought(offsets.now, target, done, x.dryRun)
}

// movable is where a group is, and how it is moved.
type movable struct {
	now kadm.OffsetResponses
	set func(context.Context, kadm.Offsets) (kadm.OffsetResponses, error)
}

// offsetsOf finds a group's offsets: where its shares start, if it is a share group, or what it has committed. A group that is
// not there yet has none, and may be given some.
func offsetsOf(ctx context.Context, adm *kadm.Client, group string) (movable, error) {
	if m, ok, err := sharesOf(ctx, adm, group); ok || err != nil {
		return m, err
	}
	now, err := adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return movable{}, fmt.Errorf("fetch offsets of group %s: %w", group, err)
	}
	return movable{now, func(ctx context.Context, to kadm.Offsets) (kadm.OffsetResponses, error) {
		return adm.CommitOffsets(ctx, group, to)
	}}, nil
}

// target is where every partition shall be.
func (x seeking) target(ctx context.Context, adm *kadm.Client, to point, now kadm.OffsetResponses) (kadm.Offsets, error) {
	target := kadm.Offsets{}
	if x.toGroup != "" {
		other, err := offsetsOf(ctx, adm, x.toGroup)
		if err != nil {
			return nil, err
		}
		other.now.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && (len(x.topics) == 0 || slices.Contains(x.topics, o.Topic)) {
				target.Add(o.Offset)
			}
		})
		if len(target) == 0 {
			return nil, failf(exitNotFound, "", "group %s has committed nothing of these topics", x.toGroup)
		}
		return target, nil
	}
	topics := x.topics
	if len(topics) == 0 {
		for topic := range now {
			topics = append(topics, topic)
		}
		slices.Sort(topics)
	}
	if len(topics) == 0 {
		return nil, failf(exitNotFound, "name the topics with --topics", "group %s has committed nothing yet", x.group)
	}
	for _, topic := range topics {
		at, err := to.resolve(ctx, adm, topic)
		if err != nil {
			return nil, err
		}
		for id, offset := range at {
			target.AddOffset(topic, id, offset, -1)
		}
	}
	return target, nil
}

func (a *app) showSought(now kadm.OffsetResponses, target kadm.Offsets, done kadm.OffsetResponses, dryRun bool) error {
	list := []sought{}
	t := table{columns: []string{"TOPIC", "#PARTITION", "#BEFORE", "#AFTER", "ERROR"}}
	var first error
	for _, o := range target.Sorted() {
		x := sought{Topic: o.Topic, Partition: o.Partition, Before: -1, After: o.At}
		if before, ok := now.Lookup(o.Topic, o.Partition); ok && before.Err == nil {
			x.Before = before.At
		}
		if r, ok := done.Lookup(o.Topic, o.Partition); ok && r.Err != nil {
			x.Error, x.After = r.Err.Error(), x.Before
			if first == nil {
				first = fmt.Errorf("%s/%d: %w", o.Topic, o.Partition, r.Err)
			}
		}
		list = append(list, x)
		t.add(x.Topic, strconv.Itoa(int(x.Partition)), offsetText(x.Before), offsetText(x.After), x.Error)
	}
	if dryRun {
		t.footer = "nothing was changed (--dry-run)"
	}
	if err := a.show(list, t); err != nil {
		return err
	}
	return withMembers(first)
}

// withMembers adds the way out to what Kafka says when a group that has members is moved or deleted.
func withMembers(err error) error {
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.NonEmptyGroup) {
		return failf(exitRefused, "stop its consumers; one that was killed is a member until its session times out", "the group has members: %w", err)
	}
	return err
}
