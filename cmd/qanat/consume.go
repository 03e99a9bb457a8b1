package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const consumeHelp = `Print records. By default new ones, as they come, until Ctrl-C.

Where to begin and end (-o):
  start, end            the beginning (then go on), or only what is new
  500, +10, -10         that offset; so many after the start; the last so many
  :end, 500:end         up to where the end is now, then stop
  100:200, 100:+20      from offset 100 to before 200; twenty from 100 on
  @2026-01-01, @-1h     from a time on
  @2026-01-01:2026-01-02, @-2h:-1h, @-1h:end     between two times
Counts and offsets are for each partition.

How to print (-f): json (the default), or a layout of
  %t topic  %p partition  %o offset  %d timestamp  %k key  %v value  %h{%k=%v } headers
  %T %K %V %H lengths     %e leader epoch  %x producer id    \n \t \xNN     %% %
%k{hex}, %v{base64} and %d{strftime[%F %T]} choose how; everything that franz-go's
record formatter knows works.`

// consumption is what consume was asked for.
type consumption struct {
	topics     []string
	regex      bool
	offset     string
	format     string
	num        int
	partitions []int32
	group      string
	metaOnly   bool
	pretty     bool
	grep       string
	committed  bool
}

func (a *app) consumeCommand() *cobra.Command {
	var x consumption
	c := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Print records",
		Long:  consumeHelp,
		Example: `  qanat consume events -o start -f '%k %v\n'
  qanat consume events -o @-1h:end --grep 'status=5..'
  qanat consume events -o :end --meta-only`,
		Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.topics = args
			if !cmd.Flags().Changed("pretty") {
				x.pretty = a.stdoutTTY
			}
			return a.consume(cmd.Context(), x)
		},
	}
	f := c.Flags()
	f.StringVarP(&x.offset, "offset", "o", "end", "where to begin and end")
	f.StringVarP(&x.format, "format", "f", "json", "json, or a layout")
	f.IntVarP(&x.num, "num", "n", 0, "stop after so many records")
	f.Int32SliceVarP(&x.partitions, "partitions", "p", nil, "these partitions only")
	f.StringVarP(&x.group, "group", "g", "", "consume as a member of this group, and commit")
	f.BoolVarP(&x.regex, "regex", "r", false, "topics are regular expressions")
	f.BoolVar(&x.metaOnly, "meta-only", false, "print no keys, values and headers, but their sizes")
	f.BoolVar(&x.pretty, "pretty", false, "print JSON over several lines (default: on a terminal)")
	f.StringVar(&x.grep, "grep", "", "only records whose key or value matches this regular expression")
	f.BoolVar(&x.committed, "read-committed", false, "leave out records of open and aborted transactions")
	c.MarkFlagsMutuallyExclusive("group", "partitions")
	c.ValidArgsFunction = a.completeTopics(-1)
	return c
}

// consumer is a running consume.
type consumer struct {
	consumption
	cl    *kgo.Client
	out   *bufio.Writer
	print func([]byte, *kgo.FetchPartition, *kgo.Record) []byte
	match *regexp.Regexp
	// left are the partitions that have not reached their end yet; nil when there is none to reach.
	left    map[string]map[int32]bounds
	printed int
	// seen are the records of this poll that were printed, or left out by --grep, in order.
	seen    []*kgo.Record
	waiting *patience
	unknown int // answers that did not know a topic's id
	rest    rest
	buf     []byte
}

