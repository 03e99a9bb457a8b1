package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Log is a partition's log as the scrubber sees it; tier/log.Log is one.
type Log interface {
	Partition() kafka.Partition
	Topic() string
	// Segments are the local ones, oldest first.
	Segments() []hot.SegmentInfo
	// Damage is damage that nobody has mended, or nil.
	Damage() error
	// Check verifies a sealed segment; see hot.Log.Check. On damage it has done what there is to do about it.
	Check(ctx context.Context, base kafka.Offset, pace func(ctx context.Context, bytes int) error) (int64, error)
}

// Config is the scrubber's settings.
type Config struct {
	Interval       time.Duration // from the beginning of a round to that of the next; 0: no rounds
	BytesPerSecond int64         // of a round; 0 without limit
	File           string        // where the place of a round is kept
}

// Damage is a segment that a check has found damaged.
type Damage struct {
	Topic     string
	Partition kafka.Partition
	Segment   kafka.Offset
	Found     time.Time
	Archived  bool // it was set aside, and the bucket is read in its place
	Err       error
}

// Status is where the scrubber is, and what it did since the process began.
type Status struct {
	Running    bool      // a round is under way
	Began      time.Time // this round, or the last one; zero before the first
	Finished   time.Time // the last round that ended; zero before
	Whole      time.Time // when that one began: what was closed then has been looked at since
	Segments   int64     // checked, by rounds, for suspicion and on demand
	Bytes      int64
	Suspicions int64 // segments looked at because somebody read one place again and again
	Damaged    int64
	Last       []Damage // the latest, oldest first
}

const (
	lastDamages = 16
	// suspects bounds what waits for a look. More than fit will be suspected again.
	suspects = 64
	// trust is for how long a segment that was well is not looked at again for suspicion: fifty consumers at one place are none.
	trust = 10 * time.Minute
)

// Scrubber checks the logs of one broker.
type Scrubber struct {
	fs    vfs.FS
	logs  func(yield func(Log))
	cfg   Config
	clock func() time.Time
	log   *slog.Logger

	suspected chan suspect
	checking  sync.Mutex // held over one check

	place  place                 // Run's own
	looked map[suspect]time.Time // when a suspect was last looked at; of the goroutine that looks

	mu     sync.Mutex
	status Status
}

type suspect struct {
	partition kafka.Partition
	segment   kafka.Offset
}

// New returns a scrubber of the logs that logs yields, at any time and in any order. Nothing is read before Run.
func New(fsys vfs.FS, logs func(yield func(Log)), cfg Config, clock func() time.Time, log *slog.Logger) *Scrubber {
	return &Scrubber{
		fs: fsys, logs: logs, cfg: cfg, clock: clock, log: log,
		suspected: make(chan suspect, suspects), looked: map[suspect]time.Time{},
	}
}

// Suspect asks for a look at a segment. It never blocks.
func (s *Scrubber) Suspect(p kafka.Partition, segment kafka.Offset) {
	select {
	case s.suspected <- suspect{p, segment}:
	default:
	}
}

// Status is a snapshot.
func (s *Scrubber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Last = slices.Clone(st.Last)
	return st
}

// Run makes rounds, and looks at suspects, until ctx ends.
func (s *Scrubber) Run(ctx context.Context) error {
	s.place = readPlace(s.fs, s.cfg.File, s.log)
	s.mu.Lock()
	s.status.Began, s.status.Finished, s.status.Whole = s.place.Began, s.place.Finished, s.place.Whole
	s.mu.Unlock()
	var looks sync.WaitGroup
	defer looks.Wait()
	looks.Go(func() { s.runSuspects(ctx) })
	if s.cfg.Interval <= 0 {
		return nil
	}
	for {
		wait := time.Duration(0)
		if p := s.place; !p.Finished.IsZero() && !p.Finished.Before(p.Began) {
			wait = p.Began.Add(s.cfg.Interval).Sub(s.clock())
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		s.round(ctx)
	}
}

func (s *Scrubber) runSuspects(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case x := <-s.suspected:
			s.look(ctx, x)
		}
	}
}

// look checks a suspect, unless it was well a moment ago.
func (s *Scrubber) look(ctx context.Context, x suspect) {
	now := s.clock()
	for of, at := range s.looked { // few: a suspect needs a stubborn reader
		if now.Sub(at) > trust {
			delete(s.looked, of)
		}
	}
	if _, ok := s.looked[x]; ok {
		return
	}
	s.looked[x] = now
	s.mu.Lock()
	s.status.Suspicions++
	s.mu.Unlock()
	s.logs(func(l Log) {
		if l.Partition() == x.partition {
			_, _ = s.check(ctx, l, x.segment, nil) // counted and logged there
		}
	})
}

// check verifies one segment. found tells of damage.
func (s *Scrubber) check(ctx context.Context, l Log, base kafka.Offset, pace func(context.Context, int) error) (n int64, found *Damage) {
	s.checking.Lock()
	n, err := l.Check(ctx, base, pace)
	s.checking.Unlock()
	var damage *hot.DamageError
	damaged := errors.As(err, &damage)
	switch {
	case damaged:
		found = &Damage{Topic: l.Topic(), Partition: l.Partition(), Segment: base, Found: s.clock(), Archived: l.Damage() == nil, Err: err}
	case err == nil, errors.Is(err, hot.ErrOutOfRange), errors.Is(err, hot.ErrClosed), ctx.Err() != nil:
	default:
		s.log.Warn("segment could not be checked", "topic", l.Topic(), "partition", l.Partition().Index, "segment", base, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || damaged {
		s.status.Segments++
		s.status.Bytes += n
	}
	if damaged {
		s.status.Damaged++
		s.status.Last = append(s.status.Last, *found)
		s.status.Last = s.status.Last[max(0, len(s.status.Last)-lastDamages):]
	}
	return n, found
}

// Report is what Now has found.
type Report struct {
	Segments int
	Bytes    int64
	Damaged  []Damage
}

// Now checks the sealed segments of all logs that match, at once and at full speed. An error says that ctx has ended before.
func (s *Scrubber) Now(ctx context.Context, match func(Log) bool) (Report, error) {
	var r Report
	for _, l := range s.sorted() {
		if !match(l) {
			continue
		}
		for _, info := range l.Segments() {
			if !info.Sealed {
				continue
			}
			n, found := s.check(ctx, l, info.Base, nil)
			if err := ctx.Err(); err != nil {
				return r, fmt.Errorf("scrub: %w", err)
			}
			r.Segments++
			r.Bytes += n
			if found != nil {
				r.Damaged = append(r.Damaged, *found)
			}
		}
	}
	return r, nil
}

// sorted are the logs of this moment in the order of rounds.
func (s *Scrubber) sorted() []Log {
	var list []Log
	s.logs(func(l Log) { list = append(list, l) })
	slices.SortFunc(list, func(a, b Log) int { return a.Partition().Compare(b.Partition()) })
	return list
}
