package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (a *app) benchCommand() *cobra.Command {
	return a.parent("bench", "Put load on a cluster and measure", a.benchProduceCommand(), a.benchConsumeCommand(), a.benchE2ECommand())
}

// benchmark is what the bench commands share.
type benchmark struct {
	topic      string
	partitions int32
	records    int64
	size       int
	rate       int
	codec      string
}

func (b *benchmark) flags(c *cobra.Command, records int64) {
	f := c.Flags()
	f.StringVarP(&b.topic, "topic", "t", "qanat-bench", "topic; created when it does not exist")
	f.Int32VarP(&b.partitions, "partitions", "p", 16, "partitions of a topic that is created")
	f.Int64VarP(&b.records, "records", "n", records, "number of records")
	f.IntVarP(&b.size, "size", "s", 1024, "bytes of a record's value")
}

// latencies collects durations; percentiles are exact.
type latencies struct {
	mu   sync.Mutex
	list []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	l.list = append(l.list, d)
	l.mu.Unlock()
}

// at returns the q-quantiles, in milliseconds.
func (l *latencies) at(q ...float64) []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.list)
	out := make([]float64, len(q))
	for i := range q {
		if n := len(l.list); n > 0 {
			out[i] = float64(l.list[min(int(q[i]*float64(n)), n-1)].Microseconds()) / 1000
		}
	}
	return out
}

// benchResult is what a bench prints.
type benchResult struct {
	Test      string  `json:"test"`
	Topic     string  `json:"topic"`
	Records   int64   `json:"records"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"records_per_second"`
	MiBps     float64 `json:"mib_per_second"`
	P50       float64 `json:"p50_ms,omitempty"`
	P99       float64 `json:"p99_ms,omitempty"`
	P999      float64 `json:"p999_ms,omitempty"`
	Max       float64 `json:"max_ms,omitempty"`
}

func (a *app) showBench(r benchResult, took time.Duration, l *latencies) error {
	r.Seconds = took.Seconds()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Records) / r.Seconds
		r.MiBps = float64(r.Bytes) / (1 << 20) / r.Seconds
	}
	pairs := []string{
		"test", r.Test, "topic", r.Topic,
		"records", fmt.Sprintf("%d, %s", r.Records, bytesText(r.Bytes)),
		"time", fmt.Sprintf("%.2f s", r.Seconds),
		"throughput", fmt.Sprintf("%.0f records/s, %.1f MiB/s", r.PerSecond, r.MiBps),
	}
	if l != nil {
		q := l.at(.5, .99, .999, 1)
		r.P50, r.P99, r.P999, r.Max = q[0], q[1], q[2], q[3]
		pairs = append(pairs, "latency", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms", q[0], q[1], q[2], q[3]))
	}
	return a.showFields(r, pairs...)
}

// progress is a bar on a terminal, and nothing elsewhere.
func (a *app) progress(total int64, what string) func(n int64) {
	if !a.stderrTTY {
		return func(int64) {}
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionEnableColorCodes(a.getenv("NO_COLOR") == ""))
	return func(n int64) { _ = bar.Add64(n) } // a bar that cannot be drawn is no reason to stop
}

