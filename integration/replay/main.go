// Replay measures how fast history comes back from the bucket: a topic whose closed segments are in the bucket only is consumed
// from offset 0, with one partition and with 16. One JSON line per measurement; compare within one run. Three things take turns:
//
//	replay  the broker and a consumer
//	relay   the bare driver's parallel ranged GETs and the same consumer: a process that does nothing but get the same
//	        objects' ranges, eight at once, and pass their batches on over the Kafka protocol, unverified, from memory (relay.go).
//	        What the broker adds is the difference to this
//	bare    the same GETs, thrown away: no consumer at all
//
//	integration/scripts/s3 go run ./integration/replay -qanat bin/qanat -mib 2048
//
// With -beside it measures instead what producing and consuming at the tail feel of a replay (beside.go).
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/tier/object"
)

// options are the command line.
type options struct {
	bin        string
	driver     string
	mib        int64
	segmentMiB int64
	partitions string
	rounds     int
	profile    string
	beside     bool
	rate       int
	seconds    int
	nice       bool
	sets       string
}

func main() {
	var o options
	flag.StringVar(&o.bin, "qanat", "bin/qanat", "the program")
	flag.Int64Var(&o.mib, "mib", 2048, "MiB to replay")
	flag.Int64Var(&o.segmentMiB, "segment", 64, "MiB of a segment")
	flag.StringVar(&o.driver, "driver", "s3", "s3, minio or dir")
	flag.StringVar(&o.partitions, "partitions", "1,16", "numbers of partitions to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured")
	flag.StringVar(&o.profile, "cpuprofile", "", "directory for a CPU profile of the broker per replay")
	flag.BoolVar(&o.beside, "beside", false, "measure latency at the tail beside a replay")
	flag.IntVar(&o.rate, "rate", 2000, "records a second at the tail")
	flag.IntVar(&o.seconds, "seconds", 10, "of each measurement at the tail")
	flag.BoolVar(&o.nice, "nice", true, "give the replaying client, which would be on another machine, the lowest priority")
	flag.StringVar(&o.sets, "set", "", "the broker's settings, separated by spaces")
	flag.Parse()
	ctx := context.Background()
	var err error
	switch flag.Arg(0) {
	case "relay": // the processes that this one starts of itself
		err = relay(ctx, flag.Arg(1), flag.Arg(2), flag.Args()[3:])
	case "consume":
		err = consume(ctx, flag.Arg(1), flag.Arg(2))
	default:
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

// world is a broker with its bucket.
type world struct {
	options
	broker *harness.Broker
	bucket object.Bucket
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "qanat-replay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &world{options: o}
	if w.broker, err = harness.New(o.bin, filepath.Join(dir, "data")); err != nil {
		return err
	}
	endpoint, name := os.Getenv("QANAT_TEST_S3"), os.Getenv("QANAT_TEST_S3_BUCKET")
	switch {
	case o.driver == "dir":
		w.broker.Bucket = "dir:" + filepath.Join(dir, "bucket")
	case endpoint == "":
		return fmt.Errorf("QANAT_TEST_S3 names no server: run this under integration/scripts/s3")
	default:
		w.broker.Bucket = fmt.Sprintf("%s://%s/replay?endpoint=%s", o.driver, name, endpoint)
	}
	w.broker.Sets = append(strings.Fields(o.sets), "admin.pprof.enable=true", "auto.create.topics.enable=false")
	if err := w.broker.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = w.broker.Kill() }()
	if w.bucket, err = object.Open(w.broker.Bucket); err != nil {
		return err
	}
	defer w.bucket.Close()
	for _, n := range strings.Split(o.partitions, ",") {
		partitions, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		topic := fmt.Sprintf("history-%d", partitions)
		if err := w.fill(ctx, topic, int32(partitions)); err != nil {
			return fmt.Errorf("fill %s: %w", topic, err)
		}
		objects, err := w.objects(ctx, topic)
		if err != nil {
			return err
		}
		if o.beside {
			return w.besides(ctx, topic, objects)
		}
		for round := range o.rounds {
			if err := w.replay(ctx, topic, objects, round); err != nil {
				return fmt.Errorf("replay %s: %w", topic, err)
			}
			if err := w.relayed(ctx, topic, objects); err != nil {
				return fmt.Errorf("relay %s: %w", topic, err)
			}
			if err := w.bare(ctx, topic, objects); err != nil {
				return fmt.Errorf("bare GETs: %w", err)
			}
		}
	}
	return nil
}

// fill produces the topic and waits until all but the active segments are in the bucket only.
func (w *world) fill(ctx context.Context, topic string, partitions int32) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Listen), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	segment, local := strconv.FormatInt(w.segmentMiB<<20, 10), "1"
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, map[string]*string{"segment.bytes": &segment, "local.retention.bytes": &local}, topic); err != nil {
		return err
	}
	var failed error
	value := make([]byte, 1024)
	// Whole segments and a hundredth of one to close the last: what is still on the disk is read as well, and not counted.
	segments := max(w.mib/w.segmentMiB, int64(partitions)) / int64(partitions) * int64(partitions)
	for range (segments*w.segmentMiB + w.segmentMiB*int64(partitions)/100) << 20 / 1032 {
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil || failed != nil {
		return fmt.Errorf("%w %w", err, failed)
	}
	return harness.Until(ctx, func() (bool, error) {
		logs, err := filepath.Glob(filepath.Join(w.broker.Dir, "partitions", "*", "*", "*.log"))
		if err == nil && len(logs) == 0 {
			err = fmt.Errorf("no local segments in %s", w.broker.Dir)
		}
		topics := map[string]int{}
		for _, l := range logs {
			topics[filepath.Dir(l)]++
		}
		return len(logs) == len(topics), err
	})
}