func (a *app) consume(ctx context.Context, x consumption) error {
	where, err := parseSpan(x.offset)
	if err != nil {
		return failf(exitUsage, "see qanat consume --help", "-o %q: %w", x.offset, err)
	}
	c := &consumer{consumption: x, out: bufio.NewWriterSize(a.stdout, 64<<10), waiting: newPatience(a.stderr)}
	if c.print, err = recordPrinter(x); err != nil {
		return err
	}
	if x.grep != "" {
		if c.match, err = regexp.Compile(x.grep); err != nil {
			return failf(exitUsage, "", "--grep %q: %w", x.grep, err)
		}
	}
	options, err := x.options(where)
	if err != nil {
		return err
	}
	if c.cl, err = a.client(ctx, append(options, kgo.KeepRetryableFetchErrors(), kgo.WithHooks(c.waiting))...); err != nil {
		return err
	}
	c.waiting.begin()
	defer c.cl.Close()
	if x.group == "" {
		if err := c.assign(ctx, where); err != nil {
			return err
		}
		if c.left != nil && len(c.left) == 0 {
			return nil // nothing in the range
		}
	}
	err = c.loop(ctx)
	if flushErr := c.out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

func (x consumption) options(where span) ([]kgo.Opt, error) {
	options := []kgo.Opt{kgo.FetchMaxBytes(16 << 20)}
	if x.committed {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if x.group == "" {
		// Control records are seen, so that a range which ends with one is known to have ended.
		return append(options, kgo.KeepControlRecords()), nil
	}
	if where.to != nil || where.length > 0 || where.from.kind != atStart && where.from.kind != atEnd {
		return nil, failf(exitUsage, "a group begins where it committed last; `qanat group seek` moves that", "-o %q: with --group only start and end, where the group has not committed", x.offset)
	}
	reset := kgo.NewOffset().AtEnd()
	if where.from.kind == atStart {
		reset = kgo.NewOffset().AtStart()
	}
	options = append(options, kgo.ConsumerGroup(x.group), kgo.ConsumeTopics(x.topics...), kgo.ConsumeResetOffset(reset), kgo.DisableAutoCommit())
	if x.regex {
		options = append(options, kgo.ConsumeRegex())
	}
	return options, nil
}

// assign finds the range in every partition and begins to fetch it.
func (c *consumer) assign(ctx context.Context, where span) error {
	adm := kadm.NewClient(c.cl)
	topics := c.topics
	if c.regex {
		var err error
		if topics, err = matchTopics(ctx, adm, c.topics); err != nil {
			return err
		}
	}
	begin := map[string]map[int32]kgo.Offset{}
	for _, topic := range topics {
		ranges, err := where.resolve(ctx, adm, topic)
		if err != nil {
			return err
		}
		for id, b := range ranges {
			if len(c.partitions) > 0 && !slices.Contains(c.partitions, id) {
				continue
			}
			if !b.endless {
				if c.left == nil {
					c.left = map[string]map[int32]bounds{}
				}
				if b.from >= b.to {
					continue
				}
				put(c.left, topic, id, b)
			}
			put(begin, topic, id, kgo.NewOffset().At(b.from))
		}
		for _, id := range c.partitions {
			if _, ok := ranges[id]; !ok {
				return failf(exitNotFound, "", "topic %s has no partition %d", topic, id)
			}
		}
	}
	c.cl.AddConsumePartitions(begin)
	return nil
}

func put[V any](m map[string]map[int32]V, topic string, id int32, v V) {
	if m[topic] == nil {
		m[topic] = map[int32]V{}
	}
	m[topic][id] = v
}

func matchTopics(ctx context.Context, adm *kadm.Client, patterns []string) ([]string, error) {
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var names []string
	for _, pattern := range patterns {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, failf(exitUsage, "", "%q is no regular expression: %w", pattern, err)
		}
		for _, name := range all.Names() {
			if re.MatchString(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return nil, failf(exitNotFound, "", "no topic matches %q", patterns)
	}
	return names, nil
}

// loop prints what comes, until the range, the number of records or the patience of the user ends.
func (c *consumer) loop(ctx context.Context) error {
	for {
		fetches := c.cl.PollFetches(ctx)
		failed := false
		for _, e := range fetches.Errors() {
			if ctx.Err() != nil {
				break
			}
			if !errors.Is(e.Err, context.Canceled) && !c.retried(e) {
				return fmt.Errorf("consume %s/%d: %w", e.Topic, e.Partition, e.Err)
			}
			failed = true
		}
		if err := pause(ctx, c.rest.after(failed, fetches.NumRecords())); err != nil || ctx.Err() != nil {
			return nil // Ctrl-C is how one stops to look
		}
		done := false
		c.seen = c.seen[:0]
		fetches.EachPartition(func(tp kgo.FetchTopicPartition) {
			if len(tp.Records) > 0 {
				c.waiting.over(partitionText(tp.Topic, tp.Partition))
			}
			for _, r := range tp.Records {
				if done = done || c.num > 0 && c.printed >= c.num; done {
					return
				}
				c.record(&tp.FetchPartition, r)
				if c.group != "" {
					c.seen = append(c.seen, r)
				}
			}
		})
		if err := c.out.Flush(); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		if c.group != "" {
			// Only what was looked at: with -n the poll may have brought more.
			if err := c.cl.CommitRecords(ctx, c.seen...); err != nil {
				return fmt.Errorf("commit offsets of group %s: %w", c.group, err)
			}
		}
		if done || c.num > 0 && c.printed >= c.num || c.left != nil && len(c.left) == 0 {
			return nil
		}
	}
}

// record prints one record, if it is in the range, and notes where its partition has got to.
func (c *consumer) record(p *kgo.FetchPartition, r *kgo.Record) {
	if c.left != nil {
		b, open := c.left[r.Topic][r.Partition]
		if !open {
			return
		}
		if r.Offset+1 >= b.to {
			delete(c.left[r.Topic], r.Partition)
			if len(c.left[r.Topic]) == 0 {
				delete(c.left, r.Topic)
			}
			c.cl.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
		}
		if r.Offset >= b.to {
			return
		}
	}
	if r.Attrs.IsControl() || c.match != nil && !c.match.Match(r.Value) && !c.match.Match(r.Key) {
		return
	}
	c.printed++
	c.buf = c.print(c.buf[:0], p, r)
	_, _ = c.out.Write(c.buf) // the error stays with the writer, and Flush returns it
}

// recordPrinter makes the printer of a format.
func recordPrinter(x consumption) (func([]byte, *kgo.FetchPartition, *kgo.Record) []byte, error) {
	if x.format == "json" {
		return func(b []byte, _ *kgo.FetchPartition, r *kgo.Record) []byte {
			return appendJSON(b, r, x.metaOnly, x.pretty)
		}, nil
	}
	layout := x.format
	if x.metaOnly {
		return nil, failf(exitUsage, "leave %k, %v and %h out of the layout instead", "--meta-only goes with -f json")
	}
	f, err := kgo.NewRecordFormatter(layout)
	if err != nil {
		return nil, failf(exitUsage, "see qanat consume --help", "-f %q: %w", layout, err)
	}
	return f.AppendPartitionRecord, nil
}
