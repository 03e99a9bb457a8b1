package replica

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Leaders carries requests to other brokers: a *peer.Client, of this package alone.
type Leaders interface {
	// Request returns an answer whose bytes are valid until release, which is nil with an error.
	Request(ctx context.Context, node kafka.BrokerID, req kmsg.Request) (resp kmsg.Response, release func(), err error)
}

// Config is a fetcher's settings. The zero value of each means the default beside it.
type Config struct {
	Node              kafka.BrokerID
	MaxWait           time.Duration // 500 ms: how long a leader waits for records
	MaxBytes          int32         // 10 MiB: of an answer
	MaxPartitionBytes int32         // 1 MiB: of one partition in it
	BackOff           time.Duration // 50 ms: until a partition that could not be fetched is tried again
	RebaseTimeout     time.Duration // 30 s: for the bucket to say where it ends
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.MaxWait, 500*time.Millisecond)
	set(&c.BackOff, 50*time.Millisecond)
	set(&c.RebaseTimeout, 30*time.Second)
	if c.MaxBytes == 0 {
		c.MaxBytes = 10 << 20
	}
	if c.MaxPartitionBytes == 0 {
		c.MaxPartitionBytes = 1 << 20
	}
	return c
}

// Fetchers is safe for concurrent use.
type Fetchers struct {
	cfg     Config
	leaders Leaders
	flusher *hot.Flusher
	// epoch is this broker's registration, which leaders check.
	epoch func() kafka.BrokerEpoch
	log   *slog.Logger
	bytes atomic.Int64
	// throttle bounds what is fetched while this broker's replica is not in sync; nil bounds nothing.
	throttle *throttle.Replication

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	byID    map[kafka.Partition]*followed
	by      map[kafka.BrokerID]*fetcher
	running sync.WaitGroup
}

// New returns fetchers that begin when they are run.
func New(cfg Config, leaders Leaders, flusher *hot.Flusher, epoch func() kafka.BrokerEpoch, log *slog.Logger) *Fetchers {
	return &Fetchers{
		cfg: cfg.withDefaults(), leaders: leaders, flusher: flusher, epoch: epoch, log: log,
		byID: map[kafka.Partition]*followed{}, by: map[kafka.BrokerID]*fetcher{},
	}
}

// SetThrottle says what bounds the fetching of replicas that are not in sync. Before Run.
func (f *Fetchers) SetThrottle(t *throttle.Replication) { f.throttle = t }

// Follow has a partition fetched from whom it follows; called again whenever that may have changed. Changes take effect with Go.
func (f *Fetchers) Follow(p *partition.Partition) {
	leader, epoch, ok := p.Following()
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.byID[p.ID()]
	if old != nil && ok && old.p == p && old.epoch == epoch {
		return
	}
	if old != nil {
		old.of.drop(old)
		delete(f.byID, p.ID())
	}
	if !ok {
		return
	}
	of := f.by[leader]
	if of == nil {
		of = newFetcher(f, leader)
		f.by[leader] = of
		if f.ctx != nil {
			f.start(of)
		}
	}
	f.byID[p.ID()] = of.add(p, epoch)
}

// Forget ends the fetching of a partition.
func (f *Fetchers) Forget(id kafka.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.byID[id]; old != nil {
		old.of.drop(old)
		delete(f.byID, id)
	}
}

// Go makes the changes since the last call take effect, all at once.
func (f *Fetchers) Go() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.by {
		of.nudge(f.ctx)
	}
}

// Bytes is how many bytes of batches were fetched from leaders and appended.
func (f *Fetchers) Bytes() int64 { return f.bytes.Load() }

// Len is the number of partitions that are fetched.
func (f *Fetchers) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.byID)
}

// Run fetches until ctx ends.
func (f *Fetchers) Run(ctx context.Context) error {
	f.mu.Lock()
	f.ctx = ctx
	for _, of := range f.by {
		f.start(of)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.running.Wait()
	return nil
}

// start runs a fetcher; mu is held. A fetcher of a broker that nothing is fetched from sleeps: there are at most as many as brokers.
func (f *Fetchers) start(of *fetcher) {
	ctx := f.ctx
	if ctx.Err() == nil {
		f.running.Go(func() { of.run(ctx) })
	}
}
