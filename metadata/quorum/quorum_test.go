package quorum

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

func start(t testing.TB, cfg Config) *Quorum {
	t.Helper()
	began := time.Now()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.Bootstrap = true
	q, err := Open(cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := q.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began))
	return q
}

func propose(t testing.TB, q *Quorum, c command.Command) any {
	t.Helper()
	r, err := q.Propose(context.Background(), c)
	if err != nil {
		t.Fatalf("%s: %v", c.Kind(), err)
	}
	return r
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	q := start(t, Config{Dir: dir, ID: 1})
	id := kafka.NewTopicID()
	propose(t, q, command.CreateTopic{ID: id, Name: "a", Partitions: [][]kafka.BrokerID{{1}}})
	cluster := q.Image().ClusterID()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = start(t, Config{Dir: dir, ID: 1})
	if _, ok := q.Image().TopicByName("a"); !ok || q.Image().ClusterID() != cluster {
		t.Fatal("not replayed")
	}
}
