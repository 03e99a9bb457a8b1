package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const produceHelp = `Produce records from standard input, or a file: a record for each line by default.

What a record is (-f), in the letters of consume:
  '%v\n'              a line (the default)
  '%k %v\n'           key, blank, value
  '%t %k=%v\n'        topic, key, value: then no TOPIC is named
  '%V{ascii} %v\n'    length, value
%h{...} reads headers, %p a partition; everything that franz-go's record reader knows works.
A record is acknowledged when it is on disk; the command ends with an error if any was not.`

// production is what produce was asked for.
type production struct {
	topic       string
	format      string
	printed     string
	key         string
	hasKey      bool
	headers     []string
	partition   int32
	compression string
	acks        int
	maxBytes    int32
	tombstone   bool
	file        string
	create      bool
	timeout     time.Duration
}

func (a *app) produceCommand() *cobra.Command {
	var x production
	c := &cobra.Command{
		Use:     "produce [TOPIC]",
		Short:   "Produce records from standard input",
		Long:    produceHelp,
		Example: "  echo hello | qanat produce events\n  qanat produce events -f '%k,%v\\n' -z zstd < events.csv",
		Args:    wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				x.topic = args[0]
			}
			x.hasKey = cmd.Flags().Changed("key")
			return a.produce(cmd.Context(), x)
		},
	}
	f := c.Flags()
	f.StringVarP(&x.format, "format", "f", `%v\n`, "layout of a record")
	f.StringVar(&x.printed, "output-format", "", "print each acknowledged record in this layout, as '%t %p %o\\n'")
	f.StringVarP(&x.key, "key", "k", "", "key of records that have none")
	f.StringArrayVarP(&x.headers, "header", "H", nil, "KEY:VALUE, on every record; may be repeated")
	f.Int32VarP(&x.partition, "partition", "p", -1, "partition of all records; -1 by key, or in turns")
	f.StringVarP(&x.compression, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	f.IntVar(&x.acks, "acks", -1, "-1: on disk on all in-sync replicas; 1: written by the leader; 0: sent")
	f.Int32Var(&x.maxBytes, "max-message-bytes", 1<<20, "largest batch to send")
	f.BoolVarP(&x.tombstone, "tombstone", "Z", false, "an empty value is none (a tombstone)")
	f.StringVar(&x.file, "file", "", "read this file instead of standard input")
	f.DurationVar(&x.timeout, "delivery-timeout", 2*time.Minute, "fail when a record is not acknowledged in that time; at least 1s, 0 for never")
	f.BoolVar(&x.create, "create", true, "let the broker create a topic that does not exist, where it allows that")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"none", "gzip", "snappy", "lz4", "zstd"}, cobra.ShellCompDirectiveNoFileComp)))
	c.ValidArgsFunction = a.completeTopics(1)
	return c
}

// options are the client's.
func (x production) options() ([]kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	codec, ok := codecs[x.compression]
	if !ok {
		return nil, failf(exitUsage, "", "--compression %q: must be none, gzip, snappy, lz4 or zstd", x.compression)
	}
	options := []kgo.Opt{
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(x.maxBytes),
		kgo.MaxBufferedRecords(50_000),
		kgo.UnknownTopicRetries(3),
	}
	if x.timeout != 0 {
		if x.timeout < time.Second {
			return nil, failf(exitUsage, "", "--delivery-timeout %v: must be at least 1s, or 0", x.timeout)
		}
		options = append(options, kgo.RecordDeliveryTimeout(x.timeout))
	}
	if x.create {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	if x.topic != "" {
		options = append(options, kgo.DefaultProduceTopic(x.topic))
	}
	if x.partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	switch x.acks {
	case -1:
		options = append(options, kgo.RequiredAcks(kgo.AllISRAcks()))
	case 1:
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case 0:
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, failf(exitUsage, "", "--acks %d: must be -1, 0 or 1", x.acks)
	}
	return options, nil
}

// acknowledged collects what became of records; promises run on the client's goroutines.
type acknowledged struct {
	mu        sync.Mutex
	n         int
	failed    int
	first     error
	topic     string // of the first that failed
	out       *bufio.Writer
	formatter *kgo.RecordFormatter
	buf       []byte
}

func (k *acknowledged) promise(r *kgo.Record, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed++
		if k.first == nil {
			k.first, k.topic = err, r.Topic
		}
		return
	}
	k.n++
	if k.formatter != nil {
		k.buf = k.formatter.AppendRecord(k.buf[:0], r)
		_, _ = k.out.Write(k.buf) // the error stays with the writer, and Flush returns it
	}
}

