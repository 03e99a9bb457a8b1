package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/qanat-io/qanat/integration/nemesis"
)

// A matrix with a time would leave cells out however long it lasts, or a seed would not bring its order back.
func TestCells(t *testing.T) {
	first := func(s settings, n int) (names []string) {
		for i, c := range s.cells(nemesis.All) {
			if i == n {
				break
			}
			names = append(names, c.workload+" "+c.name)
		}
		return names
	}
	s := settings{workloads: "franz-go,java", grouped: true}
	all := first(s, 1000)
	if want := 2 * (len(nemesis.Groups(nemesis.All)) + 1); len(all) != want {
		t.Fatalf("%d cells, not %d: %v", len(all), want, all)
	}
	s.total, s.seed = time.Minute, 7
	drawn := first(s, 2*len(all))
	for _, round := range [][]string{drawn[:len(all)], drawn[len(all):]} {
		seen := map[string]bool{}
		for _, name := range round {
			seen[name] = true
		}
		if len(seen) != len(all) {
			t.Errorf("a round has %d of %d cells: %v", len(seen), len(all), round)
		}
	}
	if again := first(s, 2*len(all)); !reflect.DeepEqual(drawn, again) {
		t.Errorf("one seed draws two orders:\n%v\n%v", drawn, again)
	}
	s.seed = 8
	if other := first(s, 2*len(all)); reflect.DeepEqual(drawn, other) {
		t.Error("two seeds draw one order")
	}
}

// A deliberate bug would be tried under faults that there are not.
func TestBugs(t *testing.T) {
	for _, b := range bugs {
		s := settings{faults: b.faults}
		if faults, err := s.chosen(); err != nil || len(faults) == 0 && b.faults != "none" {
			t.Errorf("%s: %v, %v", b.name, faults, err)
		}
	}
}

// Who names one fault would get those whose names begin so, too; or who names what several begin with would not get all.
func TestChosen(t *testing.T) {
	for names, want := range map[string]int{"cut off one": 1, "cut off one,kill -9 all": 2, "cut off": 3, "none": 0} {
		got, err := (&settings{faults: names}).chosen()
		if err != nil || len(got) != want {
			t.Errorf("%q: %d faults, %v; want %d", names, len(got), err, want)
		}
	}
	if _, err := (&settings{faults: "no such"}).chosen(); err == nil {
		t.Error("a fault that there is not")
	}
}
