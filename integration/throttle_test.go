package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/integration/harness"
)

// A drain would copy faster than it was told to, forget the throttle when brokers restart or keep it when it is over; or whoever follows
// it would give up because the broker that he asked restarts.
func TestThrottledDrain(t *testing.T) {
	const rate, record, records = 1_000_000, 100_000, 100
	ctx := within(t, 2*time.Minute)
	c := newCluster(ctx, t, 3)
	adm := c.admin()
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	var place kadm.AlterPartitionAssignmentsReq
	place.Assign("t", 0, []int32{3})
	if _, err := adm.AlterPartitionAssignments(ctx, place); err != nil {
		t.Fatal(err)
	}
	if err := harness.Until(ctx, func() (bool, error) {
		topics, err := adm.ListTopics(ctx, "t")
		return err == nil && topics["t"].Partitions[0].Leader == 3 && len(topics["t"].Partitions[0].Replicas) == 1, err
	}); err != nil {
		t.Fatal(err)
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.b[2].Listen), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(record+1000))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	noise, value := rand.NewChaCha8([32]byte{}), make([]byte, record)
	for range records {
		_, _ = noise.Read(value) // never fails
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: bytes.Clone(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var out lines
	cmd := exec.CommandContext(ctx, qanat, "broker", "drain", "3", "--yes", "--wait", "--throttle", fmt.Sprint(rate), "--admin-url", c.b[0].Admin)
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await := func(text string) {
		t.Helper()
		if err := harness.Until(ctx, func() (bool, error) { return strings.Contains(out.text(), text), nil }); err != nil {
			t.Fatalf("%q is not said: %v\n%s", text, err, out.text())
		}
	}
	await("1 replica left, 1 on the way, at most 976.6 KiB/s for each broker")
	for _, b := range c.b[:2] { // one of them is where it is copied to
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.text())
	}
	took := time.Since(began)
	if least := time.Duration((records*record-2*rate)/rate) * time.Second; took < least { // what goes at once, and once more for the restart
		t.Errorf("%d bytes took %s: at %d a second it takes %s at least", records*record, took, rate, least)
	}
	await("broker 3: it is empty")
	await("asking " + c.b[1].Admin)
	if err := harness.Until(ctx, func() (bool, error) {
		var b console.Balance
		err := c.b[0].Ask(ctx, "GET", "/v1/balance", &b)
		return err == nil && b.Throttle == 0 && b.Moving == 0, nil
	}); err != nil {
		t.Error("the throttle outlives the move")
	}
	if got := read(ctx, t, c.b[1].Listen, records); got != records*record {
		t.Errorf("%d bytes are there, %d were produced", got, records*record)
	}
}

// read is how many bytes the topic's first records hold.
func read(ctx context.Context, t *testing.T, seed string, records int) (n int) {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.ConsumeTopics("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for records > 0 {
		fetches := consumer.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { n += len(r.Value); records-- })
	}
	return n
}

// lines is what a command has said so far.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
