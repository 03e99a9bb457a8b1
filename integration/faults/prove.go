package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/qanat-io/qanat/integration/checker"
	"github.com/qanat-io/qanat/integration/history"
)

// lie changes a history as a broken system would have; false says that the history has nothing that it could change.
type lie struct {
	name   string
	told   func(h *history.History) bool
	caught []checker.Invariant
}

// lies are told about real histories, so that the checker is known to see them in what real clients write.
var lies = []lie{
	{"a record is lost", loseRecord, []checker.Invariant{checker.LostWrite}},
	{"the end of a partition is lost", loseEnd, []checker.Invariant{checker.Unseen, checker.LostWrite, checker.PollSkip}},
	{"a retry is written again", repeat, []checker.Invariant{checker.Duplicate}},
	{"two replicas hold different records", exchange, []checker.Invariant{checker.InconsistentOffset}},
	{"a reader is not handed a record", skip, []checker.Invariant{checker.PollSkip}},
	{"a reader is handed a batch again", handAgain, []checker.Invariant{checker.PollBack}},
	{"a refused record is kept", refuse, []checker.Invariant{checker.FailedRead}},
	{"a record appears from nowhere", appear, []checker.Invariant{checker.Phantom}},
	{"a producer's records change places", reorder, []checker.Invariant{checker.SendOrder, checker.AppendOrder, checker.Cycle}},
	{"a commit is forgotten", forget, []checker.Invariant{checker.LostCommit, checker.ResumeBack}},
	{"an old generation commits", zombie, []checker.Invariant{checker.Unfenced}},
	{"a partition has two owners", share, []checker.Invariant{checker.TwoOwners}},
	{"an aborted transaction's offset is committed", commitAborted, []checker.Invariant{checker.AbortedCommit}},
	{"two records are made of one", deriveTwice, []checker.Invariant{checker.DerivedTwice}},
	{"no record is made of one", deriveNone, []checker.Invariant{checker.NotDerived}},
	{"a transaction's records are there, its offset is not", halve, []checker.Invariant{checker.HalfDone}},
	{"a share's lock is given out twice", lockTwice, []checker.Invariant{checker.TwoHolders}},
	{"a share's settled record is served again", serveAgain, []checker.Invariant{checker.ServedAgain}},
	{"a share starts further back", startBack, []checker.Invariant{checker.StartBack}},
	{"a share goes past a record", passOver, []checker.Invariant{checker.NotServed}},
}

// prove tells every lie about a history that is clean, and says which the checker has not seen through. Lies about what the
// history does not have are named, not counted.
func prove(w io.Writer, files []string) error {
	missed := 0
	for _, l := range lies {
		h, err := history.ReadFiles(files...)
		if err != nil {
			return err
		}
		if r := checker.Check(h, checker.Options{}); len(r.Counts) > 0 {
			return fmt.Errorf("the history itself is not clean: %v", r.Counts)
		}
		verdict := "caught"
		if !l.told(h) {
			verdict = "nothing to tell it of"
		} else if r := checker.Check(h, checker.Options{}); !slices.ContainsFunc(l.caught, func(i checker.Invariant) bool { return r.Counts[i] > 0 }) {
			verdict = fmt.Sprintf("NOT CAUGHT: %v", r.Counts)
			missed++
		}
		if _, err := fmt.Fprintf(w, "%-54s %s\n", l.name, verdict); err != nil {
			return err
		}
	}
	if missed > 0 {
		return errors.New("the checker believes lies")
	}
	return nil
}

// reader is a process that is final, or one that is not, with a poll that satisfies want, and the place of the poll.
func reader(h *history.History, final bool, want func(p *history.Process, i int) bool) (*history.Process, int) {
	for _, p := range h.Processes {
		if p.Final != final {
			continue
		}
		for i := range p.Polls {
			if want(p, i) {
				return p, i
			}
		}
	}
	return nil, 0
}

func long(p *history.Process, i int) bool { return len(p.Polls[i].Values) > 2 }

// acked says that a poll's value of that place was acknowledged.
func acked(h *history.History, v history.Value) bool {
	s := h.Send(v)
	return s != nil && s.Outcome == history.OK
}

// cut leaves n values out of a process's poll, from the k-th on.
func cut(p *history.Process, i, k, n int) {
	poll := p.Polls[i]
	before, after := poll, poll
	before.Values = poll.Values[:k]
	after.Offset, after.Values = poll.Offset+int64(k+n), poll.Values[k+n:]
	p.Polls = slices.Replace(p.Polls, i, i+1, before, after)
}

func loseRecord(h *history.History) bool {
	p, i := reader(h, true, func(p *history.Process, i int) bool { return long(p, i) && acked(h, p.Polls[i].Values[1]) })
	if p == nil {
		return false
	}
	cut(p, i, 1, 1)
	return true
}

