package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience tells people on standard error what consume and produce wait for, which the client tries again without a word: a
// broker that is not reached any more, a partition whose storage does not answer. Each is told once until it is over.
type patience struct {
	w io.Writer

	mu    sync.Mutex
	begun bool // before that a broker that is not reached is an error, and told as one
	told  map[string]bool
}

func newPatience(w io.Writer) *patience { return &patience{w: w, told: map[string]bool{}} }

// begin is called once somebody was reached.
func (w *patience) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
}

func (w *patience) wait(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun || w.told[what] {
		return
	}
	w.told[what] = true
	fmt.Fprintf(w.w, "waiting: %s: %v; trying again\n", what, err)
}

func (w *patience) over(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.told, what)
}

// acknowledgementsMost is how long none may come before that is told: a broker refuses records, and the client tries them again without a word.
const acknowledgementsMost = 5 * time.Second

var errNoneCame = fmt.Errorf("none has come for %s (`qanat cluster health` says whether a disk is full, or replicas are missing)", acknowledgementsMost)

// acknowledgements tells when records are on their way and none is acknowledged, until ctx ends.
func (w *patience) acknowledgements(ctx context.Context, progress func() (onTheirWay int64, acknowledged int)) {
	const what = "acknowledgements"
	ticker := time.NewTicker(acknowledgementsMost)
	defer ticker.Stop()
	for _, before := progress(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		n, now := progress()
		if n > 0 && now == before {
			w.wait(what, errNoneCame)
		} else {
			w.over(what)
		}
		before = now
	}
}

// OnBrokerConnect is kgo's hook.
func (w *patience) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	what := "broker " + net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
	switch {
	case err == nil:
		w.over(what)
	case !errors.Is(err, context.Canceled):
		w.wait(what, rootCause(err))
	}
}

// rest is how long to wait after answers that brought nothing but errors which may be over soon. The client would wait by itself, but that it
// is asked to tell of them (kgo.KeepRetryableFetchErrors).
type rest struct{ failed int }

const (
	firstRest = 100 * time.Millisecond
	lastRest  = time.Second
)

// after is told of each answer.
func (r *rest) after(failed bool, records int) time.Duration {
	if !failed || records > 0 {
		r.failed = 0
		return 0
	}
	r.failed++
	return min(lastRest, firstRest<<min(r.failed-1, 10))
}

// unknownMost is how often a topic's id may be unknown to brokers that have not heard of it yet, before it was deleted.
const unknownMost = 5

// retried tells whether a fetch's error is one that the client goes on after by itself (kgo.KeepRetryableFetchErrors lets them
// through), and says so where it may last.
func (c *consumer) retried(e kgo.FetchError) bool {
	code, ok := e.Err.(*kerr.Error) // as it came: what wraps one is the client's own, and final
	if !ok || !code.Retriable {
		return false
	}
	if code == kerr.UnknownTopicID {
		c.unknown++
		return c.unknown <= unknownMost
	}
	if code == kerr.KafkaStorageError {
		c.waiting.wait(partitionText(e.Topic, e.Partition), fmt.Errorf("%w (the bucket or the disk does not answer: the broker's log says more)", e.Err))
	}
	return true
}

func partitionText(topic string, partition int32) string {
	return fmt.Sprintf("%s/%d", topic, partition)
}
