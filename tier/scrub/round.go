package scrub

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/qanat-io/qanat/tier/pace"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// place is how far a round has come. It is written beside the data, as JSON, now and then and not flushed: one that is lost
// or damaged costs a round.
type place struct {
	Began    time.Time    `json:"began"`
	Finished time.Time    `json:"finished"` // of the last round that ended; before Began while one is under way
	Whole    time.Time    `json:"whole"`    // when that one began
	Topic    string       `json:"topic_id"` // of the partition whose segment was checked last
	Index    int32        `json:"partition"`
	Next     kafka.Offset `json:"next"` // where that segment ends
	topic    kafka.TopicID
}

// saveEvery is how much a crash makes a round read again, in time.
const saveEvery = time.Minute

func readPlace(fsys vfs.FS, name string, log *slog.Logger) (p place) {
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return p
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && p.Topic != "" {
		p.topic, err = kafka.ParseTopicID(p.Topic)
	}
	if err != nil {
		log.Warn("place of the scrub is unreadable: it begins anew", "file", name, "error", err)
		return place{}
	}
	return p
}

// save writes the place down, beside itself first.
func (p place) save(fsys vfs.FS, name string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	temp := name + ".new"
	f, err := fsys.OpenRW(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err := errors.Join(err, f.Truncate(int64(len(b))), f.Close()); err != nil {
		return err
	}
	return fsys.Rename(temp, filepath.Clean(name))
}

// round checks everything behind the place, and begins a round before that if none is under way.
func (s *Scrubber) round(ctx context.Context) {
	p := s.place
	if p.Began.IsZero() || !p.Finished.Before(p.Began) {
		p = place{Began: s.clock(), Finished: p.Finished, Whole: p.Whole}
		if !p.Finished.Before(p.Began) { // a clock that was set back
			p.Finished = time.Time{}
		}
	}
	s.keep(p, true)
	saved := s.clock()
	budget := pace.New(pace.Fixed(s.cfg.BytesPerSecond))
	for _, l := range s.sorted() {
		id := l.Partition()
		after := kafka.Offset(0)
		if p.Topic != "" {
			switch c := id.Compare(kafka.Partition{Topic: p.topic, Index: p.Index}); {
			case c < 0:
				continue
			case c == 0:
				after = p.Next
			}
		}
		for _, info := range l.Segments() {
			if !info.Sealed || info.Base < after {
				continue
			}
			s.check(ctx, l, info.Base, budget.Take)
			if ctx.Err() != nil {
				s.keep(p, false)
				return
			}
			p.topic, p.Topic, p.Index, p.Next = id.Topic, id.Topic.String(), id.Index, info.Next
			if s.clock().Sub(saved) >= saveEvery {
				saved = s.clock()
				s.keep(p, true)
			}
		}
	}
	s.keep(place{Began: p.Began, Finished: s.clock(), Whole: p.Began}, false)
}

// keep notes and saves the place.
func (s *Scrubber) keep(p place, running bool) {
	s.place = p
	s.mu.Lock()
	s.status.Running, s.status.Began, s.status.Finished, s.status.Whole = running, p.Began, p.Finished, p.Whole
	s.mu.Unlock()
	if err := p.save(s.fs, s.cfg.File); err != nil {
		s.log.Warn("place of the scrub is not kept: a restart begins it anew", "file", s.cfg.File, "error", err)
	}
}
