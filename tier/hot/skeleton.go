package hot

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/qanat-io/qanat/tier/index"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrOutOfRange says that an offset is not in [Start, End].
var ErrOutOfRange = errors.New("offset is not in the local log")

// ErrDamaged says that a batch below the recovery point is not what was written. The log takes no appends.
var ErrDamaged = errors.New("local log is damaged")

// ErrNoSpace wraps syscall.ENOSPC: the append was undone and may be tried again when there is space.
var ErrNoSpace = errors.New("no space left for the log")

// Flusher makes logs durable in groups: one flush in flight per volume; all
// that arrived meanwhile share the next. One per data volume.
type Flusher struct{}

// NewFlusher; fatal is called once, on the first flush error, which nothing may survive.
func NewFlusher(fs vfs.FS, dir string, clock func() time.Time, log *slog.Logger, fatal func(error)) (*Flusher, error) {
	panic("skeleton")
}

// Run flushes until ctx ends, then once more.
func (f *Flusher) Run(ctx context.Context) error { panic("skeleton") }

// Config is a log's settings; all may change while it is open (Log.SetConfig).
type Config struct {
	SegmentBytes  int64
	SegmentAge    time.Duration // roll when the active segment's first batch is older (checked on append and by Tick)
	SegmentJitter time.Duration
	Async         bool // flush mode async: durable means written
	Preallocate   bool
}

// State is what the layer above keeps beside segments (producer state). The log calls Snapshot at every roll, with its
// lock held, and stores the blob with the new segment's base.
type State interface {
	// Snapshot encodes the state as of the log's end.
	Snapshot() []byte
}

// Env is what logs share.
type Env struct {
	FS      vfs.FS
	Flusher *Flusher
	Index   *index.Index
	Clock   func() time.Time
	Log     *slog.Logger
}

// Log is one partition's local log. Append, Roll, Truncate, ReleaseBefore and
// Reset are serialized by an own mutex; readers take no lock.
type Log struct{}

// Recovered tells what Open found.
type Recovered struct {
	Clean     bool  // closed properly: nothing was scanned
	Truncated int64 // bytes of a torn tail that were cut off
	Scanned   int64
	State     []byte       // newest usable snapshot blob, nil if none
	StateAt   kafka.Offset // replay batch headers from here with Replay
	Damage    error        // not nil: quarantined, wraps ErrDamaged
}

// Open opens or creates the log in dir. start is where an empty log begins (the end of the remote log, or 0).
// onDurable is called, from the flusher's goroutine or from Append in async mode, each time DurableEnd has grown.
func Open(env Env, dir string, p kafka.Partition, cfg Config, start kafka.Offset, onDurable func(kafka.Offset)) (*Log, Recovered, error) {
	panic("skeleton")
}

// SetState installs the source of snapshots. Before the first Append.
func (l *Log) SetState(s State)     { panic("skeleton") }
func (l *Log) SetConfig(cfg Config) { panic("skeleton") }

// Replay calls f with each batch's header (HeaderLen bytes, valid during the call) from the given offset to the end.
func (l *Log) Replay(from kafka.Offset, f func(batch.View) error) error { panic("skeleton") }

// Append writes batches, contiguous from End, with one vectored write, and asks for a flush unless async. It may roll first.
// It returns when the bytes are written (visible to readers up to End), not durable.
func (l *Log) Append(batches []batch.View) error { panic("skeleton") }

// Start is the first local offset, End the next to be written, DurableEnd what survives a power cut. Lock-free.
func (l *Log) Start() kafka.Offset      { panic("skeleton") }
func (l *Log) End() kafka.Offset        { panic("skeleton") }
func (l *Log) DurableEnd() kafka.Offset { panic("skeleton") }

// Read returns a run that begins with the batch holding from and ends before limit (an offset on a batch border, End at most) and,
// if it can, within max bytes; the first batch is always whole. from == limit gives an empty Run. Lock-free.
func (l *Log) Read(from, limit kafka.Offset, max int) (batch.Run, error) { panic("skeleton") }

// FindTime returns the first record at or after ts (exact, decompressing at most one batch): its offset and timestamp.
func (l *Log) FindTime(ts int64, limit kafka.Offset) (offset kafka.Offset, at int64, epoch kafka.LeaderEpoch, ok bool, err error) {
	panic("skeleton")
}

// MaxTimestamp returns the largest timestamp in the local log and its (first) offset.
func (l *Log) MaxTimestamp() (offset kafka.Offset, at int64, ok bool, err error) { panic("skeleton") }

// Epochs are the epochs and their first offsets, oldest first, of the whole history that the log knows of.
func (l *Log) Epochs() []segment.EpochStart { panic("skeleton") }

// SegmentInfo describes one local segment, [Base, Next).
type SegmentInfo struct {
	Base, Next   kafka.Offset
	Size         int64
	MaxTimestamp int64
	Created      time.Time // the first append, by the log's clock
	Sealed       bool      // closed: never written again
	Durable      bool      // sealed and flushed
}

// Segments is a snapshot, oldest first; the last is the active one. Size is the sum of their sizes.
func (l *Log) Segments() []SegmentInfo { panic("skeleton") }
func (l *Log) Size() int64             { panic("skeleton") }

// Sealed is an open sealed segment.
type Sealed struct {
	Info   SegmentInfo
	Data   io.ReaderAt
	State  []byte               // snapshot as of Info.Next
	Epochs []segment.EpochStart // up to Info.Next
}

func (s *Sealed) Close() error { panic("skeleton") }

// OpenSealed opens a sealed segment for upload; it stays readable while it is deleted.
func (l *Log) OpenSealed(base kafka.Offset) (*Sealed, error) { panic("skeleton") }

// Roll closes the active segment if it holds anything.
func (l *Log) Roll() error { panic("skeleton") }

// Tick rolls by age. Called every second or so.
func (l *Log) Tick() error { panic("skeleton") }

// ReleaseBefore deletes whole sealed segments below next and returns the bytes freed. The active segment stays.
func (l *Log) ReleaseBefore(next kafka.Offset) (int64, error) { panic("skeleton") }

// Truncate cuts the log so that End is at, a batch border (KIP-101).
func (l *Log) Truncate(at kafka.Offset) error { panic("skeleton") }

// Reset drops everything local and begins anew at start, with the given history (after damage, or when the bucket is ahead).
func (l *Log) Reset(start kafka.Offset, epochs []segment.EpochStart) error { panic("skeleton") }

// Quarantine moves the segments in [base, …) aside and resets … (owner decides details).

// Close flushes and marks the log clean; Delete removes its directory (renamed first, so that a crash leaves nothing half).
func (l *Log) Close() error  { panic("skeleton") }
func (l *Log) Delete() error { panic("skeleton") }
