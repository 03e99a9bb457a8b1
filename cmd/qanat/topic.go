package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/metadata/config"
)

func (a *app) topicCommand() *cobra.Command {
	c := a.parent("topic", "Create, look at and change topics",
		a.topicCreateCommand(), a.topicListCommand(), a.topicDescribeCommand(), a.topicAlterCommand(),
		a.topicAddPartitionsCommand(), a.topicTrimCommand(), a.topicStorageCommand(), a.topicDeleteCommand())
	c.Aliases = []string{"topics"}
	return c
}

// outcome is what happened to one named thing.
type outcome struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// outcomes collects them; the first error decides the exit code.
type outcomes struct {
	list  []outcome
	first error
}

func (o *outcomes) add(name, status string, err error) {
	x := outcome{Name: name, Status: status}
	if err != nil {
		x.Status, x.Error = "failed", err.Error()
		if o.first == nil {
			o.first = fmt.Errorf("%s: %w", name, err)
		}
	}
	o.list = append(o.list, x)
}

// show prints all and returns the first error. Of one thing that failed, people are told by the error alone.
func (o *outcomes) show(a *app, what string) error {
	if len(o.list) == 1 && o.first != nil && (a.output == formatTable || a.output == formatWide) {
		return o.first
	}
	slices.SortFunc(o.list, func(x, y outcome) int { return strings.Compare(x.Name, y.Name) })
	t := table{columns: []string{what, "STATUS"}}
	for _, x := range o.list {
		status := x.Status
		if x.Error != "" {
			status += ": " + x.Error
		}
		t.add(x.Name, status)
	}
	if err := a.show(o.list, t); err != nil {
		return err
	}
	return o.first
}

// answer is a Kafka error in the broker's own words instead of the sentence that the code has in every client.
type answer struct {
	words string
	code  error
}

func (a *answer) Error() string { return a.words }
func (a *answer) Unwrap() error { return a.code }

// withMessage gives a Kafka error the words that the broker sent with it, and keeps the code's name.
func withMessage(err error, message string) error {
	var code *kerr.Error
	if message == "" || !errors.As(err, &code) {
		return err
	}
	return &answer{fmt.Sprintf("%s (%s)", message, code.Message), err}
}

func (a *app) topicCreateCommand() *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	var ifNotExists, dryRun bool
	c := a.outputs(&cobra.Command{
		Use:     "create TOPIC...",
		Short:   "Create topics",
		Example: "  qanat topic create events -p 16 -c retention.ms=-1 -c segment.bytes=16777216",
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := pairs("--topic-config", configs)
			if err != nil {
				return err
			}
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			create := adm.CreateTopics
			status := "created"
			if dryRun {
				create, status = adm.ValidateCreateTopics, "would be created"
			}
			res, err := create(cmd.Context(), partitions, replicas, values, args...)
			if err != nil {
				return fmt.Errorf("create topics: %w", err)
			}
			var o outcomes
			for _, r := range res.Sorted() {
				if ifNotExists && errors.Is(r.Err, kerr.TopicAlreadyExists) {
					o.add(r.Topic, "exists already", nil)
					continue
				}
				o.add(r.Topic, status, withMessage(r.Err, r.ErrMessage))
			}
			return o.show(a, "TOPIC")
		},
	})
	f := c.Flags()
	f.Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 for the broker's default")
	f.Int16VarP(&replicas, "replicas", "r", -1, "replicas of each; -1 for the broker's default")
	f.StringArrayVarP(&configs, "topic-config", "c", nil, "KEY=VALUE; may be repeated")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "a topic that exists is no error")
	f.BoolVar(&dryRun, "dry-run", false, "have the broker check it, and create nothing")
	completeKeys(c, "topic-config", config.TopicScope)
	return c
}

// pairs reads KEY=VALUE flags.
func pairs(flag string, list []string) (map[string]*string, error) {
	m := map[string]*string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, failf(exitUsage, "", "%s %q: must be KEY=VALUE", flag, s)
		}
		m[k] = &v
	}
	return m, nil
}

// topicRow is one of topic list.
type topicRow struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal"`
	Error      string `json:"error,omitempty"`
}

func (a *app) topicListCommand() *cobra.Command {
	var internal bool
	c := a.outputs(&cobra.Command{
		Use:     "list [REGEXP]...",
		Aliases: []string{"ls"},
		Short:   "List topics",
		RunE: func(cmd *cobra.Command, args []string) error {
			var match []*regexp.Regexp
			for _, text := range args {
				re, err := regexp.Compile(text)
				if err != nil {
					return failf(exitUsage, "", "%q is no regular expression: %w", text, err)
				}
				match = append(match, re)
			}
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			topics, err := adm.ListTopicsWithInternal(cmd.Context())
			if err != nil {
				return fmt.Errorf("list topics: %w", err)
			}
			return a.showTopics(topics, match, internal)
		},
	})
	c.Flags().BoolVarP(&internal, "internal", "i", false, "internal topics too")
	return c
}

