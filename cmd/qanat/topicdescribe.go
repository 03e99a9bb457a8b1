package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/config"
)

// topicDescription is topic describe.
type topicDescription struct {
	Name       string         `json:"name"`
	ID         string         `json:"id"`
	Internal   bool           `json:"internal"`
	Partitions []partitionRow `json:"partitions"`
	Configs    []configRow    `json:"configs"`
}

type partitionRow struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	ELR         []int32 `json:"elr"` // eligible leader replicas (KIP-966)
	Start       int64   `json:"start"`
	End         int64   `json:"end"`
	Error       string  `json:"error,omitempty"`
}

type configRow struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func (a *app) topicDescribeCommand() *cobra.Command {
	var all bool
	c := a.outputs(&cobra.Command{
		Use:     "describe TOPIC",
		Aliases: []string{"info"},
		Short:   "Show a topic's partitions and configuration",
		Args:    wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			d, err := describeTopic(cmd.Context(), kadm.NewClient(cl), args[0])
			if err != nil {
				return err
			}
			if err := addEligible(cmd.Context(), cl, d); err != nil {
				return err
			}
			return a.showTopic(d, all)
		},
	})
	c.Flags().BoolVarP(&all, "all", "a", false, "keys at their defaults too")
	c.ValidArgsFunction = a.completeTopics(1)
	return c
}

func noTopic(topic string) error {
	return failf(exitNotFound, "`qanat topic list` lists those that do", "topic %s does not exist", topic)
}

// findTopic looks a topic up, with an error that tells what to do.
func findTopic(ctx context.Context, adm *kadm.Client, topic string) (kadm.TopicDetail, error) {
	topics, err := adm.ListTopicsWithInternal(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("look up topic %s: %w", topic, err)
	}
	d, ok := topics[topic]
	if !ok || d.Err != nil && kerr.IsRetriable(d.Err) && len(d.Partitions) == 0 {
		return d, noTopic(topic)
	}
	if d.Err != nil {
		return d, fmt.Errorf("topic %s: %w", topic, d.Err)
	}
	return d, nil
}

// findTopics is an error where one of the topics is not there.
func findTopics(ctx context.Context, adm *kadm.Client, topics []string) error {
	for _, topic := range topics {
		if _, err := findTopic(ctx, adm, topic); err != nil {
			return err
		}
	}
	return nil
}

