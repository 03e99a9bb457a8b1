package hot

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/qanat-io/qanat/tier/index"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Decisions.
var (
	// ErrOutOfRange says that an offset is not in [Start, End].
	ErrOutOfRange = errors.New("offset is not in the local log")
	// ErrDamaged says that a batch below the recovery point is not what was written. The log takes no appends.
	ErrDamaged = errors.New("local log is damaged")
	// ErrUnreadable says that the disk does not give what is wanted (EIO; it may do so the next time), or that what is owed to the log (owed.go) is
	// damaged. A log that does not open for it can be
	// SetAside and opened again, where others have it; else a person decides.
	ErrUnreadable = errors.New("local log cannot be read")
	// ErrNoSpace wraps syscall.ENOSPC, or EMFILE and what else means that there is no room: the append was undone and may be tried again.
	ErrNoSpace = errors.New("no space left for the log")
	// ErrClosed says that the log was closed or deleted.
	ErrClosed = errors.New("local log is closed")
	// ErrBroken says that a write failed: the log can be read up to End and takes no appends, and the flusher's fatal was told.
	ErrBroken = errors.New("local log takes no appends after a failed write")
	// ErrFlush says that a flush, or a write, failed; nothing on this volume is acknowledged any more.
	ErrFlush = errors.New("flush of the data volume failed")
	// ErrInvalid says that the caller asked for what would break the log: batches that do not continue it,
	// a leader epoch that goes back, an offset that is no batch border.
	ErrInvalid = errors.New("invalid for the local log")
)

// DamageError says which offsets are damaged, and so must come from elsewhere.
type DamageError struct {
	Segment    kafka.Offset // to be given to Quarantine
	Base, Next kafka.Offset // what the segment, or what is missing, holds
	Reason     error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: segment %d, offsets [%d, %d): %v", ErrDamaged, e.Segment, e.Base, e.Next, e.Reason)
}

// Unwrap makes errors.Is see ErrDamaged and the reason.
func (e *DamageError) Unwrap() []error { return []error{ErrDamaged, e.Reason} }

// Config is a log's settings; all may change while it is open (Log.SetConfig).
type Config struct {
	SegmentBytes  int64         // zero: 128 MiB. A batch larger than that gets a segment of its own.
	SegmentAge    time.Duration // roll when the active segment's first append is older (checked on append and by Tick); zero: never
	SegmentJitter time.Duration // up to so much is taken off SegmentAge, at random, so that logs do not roll together
	Async         bool          // flush mode async: durable means written
	Preallocate   bool          // reserve SegmentBytes on disk when a segment begins
}

const defaultSegmentBytes = 128 << 20

func (c Config) segmentBytes() int64 {
	if c.SegmentBytes <= 0 {
		return defaultSegmentBytes
	}
	return c.SegmentBytes
}

// State is what the layer above keeps beside segments (producer state). The log calls Snapshot at every roll, with its
// lock held, and stores the blob with the new segment's base. An append that alone fills several segments rolls
// in its middle, where there is no snapshot to be had: those segments have none.
type State interface {
	// Snapshot encodes the state as of the log's end.
	Snapshot() []byte
}

// Env is what logs share.
type Env struct {
	FS      vfs.FS
	Flusher *Flusher
	Index   *index.Index // nil: closed segments are scanned on demand
	Clock   func() time.Time
	Log     *slog.Logger
	// Suspect hears of a sealed segment of which one place is read again and again. It must not block. May be nil.
	Suspect func(p kafka.Partition, segment kafka.Offset)
}

// Recovered tells what Open found.
type Recovered struct {
	Clean     bool  // nothing was scanned: closed properly, or nothing was written since the last recovery point
	Truncated int64 // bytes of a torn tail that were cut off
	Scanned   int64
	State     []byte       // newest usable snapshot blob, nil if none
	StateAt   kafka.Offset // replay batch headers from here with Replay
	Damage    error        // not nil: a *DamageError. The log can be read; it takes no appends until Quarantine or Reset
}

// point is a batch border: offset begins at pos in the segment base.
type point struct {
	offset kafka.Offset
	base   kafka.Offset
	pos    int64
}

// facts are what is known of a segment beyond its bytes.
type facts struct {
	created      int64        // first append, Unix nanoseconds by the log's clock; 0 when nothing was appended
	maxTimestamp int64        // largest batch timestamp, noTimestamp without batches
	maxAt        kafka.Offset // base offset of the first batch that has it
}

// noTimestamp is below every timestamp.
const noTimestamp = math.MinInt64

var noFacts = facts{maxTimestamp: noTimestamp, maxAt: -1}

// add accounts for a batch.
func (f *facts) add(base kafka.Offset, maxTimestamp int64) {
	if maxTimestamp > f.maxTimestamp {
		f.maxTimestamp, f.maxAt = maxTimestamp, base
	}
}

// withEpoch returns the history with epoch beginning at start, if it is a new one. It may share memory with history
// but never changes what history shows.
func withEpoch(history []segment.EpochStart, epoch kafka.LeaderEpoch, start kafka.Offset) []segment.EpochStart {
	if n := len(history); n > 0 && history[n-1].Epoch >= epoch {
		return history
	}
	return append(history[:len(history):len(history)], segment.EpochStart{Epoch: epoch, Start: start})
}

// epochsBefore is the part of the history that begins before end.
func epochsBefore(history []segment.EpochStart, end kafka.Offset) []segment.EpochStart {
	n := len(history)
	for n > 0 && history[n-1].Start >= end {
		n--
	}
	return history[:n:n]
}
