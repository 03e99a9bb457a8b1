package txn

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	p0 = kafka.Partition{Topic: kafka.TopicID{1}, Index: 0}
	p1 = kafka.Partition{Topic: kafka.TopicID{1}, Index: 1}
)

func record(state command.TxnState, change ...func(*Record)) *Record {
	r := &Record{ID: "t", Revision: 5, Producer: 7, Epoch: 3, LastProducer: kafka.NoProducer, LastEpoch: -1, Next: kafka.NoProducer, State: state, TimeoutMs: 1000, ChangedMs: 10}
	if state == command.TxnOngoing || state.Decided() {
		r.Partitions, r.StartedMs = []kafka.Partition{p0}, 10
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func epoch(e, last kafka.ProducerEpoch) func(*Record) {
	return func(r *Record) {
		r.Epoch, r.LastEpoch = e, last
		if last >= 0 {
			r.LastProducer = r.Producer
		}
	}
}

// A client would get an identity that another works under, or be refused one that is its own.
func TestInit(t *testing.T) {
	const fresh = 99
	for _, c := range []struct {
		name     string
		old      *Record
		expected *Identity
		state    command.TxnState // of next; with none: no next
		none     bool
		me       Identity
		last     kafka.ProducerEpoch // of next
		err      error
	}{
		{name: "new", me: Identity{fresh, 0}, last: -1},
		{name: "new, with an identity that nobody knows", expected: &Identity{1, 1}, me: Identity{fresh, 0}, last: -1},
		{name: "empty", old: record(command.TxnEmpty), me: Identity{7, 4}, last: -1},
		{name: "complete", old: record(command.TxnCompleteCommit), me: Identity{7, 4}, last: -1},
		{name: "after an error", old: record(command.TxnCompleteAbort), expected: &Identity{7, 3}, me: Identity{7, 4}, last: 3},
		{name: "the answer was lost", old: record(command.TxnEmpty, epoch(3, 2)), expected: &Identity{7, 2}, me: Identity{7, 3}, last: 2},
		{name: "zombie", old: record(command.TxnEmpty, epoch(3, 2)), expected: &Identity{7, 1}, none: true, err: ErrFenced},
		{name: "another producer", old: record(command.TxnEmpty), expected: &Identity{8, 3}, none: true, err: ErrFenced},
		{name: "being committed", old: record(command.TxnPrepareCommit), none: true, err: ErrConcurrent},
		{name: "being aborted", old: record(command.TxnPrepareAbort), none: true, err: ErrConcurrent},
		{name: "under way", old: record(command.TxnOngoing), state: command.TxnPrepareAbort, last: -1, err: ErrConcurrent},
		{name: "under way, and empty", old: record(command.TxnOngoing, func(r *Record) { r.Partitions = nil }), state: command.TxnCompleteAbort, last: -1, err: ErrConcurrent},
		{name: "under way, asked by its client", old: record(command.TxnOngoing), expected: &Identity{7, 3}, state: command.TxnPrepareAbort, last: 3, err: ErrConcurrent},
		{name: "its client's is aborted", old: record(command.TxnCompleteAbort, epoch(4, 3)), expected: &Identity{7, 3}, me: Identity{7, 4}, last: 3},
		{name: "its client's is aborted, used up", old: record(command.TxnCompleteAbort, epoch(math.MaxInt16, lastEpoch)), expected: &Identity{7, lastEpoch}, me: Identity{fresh, 0}, last: lastEpoch},
		{name: "under way, asked by a zombie", old: record(command.TxnOngoing), expected: &Identity{7, 2}, none: true, err: ErrFenced},
		{name: "used up", old: record(command.TxnEmpty, epoch(lastEpoch, -1)), me: Identity{fresh, 0}, last: -1},
		{name: "used up by fencing", old: record(command.TxnCompleteAbort, epoch(math.MaxInt16, -1)), me: Identity{fresh, 0}, last: -1},
		{name: "used up, after an error", old: record(command.TxnEmpty, epoch(lastEpoch, -1)), expected: &Identity{7, lastEpoch}, me: Identity{fresh, 0}, last: lastEpoch},
		{name: "used up, the answer was lost", old: record(command.TxnEmpty, epoch(0, lastEpoch), func(r *Record) { r.LastProducer, r.Producer = 7, fresh }), expected: &Identity{7, lastEpoch}, me: Identity{fresh, 0}, last: lastEpoch},
	} {
		next, me, err := Init(c.old, InitRequest{ID: "t", TimeoutMs: 2000, Expected: c.expected, Fresh: fresh, NowMs: 20})
		if !errors.Is(err, c.err) || err == nil && me != c.me || (next == nil) != c.none {
			t.Errorf("%s: %+v, %+v, %v", c.name, next, me, err)
			continue
		}
		if next == nil {
			continue
		}
		if next.State != c.state || next.LastEpoch != c.last || err == nil && (next.Producer != me.Producer || next.Epoch != me.Epoch || next.TimeoutMs != 2000) {
			t.Errorf("%s: next %+v", c.name, next)
		}
		if c.old != nil && (next.Revision != 6 || err != nil && next.Epoch != c.old.Epoch+1) {
			t.Errorf("%s: next %+v after %+v", c.name, next, c.old)
		}
	}
}

// A transaction would take up what a zombie writes, or lose what was added.
func TestEnlist(t *testing.T) {
	me := Identity{7, 3}
	for _, c := range []struct {
		name    string
		old     *Record
		who     Identity
		add     []kafka.Partition
		groups  []string
		changed bool
		err     error
	}{
		{name: "unknown id", who: me, err: ErrUnknownProducer},
		{name: "another producer", old: record(command.TxnEmpty), who: Identity{8, 3}, err: ErrUnknownProducer},
		{name: "older epoch", old: record(command.TxnEmpty), who: Identity{7, 2}, err: ErrFenced},
		{name: "newer epoch", old: record(command.TxnEmpty), who: Identity{7, 4}, err: ErrFenced},
		{name: "begins", old: record(command.TxnEmpty), who: me, add: []kafka.Partition{p1, p0}, changed: true},
		{name: "begins after another", old: record(command.TxnCompleteAbort), who: me, groups: []string{"g"}, changed: true},
		{name: "has it", old: record(command.TxnOngoing), who: me, add: []kafka.Partition{p0}},
		{name: "one more", old: record(command.TxnOngoing), who: me, add: []kafka.Partition{p0, p1}, changed: true},
		{name: "being ended, epochs used up", old: record(command.TxnPrepareCommit, epoch(math.MaxInt16, lastEpoch), func(r *Record) { r.Next = 99 }), who: Identity{99, 0}, add: []kafka.Partition{p0}, err: ErrConcurrent},
		{name: "being ended", old: record(command.TxnPrepareCommit), who: me, add: []kafka.Partition{p0}, err: ErrConcurrent},
	} {
		next, err := Enlist(c.old, EnlistRequest{Identity: c.who, Partitions: c.add, Groups: c.groups, Version: 2, NowMs: 20})
		if !errors.Is(err, c.err) || (next != nil) != c.changed {
			t.Errorf("%s: %+v, %v", c.name, next, err)
			continue
		}
		if next == nil {
			continue
		}
		if next.State != command.TxnOngoing || next.StartedMs == 0 || len(next.Groups) != len(c.groups) || next.Epoch != 3 {
			t.Errorf("%s: %+v", c.name, next)
		}
		for _, p := range c.add {
			if err := Verify(next, me, p); err != nil {
				t.Errorf("%s: %v is not verified: %v", c.name, p, err)
			}
		}
		if again, err := Enlist(next, EnlistRequest{Identity: me, Partitions: c.add, Groups: c.groups, Version: 2}); again != nil || err != nil {
			t.Errorf("%s: added again: %+v, %v", c.name, again, err)
		}
	}
	for _, c := range []struct {
		r   *Record
		p   kafka.Partition
		err error
	}{
		{record(command.TxnOngoing), p0, nil}, {record(command.TxnOngoing), p1, ErrNotEnlisted}, {record(command.TxnCompleteCommit), p0, ErrNotEnlisted},
		{record(command.TxnPrepareAbort), p0, ErrConcurrent}, {record(command.TxnOngoing, epoch(4, -1)), p0, ErrFenced}, {nil, p0, ErrUnknownProducer},
	} {
		if err := Verify(c.r, me, c.p); !errors.Is(err, c.err) {
			t.Errorf("verify %v in %+v: %v, want %v", c.p, c.r, err, c.err)
		}
	}
}

// A transaction would take more than can be ended: its partitions would have an undecided record for ever, or each byte that a client adds would be
// megabytes in every broker's log.
func TestWhatIsTakenCanBeEnded(t *testing.T) {
	r, me := record(command.TxnOngoing, epoch(23, -1)), Identity{7, 23}
	for i, length := 0, 32_000; length > 0; i++ { // to the last byte
		g := strings.Repeat("g", max(length-6, 0)) + fmt.Sprintf("%0*d", min(length, 6), i)
		next, err := Enlist(r, EnlistRequest{Identity: me, Groups: []string{g[:length]}, Version: 2, NowMs: 20})
		switch {
		case errors.Is(err, ErrTooLarge):
			length /= 2
		case err != nil:
			t.Fatal(err)
		case next == nil:
			length-- // there are no more names of that length
		default:
			r = next
		}
		if i > 10_000 {
			t.Fatal("no end to what it takes")
		}
	}
	size := func(r *Record) int {
		b, err := command.EncodeBody(command.PutTransaction{Transaction: *r, Coordinator: math.MaxInt32})
		if err != nil {
			t.Error(err)
		}
		return b.Len()
	}
	if n := size(r); n < maxBytes*9/10 || n > maxBytes*11/10 {
		t.Errorf("%d bytes, bound to %d", n, maxBytes)
	}
	for _, bump := range []bool{false, true} {
		next, _, err := End(r, EndRequest{Identity: me, Commit: true, Bump: bump, Fresh: math.MaxInt64, NowMs: math.MaxInt64})
		if err != nil {
			t.Fatal(err)
		}
		size(next)
		size(Complete(next, math.MaxInt64))
	}
	size(Fence(r, math.MaxInt64))
	many := EnlistRequest{Identity: me, Version: 2, NowMs: 20}
	for i := range int32(100_000) {
		many.Partitions = append(many.Partitions, kafka.Partition{Topic: kafka.TopicID{2}, Index: i})
	}
	if next, err := Enlist(record(command.TxnEmpty, epoch(23, -1)), many); !errors.Is(err, ErrTooLarge) || next != nil {
		t.Errorf("100,000 partitions: %v", err)
	}
	many.Partitions = many.Partitions[:30_000]
	next, err := Enlist(record(command.TxnEmpty, epoch(23, -1)), many)
	if err != nil || size(next) > maxBytes {
		t.Errorf("30,000 partitions: %v", err)
	}
}

// A transaction would be ended twice, against its client's will, or by another client. The cases of version 2 are KIP-890's table.
func TestEnd(t *testing.T) {
	const fresh = 99
	const commit, abort = true, false
	cc, ca := command.TxnCompleteCommit, command.TxnCompleteAbort
	for _, c := range []struct {
		name   string
		bump   bool
		old    *Record
		who    Identity
		commit bool
		next   command.TxnState // 0: no next
		me     Identity
		err    error
	}{
		{name: "unknown id", who: Identity{7, 3}, err: ErrUnknownProducer},
		{name: "commit", old: record(command.TxnOngoing), who: Identity{7, 3}, commit: commit, next: command.TxnPrepareCommit, me: Identity{7, 3}},
		{name: "abort", old: record(command.TxnOngoing), who: Identity{7, 3}, commit: abort, next: command.TxnPrepareAbort, me: Identity{7, 3}},
		{name: "zombie", old: record(command.TxnOngoing), who: Identity{7, 2}, err: ErrFenced},
		{name: "other producer", old: record(command.TxnOngoing), who: Identity{6, 3}, err: ErrUnknownProducer},
		{name: "empty", old: record(command.TxnEmpty), who: Identity{7, 3}, err: ErrState},
		{name: "committed, again", old: record(cc), who: Identity{7, 3}, commit: commit, me: Identity{7, 3}},
		{name: "committed, now abort", old: record(cc), who: Identity{7, 3}, commit: abort, err: ErrState},
		{name: "aborted, again", old: record(ca), who: Identity{7, 3}, commit: abort, me: Identity{7, 3}},
		{name: "aborted, now commit", old: record(ca), who: Identity{7, 3}, commit: commit, err: ErrState},
		{name: "being committed, again", old: record(command.TxnPrepareCommit), who: Identity{7, 3}, commit: commit, err: ErrConcurrent},
		{name: "being committed, now abort", old: record(command.TxnPrepareCommit), who: Identity{7, 3}, commit: abort, err: ErrState},

		{name: "v2 unknown id", bump: true, who: Identity{7, 3}, err: ErrUnknownProducer},
		{name: "v2 commit", bump: true, old: record(command.TxnOngoing), who: Identity{7, 3}, commit: commit, next: command.TxnPrepareCommit, me: Identity{7, 4}},
		{name: "v2 abort", bump: true, old: record(command.TxnOngoing), who: Identity{7, 3}, commit: abort, next: command.TxnPrepareAbort, me: Identity{7, 4}},
		{name: "v2 commit of groups only", bump: true, old: record(command.TxnOngoing, func(r *Record) { r.Partitions, r.Groups = nil, []string{"g"} }), who: Identity{7, 3}, commit: commit, next: cc, me: Identity{7, 4}},
		{name: "v2 late, in the next transaction", bump: true, old: record(command.TxnOngoing, epoch(4, 3)), who: Identity{7, 3}, commit: commit, err: ErrFenced},
		{name: "v2 being committed, again", bump: true, old: record(command.TxnPrepareCommit, epoch(4, 3)), who: Identity{7, 3}, commit: commit, err: ErrConcurrent},
		{name: "v2 being committed, now abort", bump: true, old: record(command.TxnPrepareCommit, epoch(4, 3)), who: Identity{7, 3}, commit: abort, err: ErrConcurrent},
		{name: "v2 being committed, with the next epoch", bump: true, old: record(command.TxnPrepareCommit, epoch(4, 3)), who: Identity{7, 4}, commit: commit, err: ErrFenced},
		{name: "v2 being committed, and the next is aborted", bump: true, old: record(command.TxnPrepareCommit, epoch(4, 3)), who: Identity{7, 4}, commit: abort, err: ErrConcurrent},
		{name: "v2 being committed, epochs used up, and the next is aborted", bump: true, old: record(command.TxnPrepareCommit, epoch(math.MaxInt16, lastEpoch), func(r *Record) { r.Next = fresh }), who: Identity{fresh, 0}, commit: abort, err: ErrConcurrent},
		{name: "v2 empty abort retry", bump: true, old: record(command.TxnEmpty, epoch(4, 3)), who: Identity{7, 3}, commit: abort, err: ErrFenced},
		{name: "v2 empty abort", bump: true, old: record(command.TxnEmpty), who: Identity{7, 3}, commit: abort, next: ca, me: Identity{7, 4}},
		{name: "v2 empty commit retry", bump: true, old: record(command.TxnEmpty, epoch(4, 3)), who: Identity{7, 3}, commit: commit, err: ErrFenced},
		{name: "v2 empty commit", bump: true, old: record(command.TxnEmpty), who: Identity{7, 3}, commit: commit, err: ErrState},
		{name: "v2 aborted abort retry", bump: true, old: record(ca, epoch(4, 3)), who: Identity{7, 3}, commit: abort, me: Identity{7, 4}},
		{name: "v2 aborted abort", bump: true, old: record(ca, epoch(4, 3)), who: Identity{7, 4}, commit: abort, next: ca, me: Identity{7, 5}},
		{name: "v2 aborted commit retry", bump: true, old: record(ca, epoch(4, 3)), who: Identity{7, 3}, commit: commit, err: ErrState},
		{name: "v2 aborted commit", bump: true, old: record(ca, epoch(4, 3)), who: Identity{7, 4}, commit: commit, err: ErrState},
		{name: "v2 committed abort retry", bump: true, old: record(cc, epoch(4, 3)), who: Identity{7, 3}, commit: abort, err: ErrState},
		{name: "v2 committed abort", bump: true, old: record(cc, epoch(4, 3)), who: Identity{7, 4}, commit: abort, next: ca, me: Identity{7, 5}},
		{name: "v2 committed commit retry", bump: true, old: record(cc, epoch(4, 3)), who: Identity{7, 3}, commit: commit, me: Identity{7, 4}},
		{name: "v2 committed commit", bump: true, old: record(cc, epoch(4, 3)), who: Identity{7, 4}, commit: commit, err: ErrState},
		{name: "v2 after its transaction timed out", bump: true, old: record(ca, epoch(4, -1)), who: Identity{7, 3}, commit: commit, err: ErrFenced},
		{name: "v2 abort after its transaction timed out", bump: true, old: record(ca, epoch(4, -1)), who: Identity{7, 3}, commit: abort, err: ErrFenced},
		{name: "v2 epochs used up", bump: true, old: record(command.TxnOngoing, epoch(lastEpoch, lastEpoch-1)), who: Identity{7, lastEpoch}, commit: commit, next: command.TxnPrepareCommit, me: Identity{fresh, 0}},
		{name: "v2 epochs used up, again", bump: true, old: record(cc, epoch(0, lastEpoch), func(r *Record) { r.LastProducer, r.Producer = 7, fresh }), who: Identity{7, lastEpoch}, commit: commit, me: Identity{fresh, 0}},
	} {
		next, me, err := End(c.old, EndRequest{Identity: c.who, Commit: c.commit, Bump: c.bump, Fresh: fresh, NowMs: 20})
		if !errors.Is(err, c.err) || err == nil && me != c.me || (next == nil) != (c.next == 0) || next != nil && next.State != c.next {
			t.Errorf("%s: %+v, %+v, %v", c.name, next, me, err)
		}
		if next != nil && next.State.Decided() {
			if err := VerifyMarker(next, Identity{7, next.Epoch}, c.commit); err != nil || c.bump && next.Epoch != c.who.Epoch+1 {
				t.Errorf("%s: marker under epoch %d: %v", c.name, next.Epoch, err)
			}
			if err := VerifyMarker(next, Identity{7, next.Epoch}, !c.commit); err == nil {
				t.Errorf("%s: both markers may be written", c.name)
			}
			done := Complete(next, 30)
			if done.Producer != me.Producer || c.bump && done.Epoch != me.Epoch || len(done.Partitions) > 0 || VerifyMarker(done, Identity{7, next.Epoch}, c.commit) == nil {
				t.Errorf("%s: completed: %+v", c.name, done)
			}
		}
	}
}

// Whatever clients ask, and whenever coordinators end transactions by themselves: a decision would be taken back, epochs would go
// back, a late batch of one transaction would be verified in the next, or a retry would do something again.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r *Record
		fresh := kafka.ProducerID(100)
		bump := rapid.Bool().Draw(t, "bump")
		seen := map[kafka.ProducerID]kafka.ProducerEpoch{}
		clients := []Identity{nobody, nobody}
		now := int64(0)
		keep := func(next *Record) {
			if next == nil {
				return
			}
			if r != nil {
				if next.Revision != r.Revision+1 {
					t.Fatalf("revision %d after %d", next.Revision, r.Revision)
				}
				if r.State.Decided() && (next.State != r.State+2 || next.Producer == r.Producer && next.Epoch != r.Epoch) {
					t.Fatalf("%+v after the decision %+v", next, r)
				}
			}
			if e, ok := seen[next.Producer]; ok && next.Epoch < e {
				t.Fatalf("epoch of producer %d goes back from %d to %d", next.Producer, e, next.Epoch)
			}
			seen[next.Producer] = next.Epoch
			if next.State.Decided() != (next.State != command.TxnOngoing && len(next.Partitions) > 0) {
				t.Fatalf("markers and state disagree: %+v", next)
			}
			r = next
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now++
			fresh++
			i := rapid.IntRange(0, 1).Draw(t, "client")
			me := clients[i]
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				req := InitRequest{ID: "t", TimeoutMs: 1000, Fresh: fresh, NowMs: now}
				if me != nobody && rapid.Bool().Draw(t, "go on") {
					req.Expected = &me
				}
				next, id, err := Init(r, req)
				keep(next)
				if err == nil {
					clients[i] = id
				}
			case 1, 2:
				next, err := Enlist(r, EnlistRequest{Identity: me, Partitions: []kafka.Partition{p0}, Version: 1, NowMs: now})
				if err == nil && i == 1 && clients[0] == me && me != nobody {
					t.Fatal("two clients have one identity")
				}
				keep(next)
			case 3, 4:
				req := EndRequest{Identity: me, Commit: rapid.Bool().Draw(t, "commit"), Bump: bump, Fresh: fresh, NowMs: now}
				next, id, err := End(r, req)
				keep(next)
				if err == nil {
					if again, id2, err := End(r, req); again != nil || err == nil && id2 != id {
						t.Fatalf("the retry gets %+v, %+v, %v after %+v", again, id2, err, id)
					}
					if bump && Verify(r, me, p0) == nil {
						t.Fatal("a late batch of the ended transaction is verified")
					}
					if bump && rapid.Bool().Draw(t, "answer arrives") {
						clients[i] = id
					}
				}
			case 5:
				if r != nil && r.State.Decided() {
					keep(Complete(r, now))
				}
			case 6:
				if r != nil && r.State == command.TxnOngoing {
					keep(Fence(r, now))
					if Verify(r, me, p0) == nil {
						t.Fatal("a batch of a transaction that timed out is verified")
					}
				}
			}
		}
	})
}

// A transaction under way would never time out, or an idle id never be forgotten, or one that is in use.
func TestTime(t *testing.T) {
	r := record(command.TxnOngoing)
	if TimedOut(r, 1009) || !TimedOut(r, 1010) || TimedOut(record(command.TxnPrepareAbort), 1<<40) {
		t.Error("timeouts")
	}
	if Expired(r, 1<<40, 5) || Expired(record(command.TxnPrepareCommit), 1<<40, 5) || Expired(record(command.TxnEmpty), 14, 5) || !Expired(record(command.TxnCompleteCommit), 15, 5) {
		t.Error("expiry")
	}
}
