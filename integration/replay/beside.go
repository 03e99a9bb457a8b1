package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tailPartitions is how many partitions the records at the tail are spread over.
const tailPartitions = 4

// besides measures, in turns without and beside a replay at full speed of another topic, how long a record takes from the
// producer to a consumer at the tail. The replaying client has the lowest priority, since it would be on another machine,
// and so should the S3 server (S3_NICE=19 of integration/scripts/s3). The control is the relay, a process of its own that does what
// a replay costs anybody, at the broker's priority: what the tail feels of that is the cores', the rest is the broker's.
func (w *world) besides(ctx context.Context, topic string, objects []remoteObject) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Listen))
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, tailPartitions, 1, nil, "tail"); err != nil {
		return err
	}
	if _, err := w.tail(ctx, time.Second); err != nil { // to warm up
		return err
	}
	window := time.Duration(w.seconds) * time.Second
	for range w.rounds {
		alone, err := w.tail(ctx, window)
		if err != nil {
			return err
		}
		if err := print("tail alone", topic, alone); err != nil {
			return err
		}
		replaying := func() (consumed, error) { return consumeElsewhere(w.broker.Listen, topic, objects, w.nice) }
		if err := w.beside(ctx, "tail beside a replay", topic, alone, replaying); err != nil {
			return err
		}
		relaying := func() (consumed, error) {
			c, _, err := w.relayTo(topic, objects, w.nice)
			return c, err
		}
		if err := w.beside(ctx, "tail beside a relay", topic, alone, relaying); err != nil {
			return err
		}
	}
	return nil
}

// beside measures the tail while something runs again and again.
func (w *world) beside(ctx context.Context, what, topic string, alone map[string]float64, f func() (consumed, error)) error {
	speed, stop := repeat(f)
	figures, err := w.tail(ctx, time.Duration(w.seconds)*time.Second)
	close(stop)
	mbs := <-speed
	if err != nil {
		return err
	}
	figures["replay_mb_s"] = mbs
	for _, p := range []string{"p50_ms", "p99_ms", "p99_9_ms"} {
		figures[p+"_ratio"] = figures[p] / alone[p]
	}
	return print(what, topic, figures)
}

// repeat calls f again and again until stop is closed, and then tells how fast it was.
func repeat(f func() (consumed, error)) (<-chan float64, chan<- struct{}) {
	speed, stop := make(chan float64, 1), make(chan struct{})
	go func() {
		var sum consumed
		for {
			c, err := f()
			if err != nil {
				fmt.Println("replay:", err)
			}
			sum.Bytes, sum.Seconds = sum.Bytes+c.Bytes, sum.Seconds+c.Seconds
			select {
			case <-stop:
				speed <- float64(sum.Bytes) / 1e6 / max(sum.Seconds, 1e-9)
				return
			default:
			}
		}
	}()
	return speed, stop
}

// tail produces at the rate for so long, one record at a time, and consumes at the same time.
func (w *world) tail(ctx context.Context, window time.Duration) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, window+time.Minute)
	defer cancel()
	begin := time.Now()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Listen), kgo.ConsumeTopics("tail"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Listen), kgo.DefaultProduceTopic("tail"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer producer.Close()

	var took []time.Duration
	var failed error
	seen := make(chan struct{}) // the first record: the consumer is at the tail
	var consuming sync.WaitGroup
	reading, stopReading := context.WithCancel(ctx)
	consuming.Go(func() {
		for {
			fetches := consumer.PollFetches(reading)
			now := time.Since(begin)
			if err := fetches.Err(); err != nil {
				if !errors.Is(err, context.Canceled) {
					failed = err
				}
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				switch at := binary.BigEndian.Uint64(r.Value); {
				case at == 0:
					select {
					case <-seen:
					default:
						close(seen)
					}
				case at < 1<<62:
					took = append(took, now-time.Duration(at))
				}
			})
		}
	})
	defer consuming.Wait()
	defer stopReading()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for waiting := true; waiting; { // records without a time until one comes through
		producer.Produce(ctx, &kgo.Record{Value: make([]byte, 1024)}, nil)
		select {
		case <-seen:
			waiting = false
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	start, sent := time.Now(), 0
	for ; time.Since(start) < window; <-ticker.C {
		for due := int(time.Since(start).Seconds() * float64(w.rate)); sent < due; sent++ {
			value := make([]byte, 1024)
			binary.BigEndian.PutUint64(value, uint64(time.Since(begin)))
			producer.Produce(ctx, &kgo.Record{Value: value}, nil)
		}
	}
	if err := producer.Flush(ctx); err != nil {
		return nil, err
	}
	<-ticker.C
	<-ticker.C
	stopReading()
	consuming.Wait()
	if failed != nil || len(took) < sent*9/10 {
		return nil, fmt.Errorf("%d of %d records came: %w", len(took), sent, failed)
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1000
	}
	return map[string]float64{"p50_ms": at(0.5), "p99_ms": at(0.99), "p99_9_ms": at(0.999), "records": float64(len(took))}, nil
}
