package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/tier/scrub"
)

// Scrub tells how far the checks of local segments are.
func (b *Backend) Scrub() console.Scrub {
	s := b.parts.Scrubber.Status()
	return console.Scrub{
		Running: s.Running, Began: moment(s.Began), Finished: moment(s.Finished), Segments: s.Segments, Bytes: s.Bytes,
		Suspicions: s.Suspicions, Damaged: s.Damaged, Latest: damagedRecords(s.Last),
	}
}

// ScrubNow checks the closed local segments of one topic, or of all for "".
func (b *Backend) ScrubNow(ctx context.Context, topic string) (console.Scrub, error) {
	if topic != "" {
		if _, ok := b.parts.Quorum.Image().TopicByName(topic); !ok {
			return console.Scrub{}, fmt.Errorf("%w: topic %q", console.ErrNotFound, topic)
		}
	}
	r, err := b.parts.Scrubber.Now(ctx, func(l scrub.Log) bool { return topic == "" || l.Topic() == topic })
	if err != nil {
		return console.Scrub{}, err
	}
	return console.Scrub{Segments: int64(r.Segments), Bytes: r.Bytes, Damaged: int64(len(r.Damaged)), Latest: damagedRecords(r.Damaged)}, nil
}

// moment is nil for no time at all.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func damagedRecords(list []scrub.Damage) []console.DamagedRecord {
	out := make([]console.DamagedRecord, 0, len(list))
	for _, d := range list {
		out = append(out, console.DamagedRecord{
			Topic: d.Topic, Partition: d.Partition.Index, Segment: int64(d.Segment), Found: d.Found, Archived: d.Archived, Error: d.Err.Error(),
		})
	}
	return out
}
