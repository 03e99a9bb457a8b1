// Package journey is the product's main job, driven from outside: real text is
// produced through many partitions while closed segments roll to the bucket, the
// broker is killed on the way, and in the end a consumer reads every acknowledged
// record from offset 0, byte for byte, in order, once; again without the index, and
// again without the local segments that the bucket holds.
package journey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/harness"
)

// Plan is how large the journey is.
type Plan struct {
	Broker       *harness.Broker
	Bytes        int64 // to produce, keys and values
	Partitions   int
	SegmentBytes int64
	LocalBytes   int64 // local.retention.bytes of each partition
	Kills        int
	Seed         uint64
	// Progress hears of each step: what, how far, of how much (bytes). May be nil.
	Progress func(step string, done, total int64)
}

// Summary is what the journey saw.
type Summary struct {
	Records, Unknown int64
	Bytes            int64
	HotBytes         int64 // local disk at the end of producing
	PeakHotBytes     int64
	ColdBytes        int64
	Puts, Gets       float64
	Produce, Replay  time.Duration // of producing, and of the first read from offset 0
	CPU              time.Duration // the broker's, all processes
	Kills            int
	Restart          time.Duration // the longest from exec to ready after a kill
}

const topic = "journey"

// Run goes the whole way. It leaves the broker running.
func Run(ctx context.Context, p Plan) (Summary, error) {
	if p.Progress == nil {
		p.Progress = func(string, int64, int64) {}
	}
	r := &run{Plan: p, ledger: NewLedger(p.Partitions)}
	if err := p.Broker.Start(ctx); err != nil {
		return r.s, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"create topic", r.create},
		{"produce", r.produce},
		{"archive", r.settle},
		{"replay", r.replay},
		{"replay without the index", r.withoutIndex},
		{"replay without archived local segments", r.withoutLocal},
	} {
		r.step = step.name
		if err := step.do(ctx); err != nil {
			return r.s, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	r.count(ctx)
	r.s.CPU = p.Broker.CPU()
	return r.s, nil
}

type run struct {
	Plan
	step   string
	ledger *Ledger
	s      Summary
}

func (r *run) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.Broker.Listen)}, opts...)...)
}

func (r *run) create(ctx context.Context) error {
	cl, err := r.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	segment, local := fmt.Sprint(r.SegmentBytes), fmt.Sprint(r.LocalBytes)
	_, err = kadm.NewClient(cl).CreateTopic(ctx, int32(r.Partitions), 1, map[string]*string{
		"segment.bytes": &segment, "local.retention.bytes": &local,
	}, topic)
	return err
}

// produce sends everything with an idempotent producer that waits out the kills.
func (r *run) produce(ctx context.Context) error {
	source, err := NewSource(r.Seed)
	if err != nil {
		return err
	}
	cl, err := r.client(kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.MaxBufferedRecords(4096), kgo.MaxBufferedBytes(64<<20), kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer cl.Close()
	begin := time.Now()
	var killer sync.WaitGroup
	defer killer.Wait()
	killed := make(chan error, r.Kills)
	var sent int64
	for kill := 1; sent < r.Bytes; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_, key, value := source.Next()
		sent += int64(len(key) + len(value))
		cl.Produce(ctx, &kgo.Record{Key: key, Value: value}, r.ledger.Produced)
		if kill <= r.Kills && sent > r.Bytes*int64(kill)/int64(r.Kills+1) {
			kill++
			killer.Wait()
			killer.Go(func() { killed <- r.kill(ctx) })
		}
		if source.next%256 == 0 {
			r.Progress(r.step, sent, r.Bytes)
			r.s.PeakHotBytes = max(r.s.PeakHotBytes, r.localBytes())
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	killer.Wait()
	close(killed)
	for err := range killed {
		if err != nil {
			return err
		}
	}
	r.s.Produce, r.s.Records, r.s.Unknown, r.s.Bytes = time.Since(begin), r.ledger.Acked, r.ledger.Failed, r.ledger.Bytes
	r.Progress(r.step, r.Bytes, r.Bytes)
	if r.ledger.Acked == 0 {
		return errors.New("nothing was acknowledged")
	}
	return nil
}

func (r *run) kill(ctx context.Context) error {
	r.count(ctx)
	if err := r.Broker.Kill(); err != nil {
		return err
	}
	r.s.Kills++
	if err := r.Broker.Start(ctx); err != nil {
		return err
	}
	r.s.Restart = max(r.s.Restart, r.Broker.Started)
	return nil
}

// count adds the requests to the bucket of the process that is about to end.
func (r *run) count(ctx context.Context) {
	m, err := r.Broker.Scrape(ctx)
	if err != nil {
		return
	}
	r.s.Puts += m["qanat_tier_puts_total"]
	r.s.Gets += m["qanat_tier_gets_total"]
}

// settle waits until local disk use is down to what retention leaves: the
// archive has caught up. It watches the directory, as a person would.
func (r *run) settle(ctx context.Context) error {
	// Each partition keeps its local retention, its active segment, and one that may be on its way.
	bound := int64(r.Partitions) * (r.LocalBytes + 2*r.SegmentBytes)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		hot := r.localBytes()
		r.Progress(r.step, min(hot, bound), bound)
		if hot <= bound {
			r.s.HotBytes, r.s.PeakHotBytes = hot, max(r.s.PeakHotBytes, hot)
			return r.cold(ctx)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("local disk holds %d bytes, retention allows %d", hot, bound)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// cold asks the broker, in Kafka's own words, how much is in the bucket.
func (r *run) cold(ctx context.Context) error {
	cl, err := r.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	dirs, err := kadm.NewClient(cl).DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return err
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		if !strings.HasPrefix(d.Dir, r.Broker.Dir) || strings.Contains(d.Dir, ":") {
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) { r.s.ColdBytes += p.Size })
		}
	})
	return nil
}

