package hot

import (
	"fmt"
	"io"
	"time"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// SegmentInfo describes one local segment, [Base, Next).
type SegmentInfo struct {
	Base, Next   kafka.Offset
	Size         int64
	MaxTimestamp int64     // milliseconds; -1 without records, math.MaxInt64 when the segment cannot be read
	Created      time.Time // the first append, by the log's clock; zero while empty
	Sealed       bool      // closed: never written again
	Durable      bool      // sealed and flushed
}

// Segments is a snapshot, oldest first; the last is the active one. The first call after opening reads a small file for
// each sealed segment.
func (l *Log) Segments() []SegmentInfo {
	v := l.view.Load()
	infos := make([]SegmentInfo, len(v.segments))
	for i, s := range v.segments {
		known, err := l.factsOf(v, s)
		if err != nil {
			if l.view.Load() == v && !l.closed.Load() {
				l.env.Log.Warn("facts of a segment are unreadable", "partition", l.partition.String(), "segment", int64(s.base), "error", l.found(err))
			}
			known = unreadable
		}
		infos[i] = l.info(s, known)
	}
	return infos
}

func (l *Log) info(s *localSegment, known facts) SegmentInfo {
	info := SegmentInfo{
		Base: s.base, Next: kafka.Offset(s.next.Load()), Size: s.size.Load(),
		MaxTimestamp: max(known.maxTimestamp, -1), Sealed: s.sealed.Load(),
	}
	if known.created != 0 {
		info.Created = time.Unix(0, known.created)
	}
	info.Durable = info.Sealed && int64(info.Next) <= l.flushed.Load()
	return info
}

// Size is the sum of the segments' sizes, in bytes.
func (l *Log) Size() int64 {
	var sum int64
	for _, s := range l.view.Load().segments {
		sum += s.size.Load()
	}
	return sum
}

// Sealed is an open sealed segment.
type Sealed struct {
	Info   SegmentInfo
	Data   io.ReaderAt
	State  []byte               // snapshot as of Info.Next; nil when there is none
	Epochs []segment.EpochStart // up to Info.Next, of the whole history
	hold   *handle
}

// Close lets go of the file. Call it once.
func (s *Sealed) Close() error {
	s.hold.Release()
	return nil
}

// OpenSealed opens a sealed segment for upload; it stays readable while it is deleted. ErrOutOfRange says that there is no
// such sealed segment (any more).
func (l *Log) OpenSealed(base kafka.Offset) (*Sealed, error) {
	var sealed *Sealed
	err := l.reading(func(v *view) error {
		i := v.index(base)
		if i < 0 || !v.segments[i].sealed.Load() {
			return ErrOutOfRange
		}
		s := v.segments[i]
		known, err := l.factsOf(v, s)
		if err != nil {
			return err
		}
		h, err := s.acquire(&l.env)
		if err != nil {
			return blame(s, err)
		}
		size, err := h.Size()
		if err == nil && size < s.size.Load() {
			err = fmt.Errorf("%w: file has %d bytes of %d", errBadBatch, size, s.size.Load())
		}
		if err != nil {
			h.Release()
			return blame(s, err)
		}
		info := l.info(s, known)
		sealed = &Sealed{
			Info: info, Data: io.NewSectionReader(h, 0, info.Size), hold: h,
			Epochs: epochsBefore(l.Epochs(), info.Next), State: l.blobAt(info.Next),
		}
		return nil
	})
	return sealed, err
}

// blobAt is the state snapshot as of base, if there is a usable one.
func (l *Log) blobAt(base kafka.Offset) []byte {
	state, err := readState(l.env.FS, l.dir, base)
	if err != nil {
		l.env.Log.Warn("state snapshot not usable", "partition", l.partition.String(), "error", err)
	}
	if state == nil {
		return nil
	}
	return state.blob
}
