package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/qanat-io/qanat/integration/harness"
)

// What the bucket may be asked for each GiB: footers, listings and all.
const (
	putsPerGiB = 9
	getsPerGiB = 130
)

// A GiB would take more than 9 PUTs to tier with the default segments, or more than 130 GETs to replay: for the first reader or
// a later one, from one partition or several that the memory holds just one range of, with what it keeps between readers
// or without; or several readers at once would download more than one does.
func TestRequestsPerGiB(t *testing.T) {
	for _, driver := range []string{"dir", "s3", "minio"} {
		for _, partitions := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d partitions", driver, partitions), func(t *testing.T) {
				if driver == "minio" && partitions > 1 {
					t.Skip("the requests are the same as s3's")
				}
				requestsPerGiB(t, driver, partitions)
			})
		}
	}
}

func requestsPerGiB(t *testing.T, driver string, partitions int) {
	// A quarter of the memory for a quarter of sixteen partitions.
	sets := []string{"tier.fetch.inflight.bytes=67108864", "log.retention.check.interval.ms=200"}
	b := newBroker(t, sets...)
	count := func() (puts, gets float64) {
		now, err := b.Scrape(within(t, 20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return now["qanat_tier_puts_total"] + now["qanat_tier_requests_total"], now["qanat_tier_gets_total"]
	}
	if driver != "dir" {
		proxy := s3Proxy(t)
		b.Bucket = s3Bucket(driver, fmt.Sprintf("requests-%d", partitions), proxy)
		count = func() (float64, float64) { // as they arrive, not as the broker believes
			puts, gets, others := proxy.Requests()
			return float64(puts + others), float64(gets)
		}
	}
	restart(t, b)
	const segment = 128 << 20 // the default
	gib := float64(partitions) * segment / (1 << 30)

	puts, _ := count()
	fillSegments(t, b, partitions, segment+4<<20)
	archived(t, b)
	until(t, "local segments are not released", func() bool {
		for _, p := range storageOf(t, b, "history").Partitions {
			if p.Hot.Start == 0 {
				return false
			}
		}
		return true
	})
	now, _ := count()
	t.Logf("%.1f PUTs and others per GiB", (now-puts)/gib)
	if now-puts > putsPerGiB*gib {
		t.Errorf("%.0f PUTs and other requests for %.2f GiB", now-puts, gib)
	}

	replay := func(what string, readers int) {
		_, before := count()
		g, ctx := errgroup.WithContext(within(t, 2*time.Minute))
		for range readers {
			g.Go(func() error { return replayHistory(ctx, b) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		_, now := count()
		t.Logf("%s: %.0f GETs per GiB", what, (now-before)/gib)
		budget := getsPerGiB * gib
		if readers > 1 {
			// They share what they ask for in the same moment. How far they drift apart, and then ask again, is the scheduler's: without
			// any sharing they would ask for nearly three times as much.
			budget *= 2
		}
		if now-before > budget {
			t.Errorf("%s: %.0f GETs for %.2f GiB", what, now-before, gib)
		}
	}
	replay("first reader", 1)
	replay("second reader", 1)
	b.Sets = append(sets, "tier.cache.bytes=0")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	replay("without a cache", 1)
	replay("without a cache again", 1)
	replay("three at once", 3)
}

// fillSegments produces so many bytes to each partition of the topic history, of which only the active segments stay on the disk.
func fillSegments(t *testing.T, b *harness.Broker, partitions int, each int64) {
	t.Helper()
	createTopic(t, b, "history", partitions, "local.retention.bytes=1")
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.DefaultProduceTopic("history"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(500))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := within(t, 2*time.Minute)
	var failed error
	value := make([]byte, 64<<10)
	for n := int64(0); n < each; n += int64(len(value)) {
		for p := range partitions {
			cl.Produce(ctx, &kgo.Record{Partition: int32(p), Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed = err
				}
			})
		}
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// replayHistory reads all of history on connections of its own.
func replayHistory(ctx context.Context, b *harness.Broker) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.ConsumeTopics("history"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(16<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "history")
	if err != nil {
		return err
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		left -= int64(fetches.NumRecords())
	}
	return nil
}