// prepare creates the topic when it does not exist.
func (b *benchmark) prepare(ctx context.Context, a *app) error {
	adm, err := a.admins(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	r, err := adm.CreateTopic(ctx, b.partitions, -1, nil, b.topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", b.topic, withMessage(err, r.ErrMessage))
	}
	return nil
}

// values are a few random ones: text-like, so that compression has something to do, but not everything.
func (b *benchmark) values() [][]byte {
	const letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 etaoin shrdlu"
	list := make([][]byte, 64)
	for i := range list {
		v := make([]byte, b.size)
		for j := range v {
			v[j] = letters[rand.IntN(len(letters))]
		}
		list[i] = v
	}
	return list
}

func (a *app) benchProduceCommand() *cobra.Command {
	var b benchmark
	var linger time.Duration
	c := a.outputs(&cobra.Command{
		Use:   "produce",
		Short: "Measure how fast records are acknowledged; with --rate, after how long",
		Args:  wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.records < 1 || b.size < 0 {
				return failf(exitUsage, "", "--records must be at least 1, --size at least 0")
			}
			return a.benchProduce(cmd.Context(), b, linger)
		},
	})
	b.flags(c, 1_000_000)
	c.Flags().StringVarP(&b.codec, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	c.Flags().IntVarP(&b.rate, "rate", "r", 0, "records a second at most; 0 as many as go")
	c.Flags().DurationVar(&linger, "linger", 5*time.Millisecond, "how long the client waits for a batch to fill")
	return c
}

func (a *app) benchProduce(ctx context.Context, b benchmark, linger time.Duration) error {
	options, err := production{topic: b.topic, partition: -1, compression: b.codec, acks: -1, maxBytes: 1 << 20}.options()
	if err != nil {
		return err
	}
	if err := b.prepare(ctx, a); err != nil {
		return err
	}
	cl, err := a.client(ctx, append(options, kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(200_000))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	var acked, bytes atomic.Int64
	var failed atomic.Pointer[error]
	var lat latencies
	step := a.progress(b.records, "produce")
	values := b.values()
	begin := time.Now()
	pace := newPacer(b.rate)
	for i := int64(0); i < b.records && ctx.Err() == nil && failed.Load() == nil; i++ {
		pace.wait(ctx, i)
		sent := time.Now()
		cl.Produce(ctx, &kgo.Record{Value: values[i%int64(len(values))]}, func(r *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				return
			}
			lat.add(time.Since(sent))
			acked.Add(1)
			bytes.Add(int64(len(r.Value)))
			step(1)
		})
	}
	flushErr := cl.Flush(ctx)
	took := time.Since(begin)
	if err := failed.Load(); err != nil {
		return fmt.Errorf("produce (%d were acknowledged): %w", acked.Load(), *err)
	}
	if flushErr != nil && ctx.Err() == nil {
		return flushErr
	}
	shown := &lat
	if b.rate == 0 {
		shown = nil // as many as go: what a record waits for is mostly the client's own queue
	}
	return a.showBench(benchResult{Test: "produce", Topic: b.topic, Records: acked.Load(), Bytes: bytes.Load()}, took, shown)
}

// pacer spreads events evenly.
type pacer struct {
	rate  int
	begin time.Time
	timer *time.Timer
}

func newPacer(rate int) *pacer { return &pacer{rate: rate, begin: time.Now()} }

// wait returns when event i is due.
func (p *pacer) wait(ctx context.Context, i int64) {
	if p.rate <= 0 {
		return
	}
	due := time.Until(p.begin.Add(time.Duration(float64(i) / float64(p.rate) * float64(time.Second))))
	if due <= 0 {
		return
	}
	if p.timer == nil {
		p.timer = time.NewTimer(due)
	} else {
		p.timer.Reset(due)
	}
	select {
	case <-p.timer.C:
	case <-ctx.Done():
	}
}

func (a *app) benchConsumeCommand() *cobra.Command {
	var b benchmark
	c := a.outputs(&cobra.Command{
		Use:   "consume",
		Short: "Measure how fast a topic is read from its start",
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.benchConsume(cmd.Context(), b) },
	})
	f := c.Flags()
	f.StringVarP(&b.topic, "topic", "t", "qanat-bench", "topic")
	f.Int64VarP(&b.records, "records", "n", 0, "number of records at most; 0 for all that there are")
	return c
}

func (a *app) benchConsume(ctx context.Context, b benchmark) error {
	cl, err := a.client(ctx, kgo.FetchMaxBytes(64<<20), kgo.FetchMaxPartitionBytes(8<<20), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer cl.Close()
	end := point{kind: atEnd}
	ranges, err := span{from: point{kind: atStart}, to: &end}.resolve(ctx, kadm.NewClient(cl), b.topic)
	if err != nil {
		return err
	}
	begin := map[int32]kgo.Offset{}
	var total int64
	for id, r := range ranges {
		if r.to > r.from {
			begin[id] = kgo.NewOffset().At(r.from)
			total += r.to - r.from
		}
	}
	if total == 0 {
		return failf(exitNotFound, "fill it with `qanat bench produce`", "topic %s is empty", b.topic)
	}
	if b.records > 0 {
		total = min(total, b.records)
	}
	step := a.progress(total, "consume")
	var n, bytes int64
	start := time.Now()
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{b.topic: begin})
	for n < total && len(begin) > 0 && ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil {
				return fmt.Errorf("consume %s/%d: %w", e.Topic, e.Partition, e.Err)
			}
		}
		before := n
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				n++
				bytes += int64(len(r.Key) + len(r.Value))
			}
			if r.Offset+1 >= ranges[r.Partition].to {
				delete(begin, r.Partition)
			}
		})
		step(n - before)
	}
	return a.showBench(benchResult{Test: "consume", Topic: b.topic, Records: n, Bytes: bytes}, time.Since(start), nil)
}

