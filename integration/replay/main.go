// Replay measures how fast history comes back from object storage: a topic whose closed segments are in the bucket only is
// consumed from offset 0, once with one partition and once with 16, and beside it the same objects are read by the bare
// SDK's parallel ranged GETs from the same server. One JSON line per measurement; compare within one run.
//
//	integration/scripts/s3 go run ./integration/replay -qanat bin/qanat -mib 2048
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/qanat-io/qanat/integration/harness"
)

func main() {
	bin := flag.String("qanat", "bin/qanat", "the program")
	mib := flag.Int64("mib", 2048, "MiB to replay")
	driver := flag.String("driver", "s3", "s3 or minio")
	flag.Parse()
	if err := run(context.Background(), *bin, *driver, *mib<<20); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, driver string, size int64) error {
	endpoint, bucket := os.Getenv("QANAT_TEST_S3"), os.Getenv("QANAT_TEST_S3_BUCKET")
	if endpoint == "" {
		return fmt.Errorf("QANAT_TEST_S3 names no server: run this under integration/scripts/s3")
	}
	dir, err := os.MkdirTemp("", "qanat-replay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := harness.New(bin, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	b.Bucket = fmt.Sprintf("%s://%s/replay?endpoint=%s", driver, bucket, endpoint)
	if err := b.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = b.Kill() }()
	for _, partitions := range []int32{1, 16} {
		topic := fmt.Sprintf("history-%d", partitions)
		if err := fill(ctx, b, topic, partitions, size); err != nil {
			return fmt.Errorf("fill %s: %w", topic, err)
		}
		for range 3 {
			if err := consume(ctx, b, topic); err != nil {
				return fmt.Errorf("replay %s: %w", topic, err)
			}
			if err := bare(ctx, endpoint, bucket, topic, size); err != nil {
				return fmt.Errorf("bare GETs: %w", err)
			}
		}
	}
	return nil
}

// fill produces the topic and waits until all but the active segments are in the bucket only.
func fill(ctx context.Context, b *harness.Broker, topic string, partitions int32, size int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	segment, local := "67108864", "1"
	if _, err := adm.CreateTopic(ctx, partitions, 1, map[string]*string{"segment.bytes": &segment, "local.retention.bytes": &local}, topic); err != nil {
		return err
	}
	var failed error
	value := make([]byte, 1024)
	for range size / 1024 {
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	bound := int64(partitions)*(64<<20) + 64<<20
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		var hot int64
		err := filepath.WalkDir(filepath.Join(b.Dir, "partitions"), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".log") {
				if info, err := d.Info(); err == nil {
					hot += info.Size()
				}
			}
			return nil
		})
		if err != nil || hot <= bound {
			return failed
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func consume(ctx context.Context, b *harness.Broker, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(16<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	var want, got, bytes int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	before, err := b.Scrape(ctx)
	if err != nil {
		return err
	}
	cpu, begin := b.CPU(), time.Now()
	for got < want {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) { got++; bytes += int64(len(r.Value)) })
	}
	took := time.Since(begin).Seconds()
	spent := b.CPU() - cpu
	after, err := b.Scrape(ctx)
	if err != nil {
		return err
	}
	gib := float64(bytes) / (1 << 30)
	return print("replay", topic, map[string]float64{
		"mb_s": float64(bytes) / 1e6 / took, "cpu_s_gib": spent.Seconds() / gib,
		"get_per_gib": (after["qanat_tier_gets_total"] - before["qanat_tier_gets_total"]) / gib,
	})
}

// bare reads as many bytes of the bucket's objects in ranges of 16 MiB, eight at a time, and throws them away.
func bare(ctx context.Context, endpoint, bucket, topic string, size int64) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired))
	if err != nil {
		return err
	}
	cl := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &endpoint, true })
	type piece struct {
		key  string
		from int64
		n    int64
	}
	var pieces []piece
	var total int64
	pages := s3.NewListObjectsV2Paginator(cl, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String("replay/")})
	for pages.HasMorePages() && total < size {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			for from := int64(0); from < *o.Size && total < size; from += 16 << 20 {
				n := min(16<<20, *o.Size-from)
				pieces, total = append(pieces, piece{*o.Key, from, n}), total+n
			}
		}
	}
	begin := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, p := range pieces {
		g.Go(func() error {
			out, err := cl.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &p.key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", p.from, p.from+p.n-1))})
			if err != nil {
				return err
			}
			defer out.Body.Close()
			_, err = io.Copy(io.Discard, out.Body)
			return err
		})
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
