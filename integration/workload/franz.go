package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/history"
)

// client is a franz-go process at work.
type client struct {
	Spec
	*history.Writer
	rng *rand.Rand
}

// Run plays a role with franz-go until ctx ends, or the role has.
func Run(ctx context.Context, s Spec) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	file, err := os.OpenFile(s.History, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	flags := []string{"idempotent"}
	switch s.Role {
	case Final:
		flags = append(flags, "final")
	case Transact, Pipe, Streams:
		flags = append(flags, "transactional")
	}
	c := &client{Spec: s, Writer: history.NewWriter(file, int32(s.Process), "franz-go", flags...), rng: rand.New(rand.NewPCG(s.Seed, uint64(s.Process)))}
	role, known := map[Role]func(context.Context) error{
		Produce: c.produce, Transact: c.transact, Pipe: c.pipe, Streams: c.streams, Refused: c.refused, Read: c.read, Group: c.group, Committed: c.committed, Final: c.final,
		Share: c.share, Starts: c.starts, Drain: c.drain,
	}[s.Role]
	if !known {
		return fmt.Errorf("role %q is not known", s.Role)
	}
	if err := role(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.Role, err)
	}
	return c.End()
}

// connect is a client at franz-go's defaults but for opts.
func (c *client) connect(opts ...kgo.Opt) (*kgo.Client, error) {
	if c.TransactionalID != "" && c.Role != Transact {
		// Control records are kept, as the end of a partition may be one.
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	}
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(c.Bootstrap, ",")...), kgo.ClientID(fmt.Sprintf("%s-%d", c.Role, c.Process)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(c.Spec.Topic),
	}, opts...)...)
}

// record is the next value, announced.
func (c *client) record(partition int32) (history.Value, *kgo.Record) {
	v := c.Send(partition)
	return v, &kgo.Record{Partition: partition, Value: history.Payload(v, c.Size/2+c.rng.IntN(c.Size))}
}

// source is a partition to send to.
func (c *client) source() int32 {
	if c.Sources > 0 {
		return int32(c.rng.IntN(c.Sources))
	}
	return int32(c.rng.IntN(c.Partitions))
}

// sent completes a value.
func (c *client) sent(v history.Value, r *kgo.Record, err error) {
	if err == nil {
		c.Sent(v, r.Offset)
		return
	}
	c.NotSent(v, Definite(err), code(err))
}

// produce sends at the rate, pipelined. Every second process gives up on a record after a while, as applications do.
func (c *client) produce(ctx context.Context) error {
	opts := []kgo.Opt{kgo.MaxBufferedRecords(2000)}
	if c.Process%2 == 0 {
		opts = append(opts, kgo.RecordDeliveryTimeout(8*time.Second))
	}
	if c.Process%3 == 0 {
		opts = append(opts, kgo.ProducerLinger(0))
	}
	cl, err := c.connect(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	longer, cancel := outliving(ctx, 20*time.Second)
	defer cancel()
	every(ctx, time.Second/time.Duration(c.Rate), func() {
		v, r := c.record(c.source())
		// A full buffer blocks until the oldest are answered: the client's own back-pressure.
		cl.Produce(longer, r, func(r *kgo.Record, err error) { c.sent(v, r, err) })
	})
	// What is not flushed by then stays unknown.
	_ = cl.Flush(longer)
	return nil
}

// outliving is a context that ends so much later than ctx: what is on its way when a client is to end is still answered.
func outliving(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer, func() { stop(); cancel() }
}

// every does something at the interval until ctx ends; what takes longer is not made up for.
func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// refused sends one record at a time; a third of them carry a timestamp that the topic does not allow.
func (c *client) refused(ctx context.Context) error {
	cl, err := c.connect()
	if err != nil {
		return err
	}
	defer cl.Close()
	every(ctx, time.Second/time.Duration(c.Rate), func() {
		v, r := c.record(c.source())
		if c.rng.IntN(3) == 0 {
			r.Timestamp = time.Now().Add(TooLate)
		}
		err := cl.ProduceSync(ctx, r).FirstErr()
		c.sent(v, r, err)
	})
	return nil
}

// TooLate is how far in the future a timestamp lies that a topic with TimestampLimit refuses.
const TooLate = 48 * time.Hour

// TimestampLimit is the topic's configuration that makes brokers refuse.
const TimestampLimit = "message.timestamp.after.max.ms=3600000"

// Definite says that an error is a broker's word that it has not appended and never will: it judges the record, not the
// moment, so that earlier tries of the same record cannot have fared better.
func Definite(err error) bool {
	for _, e := range []error{kerr.InvalidTimestamp, kerr.InvalidRecord, kerr.MessageTooLarge} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// code is an error in one word.
func code(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrRecordTimeout):
		return "timeout"
	}
	return strings.ReplaceAll(strings.ReplaceAll(err.Error(), " ", "_"), "\n", "_")
}

// assigned is a client that reads all partitions from their beginning.
func (c *client) assigned() (*kgo.Client, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(c.Partitions) {
		from[p] = kgo.NewOffset().At(0)
		c.Seek(p, 0)
	}
	return c.connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Spec.Topic: from}), kgo.FetchMaxWait(500*time.Millisecond))
}

// read follows every partition; now and then it goes back a little in one.
func (c *client) read(ctx context.Context) error {
	cl, err := c.assigned()
	if err != nil {
		return err
	}
	defer cl.Close()
	next := make([]int64, c.Partitions)
	for ctx.Err() == nil {
		c.polled(cl.PollRecords(ctx, 1000), next)
		if c.rng.IntN(200) > 0 {
			continue
		}
		p := int32(c.rng.IntN(c.Partitions))
		to := max(0, next[p]-int64(c.rng.IntN(500)))
		next[p] = to
		c.Seek(p, to)
		cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{c.Spec.Topic: {p: {Epoch: -1, Offset: to}}})
	}
	return nil
}

// polled notes what a poll has handed out, in runs of consecutive offsets, and moves next.
func (c *client) polled(fetches kgo.Fetches, next []int64) {
	c.runs(fetches, c.Poll, next)
}

// runs has runs of consecutive offsets noted, and moves next.
func (c *client) runs(fetches kgo.Fetches, note func(partition int32, offset int64, values []history.Value), next []int64) {
	fetches.EachPartition(func(t kgo.FetchTopicPartition) {
		var run []history.Value
		flush := func(end int64) {
			if len(run) > 0 {
				note(t.Partition, end-int64(len(run)), run)
			}
			run = run[:0]
		}
		for i, r := range t.Records {
			if i > 0 && r.Offset != t.Records[i-1].Offset+1 {
				flush(t.Records[i-1].Offset + 1)
			}
			switch v, err := history.ParsePayload(r.Value); {
			case r.Attrs.IsControl():
				flush(r.Offset)
			case err != nil:
				flush(r.Offset)
				c.Bad(t.Partition, r.Offset, err.Error())
			default:
				run = append(run, v)
			}
			if int(t.Partition) < len(next) {
				next[t.Partition] = r.Offset + 1
			}
		}
		if n := len(t.Records); n > 0 {
			flush(t.Records[n-1].Offset + 1)
		}
	})
}