func (a *app) benchE2ECommand() *cobra.Command {
	var b benchmark
	c := a.outputs(&cobra.Command{
		Use:   "e2e",
		Short: "Measure the time from producing a record to consuming it",
		Args:  wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.size < e2eHeader {
				return failf(exitUsage, "", "--size must be at least %d", e2eHeader)
			}
			if b.rate < 1 || b.records < 1 {
				return failf(exitUsage, "", "--rate and --records must be at least 1")
			}
			return a.benchE2E(cmd.Context(), b)
		},
	})
	b.flags(c, 100_000)
	c.Flags().IntVarP(&b.rate, "rate", "r", 10_000, "records a second")
	return c
}

// e2eHeader is what a record begins with: a mark of this run, and when it was sent, in nanoseconds.
const e2eHeader = 16

// e2eSilence is how long nothing may arrive before the rest is given up.
const e2eSilence = 30 * time.Second

func (a *app) benchE2E(ctx context.Context, b benchmark) error {
	if err := b.prepare(ctx, a); err != nil {
		return err
	}
	consumer, err := a.client(ctx, kgo.FetchMaxWait(time.Second), kgo.FetchMinBytes(1))
	if err != nil {
		return err
	}
	defer consumer.Close()
	ends, err := point{kind: atEnd}.resolve(ctx, kadm.NewClient(consumer), b.topic)
	if err != nil {
		return err
	}
	at := map[int32]kgo.Offset{}
	for id, end := range ends {
		at[id] = kgo.NewOffset().At(end)
	}
	consumer.AddConsumePartitions(map[string]map[int32]kgo.Offset{b.topic: at})
	producer, err := a.client(ctx, kgo.DefaultProduceTopic(b.topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer producer.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := rand.Uint64()
	go b.sendTimed(ctx, producer, run, cancel)
	var lat latencies
	var n, bytes int64
	step := a.progress(b.records, "end to end")
	begin := time.Now()
	for n < b.records {
		poll, stop := context.WithTimeout(ctx, e2eSilence)
		fetches := consumer.PollFetches(poll)
		silent := poll.Err() != nil
		stop()
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			break
		}
		if silent {
			return failf(exitFailed, "", "%d of %d records arrived, then none for %s", n, b.records, e2eSilence)
		}
		now := time.Now()
		before := n
		fetches.EachRecord(func(r *kgo.Record) {
			if len(r.Value) >= e2eHeader && binary.LittleEndian.Uint64(r.Value) == run {
				lat.add(now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(r.Value[8:])))))
				n++
				bytes += int64(len(r.Value))
			}
		})
		step(n - before)
	}
	return a.showBench(benchResult{Test: "e2e at " + strconv.Itoa(b.rate) + " records/s", Topic: b.topic, Records: n, Bytes: bytes}, time.Since(begin), &lat)
}

// sendTimed produces records that carry their time, at the rate.
func (b benchmark) sendTimed(ctx context.Context, cl *kgo.Client, run uint64, cancel context.CancelCauseFunc) {
	pace := newPacer(b.rate)
	for i := int64(0); i < b.records && ctx.Err() == nil; i++ {
		pace.wait(ctx, i)
		v := make([]byte, b.size)
		binary.LittleEndian.PutUint64(v, run)
		binary.LittleEndian.PutUint64(v[8:], uint64(time.Now().UnixNano()))
		cl.Produce(ctx, &kgo.Record{Value: v}, func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("produce: %w", err))
			}
		})
	}
}
