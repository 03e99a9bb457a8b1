// Scale measures what many partitions cost, on brokers that run and have none:
//
//	go run ./integration/scale -brokers HOST:PORT,… -pids PID,… -partitions 10000 -rf 3
//
// It creates the partitions in topics of 100 and waits until every broker knows every leader, writes a record into each, reads all of them
// back, looks what a consumer of all of them costs that finds nothing new, and how long a new topic takes to be known to every broker. One JSON line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

type options struct {
	brokers    string
	pids       string
	partitions int
	rf         int
	news       int
}

// perTopic is how many partitions a topic has.
const perTopic = 100

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "addresses, comma separated")
	flag.StringVar(&o.pids, "pids", "", "the brokers' processes, comma separated, for their memory and processor time")
	flag.IntVar(&o.partitions, "partitions", 10_000, "how many, a multiple of 100")
	flag.IntVar(&o.rf, "rf", 1, "replicas of each")
	flag.IntVar(&o.news, "news", 100, "topics that are created to see how fast the others hear of them")
	flag.Parse()
	if err := run(context.Background(), &o); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if o.partitions <= 0 || o.partitions%perTopic != 0 {
		return fmt.Errorf("-partitions %d is no multiple of %d", o.partitions, perTopic)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...))
	if err != nil {
		return err
	}
	defer cl.Close()
	told := map[string]any{"partitions": o.partitions, "rf": o.rf}
	before, err := resident(o.pids)
	if err != nil {
		return err
	}
	if err := create(ctx, cl, o, told); err != nil {
		return err
	}
	after, err := resident(o.pids)
	if err != nil {
		return err
	}
	if err := fill(ctx, o, told); err != nil {
		return err
	}
	filled, err := resident(o.pids)
	if err != nil {
		return err
	}
	if err := idle(ctx, o, told); err != nil {
		return err
	}
	told["resident_mib_empty"], told["resident_mib_created"], told["resident_mib_filled"] = before, after, filled
	if err := news(ctx, cl, o, told); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

func topicName(i int) string { return fmt.Sprintf("scale-%d", i) }

// create creates the partitions and waits until every broker knows a leader of each.
func create(ctx context.Context, cl *kgo.Client, o *options, told map[string]any) error {
	adm := kadm.NewClient(cl)
	begin := time.Now()
	var names []string
	for i := range o.partitions / perTopic {
		if _, err := adm.CreateTopic(ctx, perTopic, int16(o.rf), nil, topicName(i)); err != nil {
			return fmt.Errorf("create topic %d: %w", i, err)
		}
		names = append(names, topicName(i))
	}
	told["create_s"] = time.Since(begin).Seconds()
	if err := known(ctx, cl, names, perTopic); err != nil {
		return err
	}
	told["led_everywhere_s"] = time.Since(begin).Seconds()
	return nil
}

// known waits until every broker's metadata has all partitions of the topics, each with a leader.
func known(ctx context.Context, cl *kgo.Client, topics []string, partitions int) error {
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	g, bounded := errgroup.WithContext(bounded)
	for _, b := range brokers {
		g.Go(func() error {
			for {
				led, err := ledAt(bounded, cl.Broker(int(b.NodeID)), topics)
				if err != nil {
					return fmt.Errorf("ask broker %d: %w", b.NodeID, err)
				}
				if led == len(topics)*partitions {
					return nil
				}
			}
		})
	}
	return g.Wait()
}

func ledAt(ctx context.Context, b *kgo.Broker, topics []string) (led int, err error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, b)
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.Leader >= 0 {
				led++
			}
		}
	}
	return led, nil
}

// fill writes a record into every partition, waits for all acknowledgements, and reads them back.
func fill(ctx context.Context, o *options, told map[string]any) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(o.partitions))
	if err != nil {
		return err
	}
	defer cl.Close()
	begin := time.Now()
	var failed atomic.Pointer[error]
	consumed := map[string]map[int32]kgo.Offset{}
	for i := range o.partitions / perTopic {
		consumed[topicName(i)] = map[int32]kgo.Offset{}
		for p := range int32(perTopic) {
			consumed[topicName(i)][p] = kgo.NewOffset().AtStart()
			cl.Produce(ctx, &kgo.Record{Topic: topicName(i), Partition: p, Value: []byte(strconv.Itoa(i))}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("produce: %w", *err)
	}
	told["a_record_each_s"] = time.Since(begin).Seconds()
	begin = time.Now()
	cl.AddConsumePartitions(consumed)
	for n := 0; n < o.partitions; {
		bounded, cancel := context.WithTimeout(ctx, time.Minute)
		got := cl.PollFetches(bounded)
		cancel()
		if err := errors.Join(got.Err0(), ctx.Err()); err != nil {
			return fmt.Errorf("read back, %d of %d: %w", n, o.partitions, err)
		}
		n += got.NumRecords()
	}
	told["read_back_s"] = time.Since(begin).Seconds()
	return nil
}

// polls counts fetches that were answered.
type polls struct{ answered atomic.Int64 }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (p *polls) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == int16(kmsg.Fetch) {
		p.answered.Add(1)
	}
}

