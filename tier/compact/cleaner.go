package compact

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/pace"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Log is a partition's log as the cleaner sees it.
type Log interface {
	Partition() kafka.Partition
	Topic() string
	// Policy is nil while the topic is not compacted.
	Policy() *Policy
	// Segments are the local ones, oldest first.
	Segments() []hot.SegmentInfo
	// CleanedTo is up to where the log was cleaned; SetCleanedTo notes it.
	CleanedTo() kafka.Offset
	SetCleanedTo(kafka.Offset) error
	// Limit is the first offset that may not be cleaned: what is above may be taken back, or is not decided.
	Limit() kafka.Offset
	// Archived tells whether the bucket holds older segments of the log, which nobody compacts.
	Archived() bool
	// Committed tells whether the batch, below Limit, is not one of an aborted transaction: those show nobody anything.
	Committed(v batch.View) bool
	// LastOfProducer tells whether the batch is the last that its producer has written, or a marker behind that.
	LastOfProducer(v batch.View) bool
	// Each and Rewrite: see hot.Log.
	Each(ctx context.Context, from, next kafka.Offset, visit func(batch.View) error, pace func(ctx context.Context, bytes int) error) error
	Rewrite(ctx context.Context, from, next kafka.Offset, edit hot.Edit, pace func(ctx context.Context, bytes int) error) (hot.Rewritten, error)
}

// Config is the cleaner's settings, which may change while it runs.
type Config struct {
	MapBytes       int64         // memory for keys (log.cleaner.dedupe.buffer.size)
	BytesPerSecond int64         // read at most; 0 without limit (log.cleaner.io.max.bytes.per.second)
	Backoff        time.Duration // between two looks that found nothing to do (log.cleaner.backoff.ms)
}

// Stats count since the process began.
type Stats struct {
	Passes, Failed int64
	Read           int64 // bytes
	Freed          int64 // bytes of local disk
	Uncleanable    int   // logs of which the last pass failed
	DirtiestRatio  float64
	LastTook       time.Duration
	LastEnded      time.Time
}

// Cleaner cleans the logs of one broker.
type Cleaner struct {
	logs  func(yield func(Log))
	cfg   func() Config
	clock func() time.Time
	log   *slog.Logger

	resting map[kafka.Partition]time.Time // logs of which a pass failed, until when; Run's own

	mu    sync.Mutex
	stats Stats
}

// New returns a cleaner of the logs that logs yields, at any time and in any order. Nothing is done before Run. cfg is asked before each pass, and for
// its rate while one runs.
func New(logs func(yield func(Log)), cfg func() Config, clock func() time.Time, log *slog.Logger) *Cleaner {
	return &Cleaner{logs: logs, cfg: cfg, clock: clock, log: log, resting: map[kafka.Partition]time.Time{}}
}

// Stats is a snapshot.
func (c *Cleaner) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Run cleans, one log after the other, until ctx ends.
func (c *Cleaner) Run(ctx context.Context) error {
	budget := pace.New(func() int64 { return c.cfg().BytesPerSecond })
	for ctx.Err() == nil {
		if !c.once(ctx, budget.Take) {
			c.rest(ctx)
		}
	}
	return nil
}

// lookAgain is how soon a rest ends that was made shorter.
const lookAgain = 15 * time.Second

func (c *Cleaner) rest(ctx context.Context) {
	for began := time.Now(); ctx.Err() == nil; {
		left := c.cfg().Backoff - time.Since(began)
		if left <= 0 {
			return
		}
		timer := time.NewTimer(min(left, lookAgain))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// restAfterFailure is how long a log is left alone of which a pass has failed.
const restAfterFailure = 5 * time.Minute

// once cleans the log that needs it most, and tells whether there was one.
func (c *Cleaner) once(ctx context.Context, take func(context.Context, int) error) bool {
	l, w := c.dirtiest()
	if l == nil {
		return false
	}
	p := &pass{log: l, policy: w.policy, now: c.clock(), archived: l.Archived(), take: take}
	done, err := p.run(ctx, w, c.cfg().MapBytes)
	if ctx.Err() != nil {
		return false
	}
	c.note(l, w, done, err)
	return true
}

// dirtiest looks at all logs.
func (c *Cleaner) dirtiest() (dirtiest Log, first plan) {
	now := c.clock()
	ratio := 0.0
	resting := 0
	c.logs(func(l Log) {
		policy := l.Policy()
		if policy == nil {
			return
		}
		if c.resting[l.Partition()].After(now) {
			resting++
			return
		}
		w := policy.planOf(l.Segments(), l.CleanedTo(), l.Limit(), now)
		ratio = max(ratio, w.ratio)
		if w.due && (dirtiest == nil || w.before(first)) {
			dirtiest, first = l, w
		}
	})
	for id, until := range c.resting {
		if !until.After(now) {
			delete(c.resting, id)
		}
	}
	c.mu.Lock()
	c.stats.DirtiestRatio, c.stats.Uncleanable = ratio, resting
	c.mu.Unlock()
	return dirtiest, first
}

// note counts a pass and says what came of it.
func (c *Cleaner) note(l Log, w plan, done Pass, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.LastEnded = c.clock()
	id := l.Partition()
	if errors.Is(err, hot.ErrOutOfRange) || errors.Is(err, hot.ErrClosed) { // deleted, or released, meanwhile
		c.resting[id] = c.clock().Add(c.cfg().Backoff)
		return
	}
	if err != nil {
		c.resting[id] = c.clock().Add(restAfterFailure)
		c.stats.Failed++
		c.log.Error("log was not compacted", "topic", l.Topic(), "partition", id.Index, "from", int64(w.from), "to", int64(w.end),
			"again_in", restAfterFailure, "error", err)
		return
	}
	c.stats.Passes++
	c.stats.Read += done.Read
	c.stats.Freed += done.Before - done.After
	c.stats.LastTook = done.Took
	c.log.Debug("log compacted", "topic", l.Topic(), "partition", id.Index, "from", int64(done.From), "to", int64(done.To),
		"keys", done.Keys, "bytes_before", done.Before, "bytes_after", done.After, "took", done.Took)
}
