package hot

import (
	"errors"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What an opening knows of the time before its scan: the history of epochs, and what state files hold.

// dropStates removes states of segments that are gone; they would otherwise speak of another history if their base came again.
func (o *opening) dropStates() error {
	have := make(map[kafka.Offset]bool, len(o.segments))
	for _, s := range o.segments {
		have[s.base] = true
	}
	keep := o.files.states[:0]
	for _, base := range o.files.states {
		if have[base] {
			keep = append(keep, base)
			continue
		}
		if o.found.Damage != nil {
			continue // evidence
		}
		if err := o.remove(base, stateSuffix); err != nil {
			return err
		}
	}
	o.files.states = keep
	return nil
}

// history finds the epochs below the scan: from the newest usable state file at or below its segment, headers from there on, and the recovery point.
func (o *opening) history() error {
	i := min(o.from, len(o.segments)-1)
	var state *stateFile
	at := i
	for ; at >= 0 && state == nil; at-- {
		var err error
		if state, err = o.usableState(o.segments[at].base); err != nil {
			return err
		}
		if state != nil || at == 0 {
			break
		}
	}
	if state != nil {
		o.epochs = state.epochs
	}
	for ; at < i; at++ {
		if err := o.epochsOf(o.segments[at], o.segments[at+1].base); err != nil {
			return err
		}
	}
	if o.known && (o.from == len(o.segments) || o.segments[o.from].base == o.rec.base) {
		for _, e := range o.rec.epochs {
			o.epochs = withEpoch(o.epochs, e.Epoch, e.Start)
		}
	}
	return nil
}

// epochsOf adds the epochs that begin in a sealed segment.
func (o *opening) epochsOf(s *localSegment, next kafka.Offset) error {
	h, err := s.acquire(&o.env)
	if err != nil {
		return err
	}
	defer h.Release()
	buf := scanBuffers.Get().(*buffer)
	defer scanBuffers.Put(buf)
	_, err = walk(h, border{offset: s.base}, s.size.Load(), buf, func(v batch.View, _ border) (bool, error) {
		o.epochs = withEpoch(o.epochs, v.LeaderEpoch(), v.BaseOffset())
		return true, nil
	})
	if errors.Is(err, errBadBatch) {
		o.harm(s.base, s.base, next, err)
		return nil
	}
	return err
}

// usableState reads a state file; one that is corrupt, or that the disk does not give, counts as missing. A newer release's
// is an error: its log is not to be guessed at.
func (l *Log) usableState(base kafka.Offset) (*stateFile, error) {
	state, err := readState(l.env.FS, l.dir, base)
	if err != nil && !errors.Is(err, ErrNewer) {
		l.env.Log.Warn("state file not usable", "partition", l.partition.String(), "error", err)
		return nil, nil
	}
	return state, err
}

// loadState finds the newest snapshot.
func (o *opening) loadState() error {
	o.found.StateAt = o.Start()
	for i := len(o.files.states) - 1; i >= 0; i-- {
		base := o.files.states[i]
		if base > o.End() {
			continue
		}
		state, err := o.usableState(base)
		if err != nil {
			return err
		}
		if state != nil && state.blob != nil {
			o.found.State, o.found.StateAt = state.blob, base
			return nil
		}
	}
	return nil
}