// topicID writes an id as Kafka's tools and the bucket's keys do; kadm has another alphabet.
func topicID(id kadm.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func (a *app) showTopics(topics kadm.TopicDetails, match []*regexp.Regexp, internal bool) error {
	rows := []topicRow{}
	t := table{columns: []string{"NAME", "#PARTITIONS", "#REPLICAS", "+ID"}}
	for _, d := range topics.Sorted() {
		if d.IsInternal && !internal {
			continue
		}
		if len(match) > 0 && !slices.ContainsFunc(match, func(re *regexp.Regexp) bool { return re.MatchString(d.Topic) }) {
			continue
		}
		r := topicRow{Name: d.Topic, ID: topicID(d.ID), Partitions: len(d.Partitions), Replicas: d.Partitions.NumReplicas(), Internal: d.IsInternal}
		if d.Err != nil {
			r.Error = d.Err.Error()
		}
		rows = append(rows, r)
		t.add(r.Name, strconv.Itoa(r.Partitions), strconv.Itoa(r.Replicas), r.ID)
	}
	return a.show(rows, t)
}

func (a *app) topicAddPartitionsCommand() *cobra.Command {
	var add int
	c := a.outputs(&cobra.Command{
		Use:     "add-partitions TOPIC...",
		Short:   "Add partitions to topics",
		Long:    "Add partitions to topics. Records with keys go to other partitions from then on; partitions cannot be taken away again.",
		Example: "  qanat topic add-partitions events --num 4",
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if add < 1 {
				return failf(exitUsage, "", "--num %d: must be at least 1", add)
			}
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			if err := findTopics(cmd.Context(), adm, args); err != nil {
				return err
			}
			res, err := adm.CreatePartitions(cmd.Context(), add, args...)
			if err != nil {
				return fmt.Errorf("add partitions: %w", err)
			}
			var o outcomes
			for _, r := range res.Sorted() {
				o.add(r.Topic, fmt.Sprintf("%d added", add), withMessage(r.Err, r.ErrMessage))
			}
			return o.show(a, "TOPIC")
		},
	})
	c.Flags().IntVarP(&add, "num", "n", 0, "how many to add")
	cobra.CheckErr(c.MarkFlagRequired("num"))
	c.ValidArgsFunction = a.completeTopics(-1)
	return c
}

func (a *app) topicDeleteCommand() *cobra.Command {
	c := a.deleteCommand(deletion{
		what: "TOPIC", short: "Delete topics, on disk and in the bucket", goes: "data", exist: findTopics,
		delete: func(ctx context.Context, adm *kadm.Client, topics []string) (o outcomes, err error) {
			res, err := adm.DeleteTopics(ctx, topics...)
			if err != nil {
				return o, fmt.Errorf("delete topics: %w", err)
			}
			for _, r := range res.Sorted() {
				o.add(r.Topic, "deleted", withMessage(r.Err, r.ErrMessage))
			}
			return o, nil
		},
	})
	c.ValidArgsFunction = a.completeTopics(-1)
	return c
}

func (a *app) topicTrimCommand() *cobra.Command {
	var before string
	var only []int32
	c := a.outputs(&cobra.Command{
		Use:   "trim TOPIC --before WHERE",
		Short: "Delete a topic's oldest records",
		Long: `Delete the records before a point: an offset (in every partition), a time (@1767225600000, @2026-01-01,
@2026-01-01T12:00:00Z, @-24h), or end for all of them. They are gone for good, from disk and bucket.`,
		Example: "  qanat topic trim events --before @-720h\n  qanat topic trim events --before 1000 --partitions 0,3",
		Args:    wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.trim(cmd.Context(), args[0], before, only)
		},
	})
	c.Flags().StringVar(&before, "before", "", "offset, @time, or end")
	c.Flags().Int32SliceVarP(&only, "partitions", "p", nil, "these partitions only")
	cobra.CheckErr(c.MarkFlagRequired("before"))
	a.destructive(c)
	c.ValidArgsFunction = a.completeTopics(1)
	return c
}

func (a *app) trim(ctx context.Context, topic, before string, only []int32) error {
	point, err := parsePoint(before)
	if err != nil {
		return failf(exitUsage, "", "--before %q: %w", before, err)
	}
	adm, err := a.admins(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	to, err := point.resolve(ctx, adm, topic)
	if err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	for p, at := range to {
		if len(only) == 0 || slices.Contains(only, p) {
			offsets.AddOffset(topic, p, at, -1)
		}
	}
	if err := a.confirm(fmt.Sprintf("Delete the records of %s before %s in %s", topic, before, count(len(offsets[topic]), "partition"))); err != nil {
		return err
	}
	res, err := adm.DeleteRecords(ctx, offsets)
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	return a.showTrimmed(res)
}

// trimmed is one partition after topic trim.
type trimmed struct {
	Partition int32  `json:"partition"`
	LogStart  int64  `json:"log_start"`
	Error     string `json:"error,omitempty"`
}

func (a *app) showTrimmed(res kadm.DeleteRecordsResponses) error {
	list := []trimmed{}
	t := table{columns: []string{"#PARTITION", "#START", "ERROR"}}
	var first error
	for _, r := range res.Sorted() {
		x := trimmed{Partition: r.Partition, LogStart: r.LowWatermark}
		if r.Err != nil {
			x.Error = r.Err.Error()
			if first == nil {
				first = fmt.Errorf("partition %d: %w", r.Partition, r.Err)
			}
		}
		list = append(list, x)
		t.add(strconv.Itoa(int(x.Partition)), strconv.FormatInt(x.LogStart, 10), x.Error)
	}
	if err := a.show(list, t); err != nil {
		return err
	}
	if errors.Is(first, kerr.PolicyViolation) {
		return failf(exitRefused, "records go by the topic's policy alone: `qanat topic alter TOPIC --set cleanup.policy=compact,delete`, then trim", "cleanup.policy has no delete: %w", first)
	}
	return first
}