func loseEnd(h *history.History) bool {
	for _, p := range h.Processes {
		for f := range p.Finals {
			final := &p.Finals[f]
			for i := len(p.Polls) - 1; i >= 0; i-- {
				if poll := &p.Polls[i]; poll.Partition == final.Partition && len(poll.Values) > 0 && acked(h, poll.Values[len(poll.Values)-1]) {
					poll.Values = poll.Values[:len(poll.Values)-1]
					final.Offset--
					return true
				}
			}
		}
	}
	return false
}

func repeat(h *history.History) bool {
	for _, p := range h.Processes {
		for f := range p.Finals {
			final := &p.Finals[f]
			for i := len(p.Polls) - 1; i >= 0; i-- {
				if poll := &p.Polls[i]; poll.Partition == final.Partition && len(poll.Values) > 0 {
					poll.Values = append(slices.Clone(poll.Values), poll.Values[0])
					final.Offset++
					return true
				}
			}
		}
	}
	return false
}

func exchange(h *history.History) bool {
	p, i := reader(h, true, func(p *history.Process, i int) bool {
		return long(p, i) && acked(h, p.Polls[i].Values[0]) && h.Send(p.Polls[i].Values[0]).Offset >= 0 // so that somebody was told where it lies
	})
	if p == nil {
		return false
	}
	v := slices.Clone(p.Polls[i].Values)
	v[0], v[1] = v[1], v[0]
	p.Polls[i].Values = v
	return true
}

func skip(h *history.History) bool {
	p, i := reader(h, false, long)
	if p == nil {
		return false
	}
	cut(p, i, 1, 1)
	return true
}

func handAgain(h *history.History) bool {
	p, i := reader(h, false, long)
	if p == nil {
		return false
	}
	p.Polls = slices.Insert(p.Polls, i+1, p.Polls[i])
	return true
}

func refuse(h *history.History) bool {
	p, i := reader(h, true, long)
	if p == nil {
		return false
	}
	h.Send(p.Polls[i].Values[0]).Outcome = history.Failed
	return true
}

func appear(h *history.History) bool {
	p, i := reader(h, true, long)
	if p == nil {
		return false
	}
	v := slices.Clone(p.Polls[i].Values)
	v[1] = history.ValueOf(math.MaxInt32, 0)
	p.Polls[i].Values = v
	return true
}

// reorder exchanges two acknowledged values of one producer wherever they are told of.
func reorder(h *history.History) bool {
	for _, p := range h.Processes {
		last := map[int32]int{}
		for n := range p.Sends {
			s := &p.Sends[n]
			if s.Outcome != history.OK || s.Offset < 0 {
				continue
			}
			before, ok := last[s.Partition]
			last[s.Partition] = n
			if !ok {
				continue
			}
			x, y := history.ValueOf(p.Number, int32(before)), history.ValueOf(p.Number, int32(n))
			p.Sends[before].Offset, s.Offset = s.Offset, p.Sends[before].Offset
			exchanged := func(values []history.Value) {
				for k, v := range values {
					switch v {
					case x:
						values[k] = y
					case y:
						values[k] = x
					}
				}
			}
			for _, q := range h.Processes {
				for i := range q.Polls {
					exchanged(q.Polls[i].Values)
				}
				for i := range q.Takes {
					exchanged(q.Takes[i].Values)
				}
			}
			return true
		}
	}
	return false
}

// forget answers the last question for a committed offset with "none".
func forget(h *history.History) bool {
	for i := len(h.Fetches) - 1; i >= 0; i-- {
		if f := &h.Fetches[i]; f.Outcome == history.OK && f.Offset > 0 {
			f.Offset = history.NoOffset
			return true
		}
	}
	return false
}

// zombie has the last commit of a slot be one of a generation before the others'.
func zombie(h *history.History) bool {
	type slot struct {
		group     string
		partition int32
	}
	first := map[slot]*history.Commit{}
	for i := range h.Commits {
		c := &h.Commits[i]
		at := slot{c.Group, c.Partition}
		if c.Outcome != history.OK || c.Generation < 1 {
			continue
		}
		if before := first[at]; before != nil && before.Completed < c.Invoked {
			c.Generation = before.Generation - 1
			return true
		}
		first[at] = c
	}
	return false
}

func share(h *history.History) bool {
	var first *history.Process
	var owned history.Move
	for _, p := range h.Processes {
		for _, m := range p.Moves {
			if m.Kind != history.Assign || len(m.Owned) == 0 {
				continue
			}
			if first != nil && p != first {
				p.Moves = append(p.Moves, history.Move{Kind: history.Assign, Seq: math.MaxInt32, Time: m.Time, Group: owned.Group, Generation: owned.Generation, Owned: owned.Owned})
				return true
			}
			first, owned = p, m
		}
	}
	return false
}

// commitAborted answers a question for a committed offset with one that only an aborted transaction had.
func commitAborted(h *history.History) bool {
	for i := len(h.Fetches) - 1; i >= 0; i-- {
		f := &h.Fetches[i]
		of := func(c history.Commit) bool {
			return c.Group == f.Group && c.Partition == f.Partition && c.Invoked < f.Invoked
		}
		for _, c := range h.Commits {
			if f.Outcome == history.OK && of(c) && c.Outcome == history.Failed &&
				!slices.ContainsFunc(h.Commits, func(o history.Commit) bool { return of(o) && o.Outcome != history.Failed && o.Offset == c.Offset }) {
				f.Offset = c.Offset
				return true
			}
		}
	}
	return false
}

