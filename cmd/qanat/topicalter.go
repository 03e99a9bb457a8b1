package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qanat-io/qanat/metadata/config"
)

// alteration is what topic alter was asked for.
type alteration struct {
	set, remove, appendTo, subtract []string
	dryRun                          bool
}

func (a *app) topicAlterCommand() *cobra.Command {
	var x alteration
	c := a.outputs(&cobra.Command{
		Use:   "alter TOPIC",
		Short: "Change a topic's configuration",
		Long:  "Change a topic's configuration, and show what that changes. With --dry-run the broker checks it and nothing is changed.",
		Example: `  qanat topic alter events --set retention.ms=604800000 --delete segment.bytes
  qanat topic alter events --set local.retention.bytes=268435456 --dry-run`,
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.alter(cmd.Context(), args[0], x) },
	})
	f := c.Flags()
	f.StringArrayVarP(&x.set, "set", "s", nil, "KEY=VALUE; may be repeated")
	f.StringArrayVarP(&x.remove, "delete", "d", nil, "KEY: back to the broker's value; may be repeated")
	f.StringArrayVar(&x.appendTo, "append", nil, "KEY=VALUE: add to a list")
	f.StringArrayVar(&x.subtract, "subtract", nil, "KEY=VALUE: take from a list")
	f.BoolVar(&x.dryRun, "dry-run", false, "change nothing")
	for _, flag := range []string{"set", "append", "subtract"} {
		completeKeys(c, flag, config.TopicScope)
	}
	c.ValidArgsFunction = a.completeTopics(1)
	return c
}

// operations turns the flags into a request, in a fixed order.
func (x alteration) operations() ([]kadm.AlterConfig, error) {
	var ops []kadm.AlterConfig
	for _, g := range []struct {
		flag string
		op   kadm.IncrementalOp
		list []string
	}{{"--set", kadm.SetConfig, x.set}, {"--append", kadm.AppendConfig, x.appendTo}, {"--subtract", kadm.SubtractConfig, x.subtract}} {
		values, err := pairs(g.flag, g.list)
		if err != nil {
			return nil, err
		}
		for k, v := range values {
			ops = append(ops, kadm.AlterConfig{Op: g.op, Name: k, Value: v})
		}
	}
	for _, k := range x.remove {
		ops = append(ops, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
	}
	if len(ops) == 0 {
		return nil, failf(exitUsage, "", "nothing to change: give --set, --delete, --append or --subtract")
	}
	slices.SortStableFunc(ops, func(p, q kadm.AlterConfig) int { return strings.Compare(p.Name, q.Name) })
	return ops, nil
}

// changedConfig is one line of topic alter.
type changedConfig struct {
	Key    string `json:"key"`
	Before string `json:"before"`
	After  string `json:"after"`
}

func (a *app) alter(ctx context.Context, topic string, x alteration) error {
	ops, err := x.operations()
	if err != nil {
		return err
	}
	adm, err := a.admins(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	before, err := describeTopic(ctx, adm, topic)
	if err != nil {
		return err
	}
	change := adm.AlterTopicConfigs
	if x.dryRun {
		change = adm.ValidateAlterTopicConfigs
	}
	res, err := change(ctx, ops, topic)
	if err != nil {
		return fmt.Errorf("alter topic %s: %w", topic, err)
	}
	for _, r := range res {
		if r.Err != nil {
			return fmt.Errorf("alter topic %s: %w", topic, withMessage(r.Err, r.ErrMessage))
		}
	}
	list := preview(before, ops)
	if !x.dryRun {
		after, err := describeTopic(ctx, adm, topic)
		if err != nil {
			return err
		}
		list = difference(before, after)
	}
	t := table{columns: []string{"KEY", "BEFORE", "AFTER"}}
	for _, l := range list {
		t.add(l.Key, l.Before, l.After)
	}
	switch {
	case x.dryRun:
		t.footer = "nothing was changed (--dry-run)"
	case len(list) == 0:
		t = table{footer: "no value is different from what it was"}
	}
	return a.show(list, t)
}

// difference lists the keys whose values are not the same.
func difference(before, after *topicDescription) []changedConfig {
	list := []changedConfig{}
	for _, b := range before.Configs {
		for _, c := range after.Configs {
			if b.Key == c.Key && (b.Value != c.Value || b.Source != c.Source) {
				list = append(list, changedConfig{b.Key, explainValue(b), explainValue(c)})
			}
		}
	}
	return list
}

func explainValue(c configRow) string {
	if c.Source == config.DynamicTopic.String() {
		return c.Value
	}
	return c.Value + " (" + c.Source + ")"
}

// preview tells what operations that were not applied would give.
func preview(before *topicDescription, ops []kadm.AlterConfig) []changedConfig {
	list := []changedConfig{}
	for _, o := range ops {
		l := changedConfig{Key: o.Name, Before: "-"}
		for _, b := range before.Configs {
			if b.Key == o.Name {
				l.Before = explainValue(b)
			}
		}
		switch o.Op {
		case kadm.SetConfig:
			l.After = *o.Value
		case kadm.DeleteConfig:
			l.After = "(the broker's)"
		case kadm.AppendConfig:
			l.After = "with " + *o.Value
		case kadm.SubtractConfig:
			l.After = "without " + *o.Value
		}
		list = append(list, l)
	}
	return list
}
