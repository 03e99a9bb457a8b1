package main

import (
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Transactional ids are listed and described, what hangs is found, and what is aborted is gone; what is not there is refused.
func TestTransactions(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(2, "one"))
	producer := func(id string) *kgo.Client {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers), kgo.TransactionalID(id), kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "one", Partition: 1, Value: []byte(id)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return cl
	}
	if err := producer("done").EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	open := producer("open")
	c.story("", "txn", "list")
	c.story("", "txn", "list", "-o", "wide", "--state", "Ongoing", "--like", "o.*")
	c.story("", "txn", "list", "--like", "(")
	c.story("", "txn", "list", "--state", "Open")
	c.story("", "txn", "describe", "open", "done")
	c.story("", "txn", "describe", "open", "-o", "json")
	c.story("", "txn", "describe", "nobody")
	c.story("", "txn", "find-hanging", "--idle", "0s") // its coordinator knows it
	c.story("", "txn", "find-hanging", "--topics", "one,two")
	c.story("", "txn", "abort", "nobody", "-y")
	c.story("", "txn", "abort", "done", "-y") // nothing is open, and its producer is not fenced
	c.story("", "txn", "abort", "--topic", "two", "--partition", "0", "--start-offset", "0", "-y")
	c.story("", "txn", "abort", "--topic", "one", "--partition", "1", "--start-offset", "2", "-y") // alone it would be torn
	c.story("", "txn", "abort", "open")
	c.story("", "txn", "abort", "open", "-y")
	c.story("", "txn", "abort", "--topic", "one", "--partition", "1", "--start-offset", "0", "-y")
	c.story("", "txn", "abort", "--topic", "one")
	c.story("", "txn", "abort")
	if err := open.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("the producer of an aborted transaction was not fenced")
	}
	// One that no coordinator knows of.
	producer("hanging")
	c.story("", "txn", "find-hanging", "--topics", "one") // it may yet be enlisted
	var known atomic.Bool
	c.fake.ControlKey(int16(kmsg.ListTransactions), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		return kmsg.NewPtrListTransactionsResponse(), nil, !known.Load()
	})
	c.story("", "txn", "find-hanging", "--topics", "one", "--idle", "0s")
	c.story("", "txn", "abort", "--topic", "one", "--partition", "1", "--start-offset", "4")
	c.story("", "txn", "abort", "--topic", "one", "--partition", "1", "--start-offset", "4", "-y")
	known.Store(true)
	c.story("", "txn", "find-hanging", "--idle", "0s")
	text := regexp.MustCompile(` {2,}`).ReplaceAllString(c.log.String(), "  ") // producer ids are of any width
	c.log.Reset()
	c.log.WriteString(text)
	c.matches("transactions")
}

// Quotas are set, listed and removed; what is not there is not said to be removed.
func TestQuotas(t *testing.T) {
	c := fakeCluster(t)
	c.story("", "quota", "list")
	c.story("", "quota", "set", "--client-id", "reports", "consumer_byte_rate=10000000", "producer_byte_rate=1000")
	c.story("", "quota", "set", "--user", "<default>", "request_percentage=200")
	c.story("", "quota", "set", "consumer_byte_rate=1")
	c.story("", "quota", "list")
	c.story("", "quota", "delete", "--client-id", "report")
	c.story("", "quota", "delete", "--client-id", "<default>")
	c.story("", "quota", "delete", "--user", "<default>", "producer_byte_rate")
	c.story("", "quota", "delete", "--user", "<default>")
	c.story("", "quota", "delete", "--client-id", "reports", "producer_byte_rate")
	c.story("", "quota", "list", "-o", "yaml")
	c.story("", "quota", "delete", "--client-id", "reports")
	c.story("", "quota", "delete", "--client-id", "reports")
	c.story("", "quota", "list")
	c.matches("quotas")
}
