package log

import (
	"errors"

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
		return nil
	}
	from, to, err := l.hot.Quarantine(d.Segment)
	if err != nil {
		return err
	}
	l.log.Warn("damaged local segments are served from the bucket from now on",
		"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "from", from, "to", to, "damage", d)
	return nil
}

// archived tells whether the bucket has an offset.
func archived(m manifest.Manifest, o kafka.Offset) bool {
	_, ok := m.Find(o)
	return ok
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
}
