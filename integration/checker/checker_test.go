package checker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/integration/history"
)

// story is a hand-made history: lines without times, which are added in their order.
type story struct {
	title, text string
	violates    Invariant // "" when it holds
}

// parse reads a story's text.
func (s story) parse(t *testing.T) *history.History {
	t.Helper()
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(s.text), "\n") {
		process, rest, _ := strings.Cut(line, " ")
		fmt.Fprintf(&b, "%s %d %s\n", process, 1000*(i+1), rest)
	}
	h, err := history.Read(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func stories(t *testing.T) []story {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []story
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split("\n"+string(raw), "\n-- ")[1:] {
			head, text, _ := strings.Cut(part, "\n")
			s := story{title: head, text: text}
			if rest, ok := strings.CutPrefix(head, "violates: "); ok {
				name, _, _ := strings.Cut(rest, ":")
				s.violates = Invariant(name)
			}
			all = append(all, s)
		}
	}
	return all
}

// A broken promise would pass unseen, or a lawful history be blamed.
func TestStories(t *testing.T) {
	violated, held := map[Invariant]bool{}, 0
	for _, s := range stories(t) {
		t.Run(s.title, func(t *testing.T) {
			r := Check(s.parse(t), Options{})
			if s.violates == "" {
				held++
				if !r.Clean() {
					t.Fatalf("a lawful history is blamed: %v %v", r.Violations, r.Unfinished)
				}
				return
			}
			violated[s.violates] = true
			if r.Counts[s.violates] == 0 {
				t.Fatalf("%s is not found, only %v", s.violates, r.Violations)
			}
			for _, v := range r.Violations {
				if v.Invariant == s.violates && len(v.Evidence) == 0 && v.Invariant != TwoOwners && v.Invariant != Phantom && v.Invariant != Hole {
					t.Errorf("%v comes without evidence", v)
				}
			}
		})
	}
	for _, i := range Invariants {
		if !violated[i] {
			t.Errorf("no history violates %q", i)
		}
	}
	if held < len(Invariants) {
		t.Errorf("%d histories hold, fewer than there are invariants", held)
	}
}

// With clocks that do not compare, the order of two processes would be taken from them, or a process's own be forgotten.
func TestSeparateClocks(t *testing.T) {
	between := story{text: `1 begin a idempotent
1 topic t 1 dense
2 begin b idempotent
1 send s0 0
1 ok s0 1
2 send s0 0
2 ok s0 0
9 begin r final
9 poll 0 0 2.0 1.0
9 final 0 2`}
	if r := Check(between.parse(t), Options{SeparateClocks: true}); !r.Clean() {
		t.Errorf("blamed for the order of two clocks: %v", r.Violations)
	}
	within := story{text: `1 begin a idempotent
1 topic t 1 dense
1 send s0 0
1 ok s0 1
1 send s1 0
1 unknown s1 timeout
9 begin r final
9 poll 0 0 1.1 1.0
9 final 0 2`}
	if r := Check(within.parse(t), Options{SeparateClocks: true}); r.Counts[Cycle] == 0 {
		t.Errorf("a process's own order is forgotten: %v", r.Violations)
	}
}

// A verdict on nothing would look like a good one.
func TestNothingIsNotClean(t *testing.T) {
	s := story{text: "1 begin a\n1 topic t 2 dense"}
	if r := Check(s.parse(t), Options{}); r.Clean() || len(r.Unfinished) != 2 {
		t.Errorf("an empty history is clean: %+v", r)
	}
	unasked := story{text: `1 begin p idempotent
1 topic t 2
1 derive g 1
1 send s0 0
1 ok s0 0
3 begin r final
3 poll 0 0 1.0
3 final 0 1
3 final 1 0`}
	if r := Check(unasked.parse(t), Options{}); r.Clean() || len(r.Counts) > 0 {
		t.Errorf("what a group has committed in the end was not asked for, and the history is clean, or blamed: %+v", r)
	}
}
