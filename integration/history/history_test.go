package history

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a client writes would be read as something else.
func TestWrittenIsRead(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, 3, "franz-go", "idempotent")
	w.Topic("t", 4, "dense")
	a, b, c, d := w.Send(0), w.Send(1), w.Send(2), w.Send(3)
	w.Sent(a, 17)
	w.NotSent(b, true, "MESSAGE_TOO_LARGE")
	w.NotSent(c, false, "timeout")
	w.Poll(1, 40, []Value{a, ValueOf(9, 8)})
	w.Seek(2, 5)
	w.Assign("g", 7, []int32{0, 1}, []int32{1})
	w.Revoke("g", 8, []int32{0, 1})
	x, y := w.Commit("g", 7, 1, 42), w.Commit("g", 7, 0, 18)
	w.Committed(x)
	w.NotCommitted(y, "ILLEGAL_GENERATION")
	z := w.Commit("g", 7, 2, 3)
	w.Dropped(z)
	w.Derive("g", 2)
	made := w.Derived(3, a)
	f, g := w.Fetch("g", 1), w.Fetch("g", 0)
	w.Fetched(f, 42)
	w.NotFetched(g, "timeout")
	w.Bad(3, 9, "byte 3")
	w.Final(1, 43)
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	h, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	p := h.Process(3)
	if h.Topic != "t" || h.Partitions != 4 || !h.Dense || p == nil || !p.Idempotent || p.Final || !p.Ended || p.Client != "franz-go" {
		t.Fatalf("the beginning is %+v %+v", h, p)
	}
	for v, want := range map[Value]Send{a: {Outcome: OK, Offset: 17}, b: {Outcome: Failed, Offset: NoOffset, Code: "MESSAGE_TOO_LARGE"}, c: {Outcome: Unknown, Offset: NoOffset, Code: "timeout"}, d: {Outcome: Unknown, Offset: NoOffset}} {
		s := h.Send(v)
		if s == nil || s.Outcome != want.Outcome || s.Offset != want.Offset || s.Code != want.Code || s.Partition != v.N() || (s.Completed == Never) != (want.Outcome == Unknown) || s.Completed < s.Invoked {
			t.Errorf("send %v is %+v", v, s)
		}
	}
	if len(p.Polls) != 1 || p.Polls[0].Partition != 1 || p.Polls[0].Offset != 40 || !slices.Equal(p.Polls[0].Values, []Value{a, ValueOf(9, 8)}) || p.Polls[0].Next() != 42 {
		t.Errorf("polls are %+v", p.Polls)
	}
	if len(p.Moves) != 3 || p.Moves[0].Kind != Seek || p.Moves[0].Offset != 5 || p.Moves[1].Generation != 7 || !slices.Equal(p.Moves[1].Owned, []int32{0, 1}) ||
		!slices.Equal(p.Moves[1].Partitions, []int32{1}) || p.Moves[2].Kind != Revoke || p.Moves[0].Seq <= p.Polls[0].Seq {
		t.Errorf("moves are %+v", p.Moves)
	}
	if h.Derive == nil || *h.Derive != (Derive{"g", 2}) || len(p.Derived) != 1 || p.Derived[made.N()] != a {
		t.Errorf("made of others are %+v, by %+v", p.Derived, h.Derive)
	}
	if len(h.Commits) != 3 || h.Commits[2].Outcome != Failed || h.Commits[0].Outcome != OK || h.Commits[0].Offset != 42 || h.Commits[1].Outcome != Unknown || h.Commits[1].Completed != Never {
		t.Errorf("commits are %+v", h.Commits)
	}
	if len(h.Fetches) != 2 || h.Fetches[0].Offset != 42 || h.Fetches[1].Outcome != Unknown {
		t.Errorf("fetches are %+v", h.Fetches)
	}
	if len(h.Bads) != 1 || len(p.Finals) != 1 || p.Finals[0] != (Final{1, 43}) {
		t.Errorf("bads %+v, finals %+v", h.Bads, p.Finals)
	}
}

