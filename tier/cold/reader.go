package cold

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrLoading says that the bytes are on their way: ready is called once when a retry is worth it.
var ErrLoading = errors.New("remote data is loading")

// ErrOutOfRange says that the manifest does not hold the offset.
var ErrOutOfRange = errors.New("offset is not in the remote log")

// ErrCorrupt says that an object is not what was uploaded, after a second read.
var ErrCorrupt = errors.New("remote segment is corrupt")

// ErrUnavailable says that the bucket did not give what was asked for, after
// retries. A later read tries again. It wraps the last attempt's error.
var ErrUnavailable = errors.New("object storage is unavailable")

// ErrClosed says that the reader has stopped.
var ErrClosed = errors.New("cold reader is closed")

// Config is the reader's settings. Zero values stand for the defaults.
type Config struct {
	MaxInFlight  int64 // bytes being downloaded or held, for all readers together; 256 MiB
	CacheBytes   int64 // of these, kept although nobody wants them now; 64 MiB, negative for none
	FooterBytes  int64 // bytes of footers kept in memory, beside MaxInFlight; 32 MiB
	Workers      int   // concurrent GETs; 16
	MinReadahead int64 // where a stream begins and what a seek falls back to; 4 MiB
	MaxReadahead int64 // what sequential progress grows to; 64 MiB
	RangeSize    int64 // largest GET; 16 MiB
}

// rangeGoal is the most that a GET asks for: so much that a full window keeps five of them running, which is what one
// reader needs where a single GET gives 90 MiB/s.
func (c Config) rangeGoal() int64 {
	return max(min(c.RangeSize, c.MaxReadahead/5, c.MaxInFlight), blockSize)
}

func (c Config) withDefaults() Config {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MaxInFlight, 256<<20)
	set(&c.CacheBytes, min(64<<20, c.MaxInFlight/2))
	set(&c.FooterBytes, 32<<20)
	set(&c.MinReadahead, 4<<20)
	set(&c.MaxReadahead, 64<<20)
	set(&c.RangeSize, 16<<20)
	if c.Workers <= 0 {
		c.Workers = 16
	}
	c.CacheBytes = max(c.CacheBytes, 0)
	c.MaxReadahead = max(c.MaxReadahead, c.MinReadahead)
	return c
}

// Reader reads any partition's remote log; one per broker, safe for concurrent use.
type Reader struct {
	bucket  object.Bucket
	cluster string
	cfg     Config
	log     *slog.Logger
	lookups chan struct{} // one token for each GET of FindTime
	tasks   chan task     // begun by pump, run by Run; never more than Workers
	stats   counters
	gaps    gaps

	mu      sync.Mutex
	running bool // Run is there
	closed  bool
	remotes map[remoteID]*remote
	footers list.List         // of remotes with a footer, most recently used first
	footerN int64             // their bytes
	broken  map[string]Broken // by key

	clients map[any]*client
	share   int64     // of memory, for each client; as of the last pump
	demands []*stream // whose read waits for a block that nobody has begun to load, oldest first
	ahead   queue     // streams whose window may have room

	pages   pages
	memory  memory
	pace    pace
	busy    int       // GETs handed to Run
	retries []*slab   // whose back-off has ended
	loads   []*remote // whose footer is wanted
	janitor *time.Timer
	wake    *time.Timer // pump again: the pause is over, or a stalled stream can be robbed
	calls   []func()    // to be made once mu is free
}

// task is one GET, or one footer with its retries.
type task func(ctx context.Context)

// NewReader makes a reader of the cluster's objects in b. Nothing is read
// before Run, but by Footer and FindTime.
func NewReader(b object.Bucket, cluster string, cfg Config, log *slog.Logger) *Reader {
	cfg = cfg.withDefaults()
	r := &Reader{
		bucket: b, cluster: cluster, cfg: cfg, log: log,
		lookups: make(chan struct{}, cfg.Workers),
		tasks:   make(chan task, cfg.Workers),
		remotes: map[remoteID]*remote{},
		clients: map[any]*client{},
		broken:  map[string]Broken{},
		pages:   pages{known: map[pageID]*pageState{}, waiting: map[pageWait]waitingRead{}, wake: make(chan struct{}, 1)},
		pace:    pace{limit: float64(cfg.Workers), most: float64(cfg.Workers)},
	}
	r.memory.limit, r.memory.idleLimit = cfg.MaxInFlight, cfg.CacheBytes
	r.memory.usual = (cfg.rangeGoal() + blockSize + bufferUnit - 1) / bufferUnit * bufferUnit
	return r
}