// remoteObject is one segment in the bucket: its name is CLUSTER/TOPIC/PARTITION/BASE-END.eEPOCH.UUID.
type remoteObject struct {
	key        string
	size       int64
	partition  int32
	base, next int64
}

// objects are the topic's, in the order of partition and offset. It is the topic that was filled last.
func (w *world) objects(ctx context.Context, topic string) ([]remoteObject, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Listen))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	details, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	raw := details[topic].ID
	id := base64.RawURLEncoding.EncodeToString(raw[:])
	var all []remoteObject
	err = w.bucket.List(ctx, "", func(i object.Info) error {
		o := remoteObject{key: i.Key, size: i.Size}
		parts := strings.Split(i.Key, "/")
		if len(parts) != 4 || parts[1] != id {
			return nil
		}
		if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "%d %d-%d.", &o.partition, &o.base, &o.next); err != nil {
			return fmt.Errorf("key %s: %w", i.Key, err)
		}
		all = append(all, o)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("no objects of %s (%s) in the bucket", topic, id)
	}
	return all, err
}

// ends is where each partition's history ends, for the child process that consumes it.
func ends(objects []remoteObject) string {
	last := map[int32]int64{}
	for _, o := range objects {
		last[o.partition] = max(last[o.partition], o.next)
	}
	out, _ := json.Marshal(last)
	return string(out)
}

// self starts this program as a child.
func self(nice bool, args ...string) *exec.Cmd {
	me, err := os.Executable()
	if err != nil {
		me = os.Args[0]
	}
	cmd := exec.Command(me, args...)
	if nice {
		cmd = exec.Command("nice", append([]string{"-n", "19", me}, args...)...)
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// consumed is what a consuming child says when it has everything.
type consumed struct {
	Bytes   int64
	Seconds float64
}

// consumeElsewhere consumes the topic's history in a process of its own.
func consumeElsewhere(address, topic string, objects []remoteObject, nice bool) (consumed, error) {
	var c consumed
	cmd := self(nice, "consume", address, topic)
	cmd.Stdin = strings.NewReader(ends(objects))
	out, err := cmd.Output()
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(out, &c)
}

// consume is the consuming child: all records of the topic below the offsets on its input.
func consume(ctx context.Context, address, topic string) error {
	last, left := map[int32]int64{}, int64(0)
	if err := json.NewDecoder(os.Stdin).Decode(&last); err != nil {
		return err
	}
	for _, next := range last {
		left += next
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(16<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil {
		return err
	}
	c, begin := consumed{}, time.Now()
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < last[r.Partition] {
				left--
				c.Bytes += int64(len(r.Value))
			}
		})
	}
	c.Seconds = time.Since(begin).Seconds()
	return json.NewEncoder(os.Stdout).Encode(c)
}

// replay measures the broker.
func (w *world) replay(ctx context.Context, topic string, objects []remoteObject, round int) error {
	before, err := w.broker.Scrape(ctx)
	if err != nil {
		return err
	}
	cpu := w.broker.CPU()
	profiling, stop := context.WithCancel(ctx)
	defer stop()
	if w.profile != "" {
		go w.saveProfile(profiling, fmt.Sprintf("%s-%s-%d.pprof", w.driver, topic, round))
	}
	c, err := consumeElsewhere(w.broker.Listen, topic, objects, false)
	if err != nil {
		return err
	}
	spent := w.broker.CPU() - cpu
	after, err := w.broker.Scrape(ctx)
	if err != nil {
		return err
	}
	gib := float64(c.Bytes) / (1 << 30)
	return print("replay", topic, map[string]float64{
		"mb_s": float64(c.Bytes) / 1e6 / c.Seconds, "cpu_s_gib": spent.Seconds() / gib,
		"get_per_gib": (after["qanat_tier_gets_total"] - before["qanat_tier_gets_total"]) / gib,
	})
}

// saveProfile keeps what the broker's processors do for the next two seconds.
func (w *world) saveProfile(ctx context.Context, name string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.broker.Admin+"/debug/pprof/profile?seconds=2", nil)
	if err != nil {
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		return
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.profile, name), raw, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
	}
}

// rangeBytes and gets are how the bare GETs read: 12 MiB is about what the broker asks for at a time.
const (
	rangeBytes = 12 << 20
	gets       = 8
)

// bare reads the objects in ranges and throws them away.
func (w *world) bare(ctx context.Context, topic string, objects []remoteObject) error {
	begin, total := time.Now(), int64(0)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(gets)
	for _, o := range objects {
		total += o.size
		for from := int64(0); from < o.size; from += rangeBytes {
			g.Go(func() error {
				body, err := w.bucket.Get(ctx, o.key, from, min(rangeBytes, o.size-from))
				if err != nil {
					return err
				}
				defer body.Close()
				_, err = io.Copy(io.Discard, body)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return print("bare", topic, map[string]float64{"mb_s": float64(total) / 1e6 / time.Since(begin).Seconds()})
}

func print(what, topic string, figures map[string]float64) error {
	line := map[string]any{"what": what, "topic": topic}
	for k, v := range figures {
		line[k] = float64(int(v*1000)) / 1000
	}
	out, err := json.Marshal(line)
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}
