package image

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What a leader that was replaced, or that decided on a state which never came to be, says of a share would count; or a share would be of a group
// that is none, would go back, or would outlive its group or its topic.
func TestSharesCompareAndSet(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 2))
	refused := func(want error, c command.Command) {
		t.Helper()
		if _, _, err := w.apply(command.Envelope{}, c); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", c, err, want)
		}
	}
	change := command.ChangeShare{Group: "s", Partition: part(1, 0), Start: 10}
	refused(ErrUnknownGroup, change)
	w.do(command.CommitOffsets{Group: "s", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 1}}})
	refused(ErrUnknownGroup, change)
	w.do(command.ChangeGroup{Group: "s", Type: ShareGroup, Put: []command.GroupPart{{Key: "g"}}})
	version := func(c command.ChangeShare) uint64 {
		t.Helper()
		r, _, err := w.apply(command.Envelope{}, c)
		if err != nil {
			t.Fatal(err)
		}
		return r.(uint64)
	}
	first := version(change)
	refused(ErrShareChanged, change)
	change.Base, change.Start, change.Put = first, 12, []command.ShareRun{{First: 13, Next: 15, State: command.ShareAcknowledged}}
	second := version(change)
	if s, _ := w.m.Share("s", part(1, 0)); s == nil || second <= first || s.Version != second || s.Start != 12 || len(s.Runs) != 1 {
		t.Fatalf("%+v at %d after %d", s, second, first)
	}
	change.Base = second
	for name, c := range map[string]func(*command.ChangeShare){
		"back":        func(c *command.ChangeShare) { c.Start = 11 },
		"below start": func(c *command.ChangeShare) { c.Put[0].First = 11 },
		"empty run":   func(c *command.ChangeShare) { c.Put[0].Next = 13 },
		"no state":    func(c *command.ChangeShare) { c.Put[0].State = 1 },
		"overlapping": func(c *command.ChangeShare) { c.Put = append(c.Put, c.Put[0]) },
	} {
		bad := change
		bad.Put = append([]command.ShareRun{}, change.Put...)
		c(&bad)
		if _, _, err := w.apply(command.Envelope{}, bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	change.LeaderEpoch = 1
	refused(ErrStaleEpoch, change)
	change.LeaderEpoch, change.Partition = 0, part(1, 7)
	refused(ErrUnknownPartition, change)

	change.Partition = part(1, 0)
	w.do(command.ResetShares{Group: "s", Starts: []command.ShareStart{{Partition: part(1, 0), Start: 3}, {Partition: part(1, 1), Start: 4}, {Partition: part(2, 0)}}})
	refused(ErrShareChanged, change)
	if s, _ := w.m.Share("s", part(1, 0)); s == nil || s.Start != 3 || s.Runs != nil {
		t.Errorf("after a reset: %+v", s)
	}
	w.do(command.ResetShares{Group: "s", Forget: []kafka.TopicID{id(1)}})
	count := func() (n int) { w.m.Shares("s", func(*Share) bool { n++; return true }); return n }
	if n := count(); n != 0 {
		t.Errorf("%d shares of a topic that was forgotten", n)
	}
	change.Base = 0
	version(change)
	w.do(command.DeleteTopic{ID: id(1)})
	if n := count(); n != 0 {
		t.Errorf("%d shares of a topic that was deleted", n)
	}
	w.do(topic(3, "b", 1))
	change.Partition = part(3, 0)
	version(change)
	w.do(command.DeleteGroup{Group: "s"})
	w.do(command.ChangeGroup{Group: "s", Type: ShareGroup, Put: []command.GroupPart{{Key: "g"}}})
	if n := count(); n != 0 {
		t.Errorf("%d shares of a group that was deleted", n)
	}
}

// A share would hold of an offset another state than what was said of it last.
func TestOverlayIsLastSaid(t *testing.T) {
	const end = 12
	rapid.Check(t, func(rt *rapid.T) {
		var runs []command.ShareRun
		said := map[kafka.Offset]command.ShareRun{}
		start := kafka.Offset(0)
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			start = kafka.Offset(rapid.Int64Range(int64(start), end).Draw(rt, "start"))
			var put []command.ShareRun
			for at := start; at < end; at++ {
				if !rapid.Bool().Draw(rt, "say") {
					continue
				}
				r := command.ShareRun{First: at, Next: at + 1, State: command.ShareState(2 * rapid.IntRange(0, 2).Draw(rt, "state")), Deliveries: int16(rapid.IntRange(0, 1).Draw(rt, "deliveries"))}
				said[at] = r
				if n := len(put); n > 0 && put[n-1].Next == at && put[n-1].State == r.State && put[n-1].Deliveries == r.Deliveries {
					put[n-1].Next++
				} else {
					put = append(put, r)
				}
			}
			before := append([]command.ShareRun{}, runs...)
			old := runs
			runs = overlay(runs, start, put)
			if err := checkRuns(start, runs); err != nil {
				rt.Fatalf("%v: %+v", err, runs)
			}
			for i := range old {
				if old[i] != before[i] {
					rt.Fatalf("the old runs were changed: %+v, were %+v", old, before)
				}
			}
			got := map[kafka.Offset]command.ShareRun{}
			for _, r := range runs {
				for at := r.First; at < r.Next; at++ {
					got[at] = command.ShareRun{First: at, Next: at + 1, State: r.State, Deliveries: r.Deliveries}
				}
			}
			for at := kafka.Offset(0); at < end; at++ {
				want, ok := said[at]
				if ok = ok && at >= start && (want.State != command.ShareAvailable || want.Deliveries > 0); ok != (got[at] != command.ShareRun{}) || ok && got[at] != want {
					rt.Fatalf("offset %d is %+v, said was %+v: %+v", at, got[at], want, runs)
				}
			}
		}
	})
}
