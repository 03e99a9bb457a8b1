// Shares measures a share group: how many records a second consumers take from one partition, and accept.
//
//	shares --brokers 127.0.0.1:9092 --consumers 100 --records 200000 --size 100
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	brokers := flag.String("brokers", "127.0.0.1:9092", "a broker's address")
	consumers := flag.Int("consumers", 1, "of the group")
	records := flag.Int("records", 200_000, "in the partition")
	size := flag.Int("size", 100, "bytes of a record")
	flag.Parse()
	if err := run(context.Background(), *brokers, *consumers, *records, *size); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, brokers string, consumers, records, size int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		return err
	}
	defer cl.Close()
	name := fmt.Sprintf("shares-%d", time.Now().UnixNano())
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, -1, nil, name); err != nil {
		return err
	}
	set := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(32), name
	earliest, c := "earliest", kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "share.auto.offset.reset", &earliest
	r.Configs = append(r.Configs, c)
	set.Resources = append(set.Resources, r)
	if _, err := set.RequestWith(ctx, cl); err != nil {
		return err
	}
	value := make([]byte, size)
	var failed atomic.Pointer[error]
	for range records {
		cl.Produce(ctx, &kgo.Record{Topic: name, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	var taken atomic.Int64
	done, end := context.WithCancel(ctx)
	defer end()
	var all sync.WaitGroup
	var first sync.Once
	var begin time.Time
	for range consumers {
		worker, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ShareGroup(name), kgo.ConsumeTopics(name))
		if err != nil {
			return err
		}
		all.Go(func() {
			defer worker.Close()
			for done.Err() == nil {
				fetches := worker.PollRecords(done, 500) // the poll accepts what the one before gave
				fetches.EachError(func(topic string, partition int32, err error) {
					if done.Err() == nil {
						log.Printf("%s/%d: %v", topic, partition, err)
					}
				})
				if n := fetches.NumRecords(); n > 0 {
					first.Do(func() { begin = time.Now() })
					if taken.Add(int64(n)) >= int64(records) {
						end()
					}
				}
			}
		})
	}
	<-done.Done()
	took := time.Since(begin)
	all.Wait()
	fmt.Printf("%d consumers: %d records in %v, %.0f records/s\n", consumers, taken.Load(), took.Round(time.Millisecond), float64(taken.Load())/took.Seconds())
	return nil
}