func describeTopic(ctx context.Context, adm *kadm.Client, topic string) (*topicDescription, error) {
	detail, err := findTopic(ctx, adm, topic)
	if err != nil {
		return nil, err
	}
	starts, err := answered(adm.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := answered(adm.ListEndOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describe configuration: %w", err)
	}
	d := &topicDescription{Name: topic, ID: topicID(detail.ID), Internal: detail.IsInternal, Configs: []configRow{}}
	for _, p := range detail.Partitions.Sorted() {
		row := partitionRow{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR, ELR: []int32{}, Start: -1, End: -1}
		for _, l := range []struct {
			in kadm.ListedOffsets
			to *int64
		}{{starts, &row.Start}, {ends, &row.End}} {
			o, ok := l.in.Lookup(topic, p.Partition)
			switch {
			case ok && o.Err == nil:
				*l.to = o.Offset
			case ok:
				row.Error = o.Err.Error()
			}
		}
		if p.Err != nil {
			row.Error = p.Err.Error()
		}
		d.Partitions = append(d.Partitions, row)
	}
	for _, rc := range configs {
		if rc.Err != nil {
			return nil, fmt.Errorf("describe configuration: %w", withMessage(rc.Err, rc.ErrMessage))
		}
		for _, c := range rc.Configs {
			d.Configs = append(d.Configs, configRow{c.Key, c.MaybeValue(), sourceText(c.Source)})
		}
	}
	slices.SortFunc(d.Configs, func(x, y configRow) int { return strings.Compare(x.Key, y.Key) })
	return d, nil
}

// answered is a list of offsets as far as brokers have answered. The partitions of one that has not, which is dead perhaps and
// not fenced yet, have its error: a look at a topic is wanted just then.
func answered(list kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	var failed *kadm.ShardErrors
	if !errors.As(err, &failed) {
		return list, err
	}
	for _, f := range failed.Errs {
		req, ok := f.Req.(*kmsg.ListOffsetsRequest)
		if !ok {
			return list, err
		}
		for _, t := range req.Topics {
			if list[t.Topic] == nil {
				list[t.Topic] = map[int32]kadm.ListedOffset{}
			}
			for _, p := range t.Partitions {
				list[t.Topic][p.Partition] = kadm.ListedOffset{Topic: t.Topic, Partition: p.Partition, Err: unanswered(f)}
			}
		}
	}
	return list, nil
}

func unanswered(f kadm.ShardError) error {
	var ke *kerr.Error
	if f.Broker.NodeID < 0 || errors.As(f.Err, &ke) {
		return f.Err
	}
	return fmt.Errorf("broker %d does not answer: %w", f.Broker.NodeID, rootCause(f.Err))
}

// addEligible asks for the eligible leader replicas; a broker that does not know them has none.
func addEligible(ctx context.Context, cl *kgo.Client, d *topicDescription) error {
	const perRequest = 2000
	for from := 0; from < len(d.Partitions); from += perRequest {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
		rt.Topic = d.Name
		req.Topics = append(req.Topics, rt)
		req.ResponsePartitionLimit = perRequest
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: d.Name, Partition: d.Partitions[from].Partition}
		resp, err := req.RequestWith(ctx, cl)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if i := slices.IndexFunc(d.Partitions, func(r partitionRow) bool { return r.Partition == p.Partition }); i >= 0 && len(p.EligibleLeaderReplicas) > 0 {
					d.Partitions[i].ELR = p.EligibleLeaderReplicas
				}
			}
		}
	}
	return nil
}

func sourceText(s kmsg.ConfigSource) string { return config.Source(s).String() }

func (a *app) showTopic(d *topicDescription, all bool) error {
	partitions := table{columns: []string{"#PARTITION", "#LEADER", "#EPOCH", "REPLICAS", "ISR", "+ELIGIBLE", "#START", "#END", "#RECORDS", "ERROR"}}
	for _, p := range d.Partitions {
		if len(p.ELR) > 0 {
			partitions.columns[5] = "ELIGIBLE" // there are some: that is news
		}
		partitions.add(
			strconv.Itoa(int(p.Partition)), brokerText(p.Leader), strconv.Itoa(int(p.LeaderEpoch)), idList(p.Replicas), idList(p.ISR), idList(p.ELR),
			offsetText(p.Start), offsetText(p.End), offsetText(max(p.End-p.Start, 0)), p.Error)
	}
	configs := table{columns: []string{"KEY", "VALUE", "SOURCE"}}
	hidden := 0
	for _, c := range d.Configs {
		if c.Source == config.Default.String() && !all && a.output != formatWide {
			hidden++
			continue
		}
		configs.add(c.Key, c.Value, c.Source)
	}
	if hidden > 0 {
		configs.footer = fmt.Sprintf("%s at their defaults; --all shows them", count(hidden, "key"))
		if len(configs.rows) == 0 {
			configs.columns = nil
		}
	}
	if a.output == formatTable || a.output == formatWide {
		fmt.Fprintf(a.stdout, "%s  %s, id %s\n\n", d.Name, count(len(d.Partitions), "partition"), d.ID)
		if configs.columns == nil {
			partitions.footer, configs.footer = "\n"+configs.footer, ""
		}
	}
	return a.show(d, partitions, configs)
}

func idList[ID ~int32](ids []ID) string {
	var list []string
	for _, id := range ids {
		list = append(list, strconv.Itoa(int(id)))
	}
	return strings.Join(list, ",")
}

func offsetText(o int64) string {
	if o < 0 {
		return "-"
	}
	return strconv.FormatInt(o, 10)
}
