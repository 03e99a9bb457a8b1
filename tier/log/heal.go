package log

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Damage is damage of the local log that the bucket does not make good: a
// *hot.DamageError, or nil. The log takes no appends; what is not damaged can be read.
func (l *Log) Damage() error { return l.hot.Damage() }

// heal sets damaged local segments aside when the bucket holds all that goes
// with them: reads find it there, and appends go on. Any other damage stays for a person to decide on.
func (l *Log) heal() error {
	var d *hot.DamageError
	if !errors.As(l.hot.Damage(), &d) {
		return nil
	}
	// Quarantine takes everything up to the segment behind the damaged one.
	next := l.hot.End()
	for _, s := range l.hot.Segments() {
		if s.Base > d.Segment {
			next = s.Base
			break
		}
	}
	if m := l.Manifest(); next > m.End() || !archived(m, l.LocalStart()) {
		return l.giveUp(d)
	}
	from, to, err := l.hot.Quarantine(d.Segment)
	if err != nil {
		return err
	}
	l.log.Warn("damaged local segments are served from the bucket from now on",
		"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "from", from, "to", to, "damage", d)
	return nil
}

// acceptLoss is a file, of any content, that a person puts into the partition's directory: what is damaged, and what is older, is given up, and the
// log goes on behind it. It says so of the damage that there is when it is found, and is gone afterwards.
const acceptLoss = "accept-loss"

// giveUp sets damaged local segments aside that nothing can stand in for, if a person has said so.
func (l *Log) giveUp(d *hot.DamageError) error {
	said, err := l.lossAccepted()
	if err != nil || !said {
		return err
	}
	from, to, err := l.hot.Quarantine(d.Segment)
	if err != nil {
		return err
	}
	l.log.Error("damaged local segments were given up, as a file in the partition's directory asked for: what of them the bucket does not hold is in quarantine and nowhere else",
		"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "file", acceptLoss, "from", from, "to", to, "damage", d)
	return l.fs.Remove(filepath.Join(l.spec.Dir, acceptLoss))
}

// lossAccepted tells whether a person has accepted a loss.
func (l *Log) lossAccepted() (bool, error) {
	switch _, err := l.fs.Stat(filepath.Join(l.spec.Dir, acceptLoss)); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return err == nil, err
	}
}

// dropAcceptance removes an acceptance that nothing was damaged for: it must not speak of a loss to come.
func (l *Log) dropAcceptance() error {
	said, err := l.lossAccepted()
	if err != nil || !said || l.hot.Damage() != nil {
		return err
	}
	l.log.Warn("nothing is damaged: the file that accepts a loss is removed", "topic", l.spec.Topic, "partition", l.spec.Partition.Index, "file", acceptLoss)
	return l.fs.Remove(filepath.Join(l.spec.Dir, acceptLoss))
}

// archived tells whether the bucket has an offset.
func archived(m manifest.Manifest, o kafka.Offset) bool {
	return m.Has(o)
}

// well heals what can be healed and tells whether the log is undamaged then.
func (l *Log) well() bool {
	if err := l.heal(); err != nil {
		l.log.Error("set damaged segments aside", "topic", l.spec.Topic, "partition", l.spec.Partition.Index, "error", err)
		return false
	}
	return l.hot.Damage() == nil
}

// SegmentDamaged is archive.DamageReporter: a closed segment failed its verification before upload. It is not in the bucket,
// so nothing can stand in for it: the log takes no appends until a person has decided.
func (l *Log) SegmentDamaged(base kafka.Offset, err error) {
	l.hot.ReportDamage(base, err)
	l.well()
	l.tell()
}

// tell says what to do about damage that could not be healed.
func (l *Log) tell() {
	if d := l.hot.Damage(); d != nil {
		l.log.Error("local data is damaged that the bucket does not hold: its offsets cannot be read, and the partition takes no records",
			"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "dir", l.spec.Dir, "damage", d,
			"remedy", "stop the broker and restore the file from a copy, or give up the named segment and all older ones: make an empty file accept-loss in the directory; start (docs/operations.md, damaged partition)")
	}
}

// Segments are the local ones, oldest first.
func (l *Log) Segments() []hot.SegmentInfo { return l.hot.Segments() }

// Check verifies a sealed local segment; see hot.Log.Check. One that is damaged is set aside when the bucket holds its range;
// otherwise reads of it fail from now on and the log takes no appends until a person has decided.
func (l *Log) Check(ctx context.Context, base kafka.Offset, pace func(ctx context.Context, bytes int) error) (int64, error) {
	n, err := l.hot.Check(ctx, base, pace)
	if errors.Is(err, hot.ErrDamaged) {
		l.well()
		l.tell()
	}
	return n, err
}
