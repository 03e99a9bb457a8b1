package log

import (
	"errors"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// SegmentDamaged is archive.DamageReporter: a closed segment failed its
// verification before upload. It is not in the bucket, so nothing can stand in
// for it: the log takes no appends until an operator has decided.
func (l *Log) SegmentDamaged(base kafka.Offset, err error) {
	l.hot.ReportDamage(base, err)
	l.mend()
}

// mend sets damaged local segments aside where the bucket holds what they
// held. It returns whether the log is well now. What the bucket does not hold stays
// where it is: the log goes on reading around it, and takes no appends.
//
// Source: DESIGN's rule that a bad batch below the recovery point is corruption, not a torn tail.
func (l *Log) mend() bool {
	for {
		var damage *hot.DamageError
		if !errors.As(l.hot.Damage(), &damage) {
			return true
		}
		// Quarantine takes everything local up to the damage's end along, so all of that must be in the bucket, or expired.
		m := l.Manifest()
		if damage.Next > max(m.End(), l.Start()) || m.Len() > 0 && m.Start() > max(l.hot.Start(), l.Start()) {
			l.log.Error("local log is damaged where the bucket cannot replace it: the partition takes no records",
				"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "from", damage.Base, "to", damage.Next, "error", damage.Reason)
			return false
		}
		from, to, err := l.hot.Quarantine(damage.Segment)
		if err != nil {
			l.log.Error("set damaged segments aside", "topic", l.spec.Topic, "partition", l.spec.Partition.Index, "error", err)
			return false
		}
		l.log.Warn("damaged local segments were replaced by the bucket's",
			"topic", l.spec.Topic, "partition", l.spec.Partition.Index, "from", from, "to", to)
	}
}
