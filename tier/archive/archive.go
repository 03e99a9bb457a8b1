package archive

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/pace"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Committer decides what exists: broker passes the quorum in.
type Committer interface {
	// CommitSegment adds e to the partition's manifest under the uploader's epoch; manifest.ErrStaleEpoch and
	// manifest.ErrNotContiguous are final refusals, other errors (manifest.ErrSpilled among them) may be retried with the same entry.
	// A final refusal is a promise: e is not in the manifest, and no earlier attempt at it will still get there.
	// (Manifest.Append keeps it: an entry that is there is accepted again, whatever the epoch is by then.)
	CommitSegment(ctx context.Context, p kafka.Partition, e manifest.Entry) error
	// TrimSegments moves the log start offset to start (only ever forward) and removes the entries wholly below it.
	TrimSegments(ctx context.Context, p kafka.Partition, epoch kafka.LeaderEpoch, start kafka.Offset) error
}

// Source is a partition as the archive sees it; tier/log implements it. All
// methods are quick, and safe for concurrent use.
type Source interface {
	Partition() kafka.Partition
	Topic() string
	Epoch() kafka.LeaderEpoch    // -1 while not leader: nothing is uploaded
	Local() Local                // *hot.Log
	Manifest() manifest.Manifest // as last published
	Start() kafka.Offset         // log start offset, as last published
	StableEnd() kafka.Offset     // last stable offset: only sealed segments wholly below it are uploaded
	Policy() Policy
	// Aborted are the aborted transactions that overlap [base, next), below StableEnd, by first offset.
	Aborted(base, next kafka.Offset) []segment.AbortedTxn
}

// DamageReporter is a Source that wants to hear of a local segment whose
// bytes are not what was written (it is never uploaded). Called again at each
// attempt, without locks.
type DamageReporter interface {
	SegmentDamaged(base kafka.Offset, err error)
}

// Local is what the archive needs of a local log; *hot.Log is one.
type Local interface {
	Segments() []hot.SegmentInfo
	Size() int64
	OpenSealed(base kafka.Offset) (*hot.Sealed, error)
	Roll() error
	ReleaseBefore(next kafka.Offset) (int64, error)
}

var _ Local = (*hot.Log)(nil)

// Policy is what the topic's configuration says.
type Policy struct {
	Remote         bool      // remote.storage.enable and not remote.log.copy.disable
	LocalRetention Retention // what may stay local once uploaded
	Retention      Retention // in all
}

// Retention; negative means without limit.
type Retention struct {
	Age   time.Duration
	Bytes int64
}

// Config is the archive's settings. The zero value of a field stands for the default.
type Config struct {
	Cluster        string
	Workers        int           // uploads at a time, 4
	BytesPerSecond func() int64  // upload budget, which may change; 0, or no function, without limit
	StallTimeout   time.Duration // an upload without progress for so long is cancelled and retried, 30 s
	Interval       time.Duration // between looks at each partition, 30 s; Poke asks for one now
	OrphanGrace    time.Duration // how old an object that no manifest names must be to be swept, 24 h
	SweepInterval  time.Duration // between the sweeps that Run does by itself, 6 h; -1: it does none
}

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.Workers <= 0 {
		c.Workers = 4
	}
	if c.BytesPerSecond == nil {
		c.BytesPerSecond = func() int64 { return 0 }
	}
	def(&c.StallTimeout, 30*time.Second)
	def(&c.Interval, 30*time.Second)
	def(&c.OrphanGrace, 24*time.Hour)
	def(&c.SweepInterval, 6*time.Hour)
	return c
}

// Live is what exists, as the quorum has decided.
type Live interface {
	// Current returns when Manifest knows all that was committed before it was called. It fails where that cannot be found
	// out, as on a broker that is cut off: what others have uploaded since looks like orphans there.
	Current(ctx context.Context) error
	// Manifest tells a partition's manifest, and whether the partition exists at all.
	Manifest(p kafka.Partition) (m manifest.Manifest, exists bool)
	// Each tells all partitions' manifests, of one moment.
	Each(f func(p kafka.Partition, m manifest.Manifest))
}

// Archive is one broker's. Its methods are safe for concurrent use, before,
// during and after Run.
type Archive struct {
	bucket    object.Bucket
	committer Committer
	cfg       Config
	clock     func() time.Time // stamps and ages; timers are the runtime's
	log       *slog.Logger
	observer  Observer
	live      Live
	pages     Pages // nil: nothing is spilled
	spiller   Spiller
	// pageEntries: see SpillWith.
	pageEntries int
	budget      *pace.Budget
	turns       turns
	stats       counters
	// backlog and overdue are the sums of all parts' PendingBytes and OverdueBytes. Written under mu.
	backlog, overdue atomic.Int64
	// letGo closes a segment: (*hot.Sealed).Close, which a test's segments, having no file, cannot bear.
	letGo func(*hot.Sealed) error
	// wake asks Run to look at the queues again. Holds one request: more say nothing new.
	wake chan struct{}

	mu       sync.Mutex
	parts    map[kafka.Partition]*part
	due      dueHeap // parts that wait for their next look
	ready    []*part // parts whose look is due; each at most once
	looks    int     // running
	uploads  []*job  // jobs that wait for a worker; at most maxJobs of a partition
	working  int     // running
	pace     spacing // of uploads, while the bucket asks to slow down
	deletes  deletes
	sweepDue time.Time
	sweeping bool
	warnings warnings
	whose    whose
	// named holds the keys of objects that are being uploaded, or are uploaded and not yet
	// published: no sweep touches them, however old they are.
	named map[string]struct{}
	// lost is what the last whole sweep missed.
	lost []Lost
}