// Run serves downloads until ctx ends; then every read that waits is told to
// retry, and fails with ErrClosed. It is called once.
func (r *Reader) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	r.mu.Lock()
	r.running = true
	r.pump()
	r.unlock()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case t := <-r.tasks:
			workers.Go(func() { t(ctx) })
		case <-r.pages.wake:
			r.beginPages(func(load func(context.Context)) { workers.Go(func() { load(ctx) }) })
		}
	}
	r.mu.Lock()
	r.closed = true
	stop(r.janitor)
	stop(r.wake)
	for _, rm := range r.remotes {
		rm.callAll(r)
	}
	for _, ps := range r.pages.known {
		ps.call(r)
	}
	r.unlock()
	for len(r.tasks) > 0 { // nothing begins any more; these end at once
		(<-r.tasks)(ctx)
	}
	workers.Wait()
	return nil
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// unlock releases mu and makes the calls that were left for then.
func (r *Reader) unlock() {
	calls := r.calls
	r.calls = nil
	r.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// unlockAway is unlock for callers whose own goroutine must not make the calls.
func (r *Reader) unlockAway() {
	calls := r.calls
	r.calls = nil
	r.mu.Unlock()
	if len(calls) > 0 {
		go func() {
			for _, f := range calls {
				f()
			}
		}()
	}
}

// Read returns a run beginning with the batch that holds from, up to most bytes
// of whole batches (the first one whole even when larger), not beyond m.End().
// What is here is returned, be it less than most. If nothing of it is here it
// returns ErrLoading at once, starts or joins the download, and calls ready
// once, from another goroutine, when a retry will find something: data, or an
// error to report. ready must not block. It is not called any more when the same
// reader reads the same partition again: that read has taken the place of this one.
//
// stream identifies the reader for readahead (a fetch session or connection,
// any comparable key); Forget cancels what only it wanted.
//
// Errors: ErrLoading, ErrOutOfRange, ErrCorrupt, ErrUnavailable, ErrClosed.
// All but ErrOutOfRange and ErrClosed may be gone a second later.
func (r *Reader) Read(p kafka.Partition, m manifest.Manifest, stream any, from kafka.Offset, most int, ready func()) (batch.Run, error) {
	run, _, err := r.ReadCommitted(p, m, stream, from, most, ready)
	return run, err
}

// ReadCommitted is Read, and lists the aborted transactions that overlap the run, by first offset.
func (r *Reader) ReadCommitted(p kafka.Partition, m manifest.Manifest, stream any, from kafka.Offset, most int, ready func()) (batch.Run, []segment.AbortedTxn, error) {
	r.mu.Lock()
	defer r.unlockAway()
	if r.closed {
		return batch.Run{}, nil, ErrClosed
	}
	limit := max(most, 1)
	defer r.pump()
	for m.Has(from) { // more than once only where compaction left nothing behind from
		near, err := r.resolve(p, m, stream, from, ready)
		if err != nil {
			return batch.Run{}, nil, err
		}
		i, ok := near.Find(from)
		if !ok {
			break
		}
		s := r.stream(stream, p, near)
		rm := r.remote(p, near.At(i))
		run, next, err := r.readRemote(rm, s, from, limit, ready)
		if err != nil || run.N > 0 {
			return run, abortedWithin(rm.footer, from, next), err
		}
		from = rm.entry.Next
	}
	return batch.Run{}, nil, ErrOutOfRange
}

// abortedWithin is what of a footer's aborted transactions overlaps [from, next).
func abortedWithin(f *segment.Footer, from, next kafka.Offset) (list []segment.AbortedTxn) {
	if f == nil {
		return nil
	}
	for _, a := range f.Aborted {
		if a.First >= next {
			break
		}
		if a.Last >= from {
			list = append(list, a)
		}
	}
	return list
}

// readRemote is Read within one object; next is the offset behind the run. An empty run without an error says
// that the object has nothing at or behind from.
func (r *Reader) readRemote(rm *remote, s *stream, from kafka.Offset, limit int, ready func()) (batch.Run, kafka.Offset, error) {
	if rm.footer == nil {
		if err := rm.failure(footerBlock); err != nil {
			return batch.Run{}, 0, err
		}
		s.seek(r, from)
		r.queueLoad(rm)
		return r.await(rm, footerBlock, s, ready)
	}
	r.touch(rm)
	for b := rm.block(from); b < rm.count(); b++ {
		sl := rm.slabs[b]
		if sl == nil {
			if err := rm.failure(b); err != nil {
				return batch.Run{}, 0, err
			}
			s.seek(r, from)
			if !s.awaits(rm, b, b+1) {
				r.demand(s)
			}
			return r.await(rm, b, s, ready)
		}
		if b >= sl.ready {
			s.seek(r, from)
			s.want(r, sl)
			r.ahead.push(s)
			return r.await(rm, b, s, ready)
		}
		if run, next, ok := sl.run(b, from, limit); ok {
			r.stats.hits.Add(1)
			r.stats.readBytes.Add(uint64(run.N))
			s.advanced(r, sl, from, next, int64(run.N))
			return run, next, nil
		}
	}
	return batch.Run{}, 0, nil
}

func (r *Reader) await(rm *remote, block int, s *stream, ready func()) (batch.Run, kafka.Offset, error) {
	r.stats.misses.Add(1)
	s.wait(rm, block, ready)
	return batch.Run{}, 0, ErrLoading
}

// Forget cancels what only the stream wanted, in all partitions. What it waited
// for is called ready.
func (r *Reader) Forget(stream any) {
	r.mu.Lock()
	defer r.unlockAway()
	if c := r.clients[stream]; c != nil {
		for _, s := range c.streams {
			s.forget(r)
		}
		delete(r.clients, stream)
	}
	r.forgetPages(stream)
	r.pump()
}