func (r *run) localBytes() int64 {
	var total int64
	_ = filepath.WalkDir(filepath.Join(r.Broker.Dir, "partitions"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}

// replay reads the topic from offset 0 to its end and compares.
func (r *run) replay(ctx context.Context) error {
	begin := time.Now()
	cl, err := r.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(32<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	r.ledger.Rewind()
	for r.ledger.Read < want {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		fetches := cl.PollFetches(ctx)
		err := ctx.Err()
		cancel()
		if err != nil {
			return fmt.Errorf("read %d of %d records, then nothing for a minute", r.ledger.Read, want)
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(r.ledger.Consumed)
		r.Progress(r.step, r.ledger.Read, want)
	}
	if r.s.Replay == 0 {
		r.s.Replay = time.Since(begin)
	}
	return r.ledger.Verdict()
}

func (r *run) withoutIndex(ctx context.Context) error {
	return r.without(ctx, func() error { return os.RemoveAll(filepath.Join(r.Broker.Dir, "index")) })
}

// withoutLocal deletes every closed local segment that lies below what the bucket holds.
func (r *run) withoutLocal(ctx context.Context) error {
	tiered, err := r.tieredEnds(ctx)
	if err != nil {
		return err
	}
	return r.without(ctx, func() error {
		deleted := 0
		err := filepath.WalkDir(filepath.Join(r.Broker.Dir, "partitions"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			segments, err := filepath.Glob(filepath.Join(path, "*.log"))
			if err != nil || len(segments) < 2 {
				return err
			}
			var partition int
			if _, err := fmt.Sscan(filepath.Base(path), &partition); err != nil {
				return err
			}
			for i, segment := range segments[:len(segments)-1] {
				var next int64
				if _, err := fmt.Sscanf(filepath.Base(segments[i+1]), "%d.log", &next); err != nil {
					return err
				}
				if next <= tiered[partition] {
					deleted++
					if err := os.Remove(segment); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err == nil && deleted == 0 {
			return errors.New("there was no archived local segment to delete: the test shows nothing")
		}
		return err
	})
}

// tieredEnds is for each partition the offset up to which the bucket holds it.
func (r *run) tieredEnds(ctx context.Context) (map[int]int64, error) {
	cl, err := r.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for i := range r.Partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = int32(i), -5 // KIP-1005: the last tiered offset
		t.Partitions = append(t.Partitions, p)
	}
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	ends := map[int]int64{}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, err
				}
				ends[int(p.Partition)] = p.Offset + 1 // -1 when nothing is there
			}
		}
	}
	return ends, nil
}

func (r *run) without(ctx context.Context, remove func() error) error {
	r.count(ctx)
	if err := r.Broker.Kill(); err != nil {
		return err
	}
	if err := remove(); err != nil {
		return err
	}
	if err := r.Broker.Start(ctx); err != nil {
		return err
	}
	return r.replay(ctx)
}