// A send would be missing from a killed client's history though it had gone out.
func TestInvocationsAreOutAtOnce(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, 1, "c")
	w.Topic("t", 1)
	w.Poll(0, 0, nil)
	v := w.Send(0)
	h, err := Read(bytes.NewReader(file.Bytes()))
	if err != nil || h.Send(v) == nil || len(h.Process(1).Polls) != 1 {
		t.Errorf("of what was written before a kill there is %+v, %v", h, err)
	}
}

// Files of several processes, one compressed and one cut off by a kill, would not make one history.
func TestFilesAreJoined(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two.gz")
	if err := os.WriteFile(one, []byte("1 1 begin a idempotent\n1 2 topic t 1\n1 3 send s0 0\n1 4 ok s0 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("2 1 begin b final\n2 9 poll 0 0 1.0\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := ReadFiles(one, two)
	if err != nil {
		t.Fatal(err)
	}
	if s := h.Send(ValueOf(1, 0)); s == nil || s.Outcome != Unknown {
		t.Errorf("the line that was cut off counts: %+v", s)
	}
	if len(h.Processes) != 2 || len(h.Process(2).Polls) != 1 {
		t.Errorf("the second file is missing: %+v", h)
	}
}

// A history that is none would be judged all the same.
func TestBadHistories(t *testing.T) {
	for _, text := range []string{
		"", "1 1 begin a\n", "x 1 begin a\n", "1 1 topic t 1\n", "1 1 begin a\n1 2 topic t 0\n", "1 1 begin a\n1 1 begin a\n", "1 1 begin a proud\n",
		"1 1 begin a\n1 2 topic t 1\n1 3 send s1 0\n", "1 1 begin a\n1 2 topic t 1\n1 3 ok s0 0\n", "1 1 begin a\n1 2 topic t 1\n1 3 ok c0\n",
		"1 1 begin a\n1 2 topic t 1\n1 3 poll 0 0 7\n", "1 1 begin a\n1 2 topic t 1\n1 3 dance 0\n", "1 1 begin a\n1 2 topic t 1\n1 3 final 0\n",
		"1 1 begin a\n1 2 topic t 1\n1 3 poll 0 99999999999999999999 1.0\n", "1 1 begin a\n1 2 topic t 1\n1 3 assign g 1 0\n",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("taken for a history: %q", text)
		}
	}
}

// A record would pass for another, or a damaged one for whole.
func TestPayload(t *testing.T) {
	for _, v := range []Value{ValueOf(0, 0), ValueOf(12, 345), ValueOf(1<<31-1, 1<<31-1)} {
		for _, size := range []int{0, 1, 30, 1000} {
			b := Payload(v, size)
			if got, err := ParsePayload(b); err != nil || got != v || len(b) < size {
				t.Errorf("%v in %d bytes is read as %v, %v", v, size, got, err)
			}
			for _, i := range []int{0, len(b) / 2, len(b) - 1} {
				spoilt := bytes.Clone(b)
				spoilt[i] ^= 1
				if got, err := ParsePayload(spoilt); err == nil && got == v {
					t.Errorf("%v in %d bytes with a bit of byte %d turned is read as itself", v, size, i)
				}
			}
		}
	}
	for _, b := range []string{"", ":", "1:", "1.:", ".1:", "1.2", "-1.2:", "1.2:#", "99999999999.1:"} {
		if v, err := ParsePayload([]byte(b)); err == nil {
			t.Errorf("%q is read as %v", b, v)
		}
	}
}

// A file from outside would make the reader panic.
func FuzzRead(f *testing.F) {
	f.Add("1 1 begin a idempotent\n1 2 topic t 2 dense\n1 3 send s0 0\n1 4 ok s0 1\n1 5 poll 0 0 1.0 1.1\n1 6 commit c0 g 1 0 5\n1 7 unknown c0 X\n1 8 assign g 1 0,1 -\n1 9 final 0 3\n1 9 end\n")
	f.Add("1 1 begin a final\n1 2 fetch f0 g 0\n1 3 ok f0 -1\n1 4 seek 0 -1\n1 5 revoke g 1 0,1\n1 6 bad 0 3 x y\n")
	f.Fuzz(func(_ *testing.T, text string) {
		h, err := Read(strings.NewReader(text))
		if err == nil {
			_ = h.Ops()
		}
	})
}