// derived is a process with two acknowledged sends that were made of others.
func derived(h *history.History) (p *history.Process, first, second int32) {
	for _, p := range h.Processes {
		first := int32(-1)
		for n := range int32(len(p.Sends)) {
			if _, ok := p.Derived[n]; !ok || p.Sends[n].Outcome != history.OK {
				continue
			}
			if first >= 0 {
				return p, first, n
			}
			first = n
		}
	}
	return nil, 0, 0
}

func deriveTwice(h *history.History) bool {
	p, first, second := derived(h)
	if p == nil {
		return false
	}
	p.Derived[second] = p.Derived[first]
	return true
}

func deriveNone(h *history.History) bool {
	p, first, _ := derived(h)
	if p == nil {
		return false
	}
	delete(p.Derived, first)
	return true
}

// halve loses the last offset that was committed for a source, by a transaction whose outcome its client does not know, and leaves what was made.
func halve(h *history.History) bool {
	if h.Derive == nil {
		return false
	}
	for i := range h.Fetches {
		f := &h.Fetches[i]
		of := func(c *history.Commit) bool { return c.Group == f.Group && c.Partition == f.Partition }
		if f.Group != h.Derive.Group || f.Partition >= h.Derive.Sources || f.Outcome != history.OK || !h.Process(f.Process).Final {
			continue
		}
		end, before := f.Offset, history.NoOffset
		for j := range h.Commits {
			if c := &h.Commits[j]; of(c) && c.Outcome == history.OK && c.Offset < end {
				before = max(before, c.Offset)
			}
		}
		if p, _ := reader(h, true, func(p *history.Process, i int) bool {
			q := &p.Polls[i]
			return q.Partition == f.Partition && len(q.Values) > 0 && q.Offset < end && q.Offset+int64(len(q.Values)) > before
		}); p == nil {
			continue
		}
		for j := range h.Commits {
			if c := &h.Commits[j]; of(c) && c.Offset == end && c.Outcome == history.OK {
				c.Outcome, c.Completed = history.Unknown, history.Never
			}
		}
		f.Offset = before
		return true
	}
	return false
}

// lockTwice hands a run to somebody else in the same moment.
func lockTwice(h *history.History) bool {
	if h.Share == nil || !h.Share.Steady {
		return false
	}
	for _, p := range h.Processes {
		for _, t := range p.Takes {
			for _, q := range h.Processes {
				for i := range q.Takes {
					if o := q.Takes[i]; p != q && o.Joined < t.Time && t.Time < o.Time {
						t.Joined = o.Joined
						q.Takes = slices.Insert(q.Takes, i, t)
						return true
					}
				}
			}
		}
	}
	return false
}

func serveAgain(h *history.History) bool {
	if h.Share == nil {
		return false
	}
	for _, p := range h.Processes {
		for i := range p.Settles {
			s := &p.Settles[i]
			if s.Outcome != history.OK || s.Kind == history.Release {
				continue
			}
			for _, q := range h.Processes {
				if n := len(q.Takes); n > 0 && q.Takes[n-1].Joined > s.Completed+h.Share.Lease {
					again := q.Takes[n-1]
					again.Partition, again.Offset, again.Values = s.Partition, s.Offset, nil
					for _, t := range p.Takes {
						if t.Partition == s.Partition && t.Offset <= s.Offset && s.Offset < t.Next() {
							again.Values = t.Values[s.Offset-t.Offset:][:1]
						}
					}
					q.Takes = append(q.Takes, again)
					return len(again.Values) > 0
				}
			}
		}
	}
	return false
}

func startBack(h *history.History) bool {
	for i := len(h.Starts) - 1; i >= 0; i-- {
		if s := &h.Starts[i]; s.Outcome == history.OK && s.Offset > 0 {
			s.Offset = 0
			return true
		}
	}
	return false
}

func passOver(h *history.History) bool {
	if h.Share == nil {
		return false
	}
	var gone *history.Take
	for _, p := range h.Processes {
		for i := range p.Takes {
			if t := &p.Takes[i]; gone == nil && len(t.Values) > 0 {
				gone = &history.Take{Poll: history.Poll{Partition: t.Partition, Offset: t.Offset}}
			}
		}
	}
	if gone == nil {
		return false
	}
	for _, p := range h.Processes {
		for i := range p.Takes {
			t := &p.Takes[i]
			if k := gone.Offset - t.Offset; t.Partition == gone.Partition && k >= 0 && k < int64(len(t.Values)) {
				after := *t
				t.Values, after.Offset, after.Values = t.Values[:k], gone.Offset+1, t.Values[k+1:]
				p.Takes = append(p.Takes, after)
			}
		}
	}
	return true
}