// New returns an archive that does nothing until Run. live is who knows what orphans are, and what the bucket must hold; where it is nil, nothing can be swept, and any bucket is the right one.
func New(b object.Bucket, c Committer, live Live, cfg Config, clock func() time.Time, log *slog.Logger) *Archive {
	cfg = cfg.withDefaults()
	a := &Archive{
		bucket: b, committer: c, live: live, cfg: cfg, clock: clock, log: log,
		budget: pace.New(cfg.BytesPerSecond),
		turns:  newTurns(),
		letGo:  (*hot.Sealed).Close,
		wake:   make(chan struct{}, 1),
		parts:  map[kafka.Partition]*part{},
		named:  map[string]struct{}{},
	}
	if live == nil {
		a.whose.state = right
	}
	return a
}

// part is what the archive knows of a partition.
type part struct {
	id    kafka.Partition
	topic string
	src   Source

	// The following are guarded by Archive.mu.

	removed bool
	// at is when the next look is due, heapIndex its place in the heap: -1 while being looked at or ready.
	at        time.Time
	heapIndex int
	again     bool // a look was asked for while one was due or running
	// jobs are the segments on their way, contiguous, oldest first.
	jobs       []*job
	committing bool // some goroutine commits jobs from the front
	// Failures in a row, and until when nothing is tried again.
	failures  int
	notBefore time.Time
	status    Status
	// uploaded: an upload began, so that the bucket may hold what no manifest names.
	uploaded bool

	// The following are owned by the look, of which there is one at a time.

	spilling spilling
	// front are the entries of frontOf, a page whose entries retention has to judge.
	front   manifest.Manifest
	frontOf manifest.Page
	// seen is the manifest at the last look as leader: what it names and the next does not,
	// left from the front.
	seen manifest.Manifest
}

// Add starts caring for a partition. A Source of the same partition that is there already is replaced.
func (a *Archive) Add(s Source) {
	id, topic := s.Partition(), s.Topic()
	tiered := s.Manifest().Len() > 0
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(id)
	if tiered && a.whose.state == blank {
		a.whose.state = unasked
	}
	p := &part{id: id, topic: topic, src: s, heapIndex: -1}
	p.status.Partition = id
	a.parts[id] = p
	a.schedule(p, time.Now())
	a.signal()
}

// Remove stops caring for a partition: what is under way is cancelled, what
// is in the bucket stays. A look that is running may still end after it.
func (a *Archive) Remove(p kafka.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(p)
}

func (a *Archive) remove(id kafka.Partition) {
	p := a.parts[id]
	if p == nil {
		return
	}
	delete(a.parts, id)
	a.backlog.Add(-p.status.PendingBytes)
	a.overdue.Add(-p.status.OverdueBytes)
	p.removed = true
	a.unschedule(p)
	for _, j := range p.jobs {
		a.drop(j, fmt.Errorf("partition %s was removed", id))
	}
	p.jobs = nil
}

// RemovePartition is Remove for a partition whose topic is deleted: its objects are deleted in the background.
// What a crash or a full queue leaves, a sweep finds.
func (a *Archive) RemovePartition(id kafka.Partition) {
	a.mu.Lock()
	p := a.parts[id]
	a.mu.Unlock()
	// A partition that was never tiered costs no request.
	untouched := p != nil && p.src.Manifest().Len() == 0

	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(id)
	if untouched && !p.uploaded {
		return
	}
	a.deletes.add(deletion{prefix: manifest.Prefix(a.cfg.Cluster, id)}, &a.stats)
	a.signal()
}

// Poke asks for a look at the partition soon (a segment was sealed, the high watermark passed it, the manifest changed).
// It is cheap, and asking often is asking once.
func (a *Archive) Poke(id kafka.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.parts[id]; p != nil {
		a.pokeLocked(p)
	}
}

func (a *Archive) pokeLocked(p *part) {
	if p.removed {
		return
	}
	if p.heapIndex < 0 {
		p.again = true
		return
	}
	a.schedule(p, time.Now())
	a.signal()
}

func (a *Archive) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Delays between attempts at the same thing: doubled from the first to the
// last, and drawn at random below that ("full jitter"), so that many
// partitions whose bucket comes back do not all come at once.
const (
	firstDelay = time.Second
	lastDelay  = 2 * time.Minute
)

// delay is how long to wait after so many failures in a row.
func delay(failures int) time.Duration {
	most := lastDelay
	if shift := failures - 1; shift < 7 {
		most = min(lastDelay, firstDelay<<max(shift, 0))
	}
	return time.Duration(rand.Int64N(int64(most)) + 1)
}