// idleFor is how long processor time is counted, with and without the consumer.
const idleFor = 20 * time.Second

// idle looks what a fetch of a session over all partitions costs the brokers when there is nothing new, up to a hundred of them a second.
func idle(ctx context.Context, o *options, told map[string]any) error {
	if o.pids == "" {
		return nil
	}
	settled, cancel := context.WithTimeout(ctx, 15*time.Second) // what creation and filling have left to do
	defer cancel()
	<-settled.Done()
	without, err := spent(ctx, o.pids)
	if err != nil {
		return err
	}
	consumed := map[string]map[int32]kgo.Offset{}
	for i := range o.partitions / perTopic {
		consumed[topicName(i)] = map[int32]kgo.Offset{}
		for p := range int32(perTopic) {
			consumed[topicName(i)][p] = kgo.NewOffset().At(1) // behind the record in each
		}
	}
	var count polls
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...), kgo.ConsumePartitions(consumed), kgo.FetchMaxWait(10*time.Millisecond), kgo.WithHooks(&count))
	if err != nil {
		return err
	}
	defer cl.Close()
	settle, cancel := context.WithTimeout(ctx, 5*time.Second) // sessions begin
	cl.PollFetches(settle)
	cancel()
	before := count.answered.Load()
	with, err := spent(ctx, o.pids)
	if err != nil {
		return err
	}
	n := count.answered.Load() - before
	told["idle_polls"], told["idle_poll_cpu_us"] = n, float64((with-without).Microseconds())/float64(max(n, 1))
	told["idle_cpu_percent"] = 100 * without.Seconds() / idleFor.Seconds()
	return nil
}

// spent is the processor time of processes in idleFor.
func spent(ctx context.Context, pids string) (time.Duration, error) {
	before, err := processor(pids)
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(idleFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := processor(pids)
	return after - before, err
}

// processor is the time that processes have had of processors, in clock ticks of 10 ms.
func processor(pids string) (all time.Duration, err error) {
	for _, pid := range strings.FieldsFunc(pids, func(r rune) bool { return r == ',' }) {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 13 {
			return 0, fmt.Errorf("processor time of process %s: %q", pid, b)
		}
		for _, ticks := range f[11:13] { // of the process, and of the kernel for it
			n, err := strconv.Atoi(ticks)
			if err != nil {
				return 0, fmt.Errorf("processor time of process %s: %w", pid, err)
			}
			all += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return all, nil
}

// news creates topics and looks when every broker knows a leader of each: from the request, and from its answer on.
func news(ctx context.Context, cl *kgo.Client, o *options, told map[string]any) error {
	adm := kadm.NewClient(cl)
	var all, answered []float64
	for i := range o.news {
		name := fmt.Sprintf("news-%d", i)
		begin := time.Now()
		if _, err := adm.CreateTopic(ctx, 1, int16(o.rf), nil, name); err != nil {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
		answer := time.Since(begin)
		if err := known(ctx, cl, []string{name}, 1); err != nil {
			return err
		}
		all = append(all, float64(time.Since(begin).Microseconds())/1000)
		answered = append(answered, float64(answer.Microseconds())/1000)
	}
	slices.Sort(all)
	slices.Sort(answered)
	told["create_one_ms_p50"], told["create_one_ms_p99"] = answered[len(answered)/2], answered[len(answered)*99/100]
	told["known_everywhere_ms_p50"], told["known_everywhere_ms_p99"] = all[len(all)/2], all[len(all)*99/100]
	return nil
}

// resident is the processes' memory, MiB.
func resident(pids string) (mib int, err error) {
	for _, pid := range strings.FieldsFunc(pids, func(r rune) bool { return r == ',' }) {
		b, err := os.ReadFile("/proc/" + pid + "/statm")
		if err != nil {
			return 0, err
		}
		var size, pages int
		if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
			return 0, fmt.Errorf("memory of process %s: %w", pid, err)
		}
		mib += pages * os.Getpagesize() >> 20
	}
	return mib, nil
}