func (a *app) produce(ctx context.Context, x production) error {
	options, err := x.options()
	if err != nil {
		return err
	}
	headers, err := x.parseHeaders()
	if err != nil {
		return err
	}
	in, closeInput, err := a.open(x.file)
	if err != nil {
		return err
	}
	defer closeInput()
	reader, err := kgo.NewRecordReader(in, x.format)
	if err != nil {
		return failf(exitUsage, "see qanat produce --help", "-f %q: %w", x.format, err)
	}
	if x.topic == "" && !strings.Contains(x.format, "%t") {
		return failf(exitUsage, "qanat produce TOPIC", "no topic is named, and the layout has no %%t")
	}
	k := &acknowledged{out: bufio.NewWriter(a.stdout)}
	if x.printed != "" {
		if k.formatter, err = kgo.NewRecordFormatter(x.printed); err != nil {
			return failf(exitUsage, "", "--output-format %q: %w", x.printed, err)
		}
	}
	waiting := newPatience(a.stderr)
	cl, err := a.client(ctx, append(options, kgo.WithHooks(waiting))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	waiting.begin()
	watched, end := context.WithCancel(ctx)
	defer end()
	go waiting.acknowledgements(watched, func() (int64, int) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return cl.BufferedProduceRecords(), k.n
	})
	readErr := x.send(ctx, cl, reader, headers, k)
	flushErr := cl.Flush(ctx)
	return a.produced(k, readErr, flushErr, k.remedy(ctx, cl))
}

// remedy is what to do about the first record that was not acknowledged.
func (k *acknowledged) remedy(ctx context.Context, cl *kgo.Client) string {
	k.mu.Lock()
	err, topic := k.first, k.topic
	k.mu.Unlock()
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return "create it with `qanat topic create`"
	case errors.Is(err, kgo.ErrRecordTimeout):
		return "`qanat cluster health` says whether a disk is full, or replicas are missing; --delivery-timeout waits longer"
	case errors.Is(err, kerr.InvalidRecord) && compacts(ctx, kadm.NewClient(cl), topic):
		return "the topic is compacted: every record needs a key (-k KEY, or %k in the layout -f)"
	}
	return ""
}

// compacts tells whether a topic keeps the latest record of each key, and so takes none without. The client library leaves out
// what the broker says of a record that it refuses.
func compacts(ctx context.Context, adm *kadm.Client, topic string) bool {
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil { // then the refusal alone has to do
		return false
	}
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if c.Key == "cleanup.policy" {
				return strings.Contains(c.MaybeValue(), "compact")
			}
		}
	}
	return false
}

// send reads records until the input ends, one fails, or ctx does.
func (x production) send(ctx context.Context, cl *kgo.Client, reader *kgo.RecordReader, headers []kgo.RecordHeader, k *acknowledged) error {
	for ctx.Err() == nil {
		r, err := reader.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return failf(exitFailed, "what -f describes is in every record, the delimiter and the line's end too: see qanat produce --help",
					"the input ends within a record, which was not produced: it does not fit -f %q", x.format)
			}
			return fmt.Errorf("read record: %w", err)
		}
		if x.hasKey && len(r.Key) == 0 {
			r.Key = []byte(x.key)
		}
		if x.tombstone && len(r.Value) == 0 {
			r.Value = nil
		}
		if x.partition >= 0 {
			r.Partition = x.partition
		}
		r.Headers = append(r.Headers, headers...)
		cl.Produce(ctx, r, k.promise)
		k.mu.Lock()
		failed := k.failed > 0
		k.mu.Unlock()
		if failed {
			return nil
		}
	}
	return ctx.Err()
}

// produced sums up.
func (a *app) produced(k *acknowledged, readErr, flushErr error, remedy string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.out.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if a.stderrTTY && k.formatter == nil {
		fmt.Fprintf(a.stderr, "%s acknowledged\n", count(k.n, "record"))
	}
	switch {
	case k.first != nil:
		return failf(exitCode(k.first), remedy, "%s not acknowledged (%d were): %w", count(k.failed, "record"), k.n, k.first)
	case readErr != nil:
		return readErr
	case flushErr != nil:
		return fmt.Errorf("wait for acknowledgements (%d came): %w", k.n, flushErr)
	}
	return nil
}

func (x production) parseHeaders() ([]kgo.RecordHeader, error) {
	var list []kgo.RecordHeader
	for _, h := range x.headers {
		key, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, failf(exitUsage, "", "--header %q: must be KEY:VALUE", h)
		}
		list = append(list, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	return list, nil
}

// open is standard input, or a file.
func (a *app) open(path string) (io.Reader, func(), error) {
	if path == "" {
		return a.stdin, func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, failf(exitNotFound, "", "%w", err)
	}
	return f, func() { _ = f.Close() }, nil // only read from
}
