package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A deliberate bug would be in the product's sources, and no run would ever show that it is found; or a run would look for one that there is not.
func TestEveryBugIsTried(t *testing.T) {
	var there, tried []string
	for _, depth := range []string{"*", "*/*"} {
		files, err := filepath.Glob(filepath.Join("..", "..", depth, "*", "bug_*_on.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			there = append(there, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "bug_"), "_on.go"))
		}
	}
	for _, b := range bugs {
		tried = append(tried, b.name)
	}
	slices.Sort(there)
	slices.Sort(tried)
	if there = slices.Compact(there); !slices.Equal(there, tried) {
		t.Errorf("bugs that can be compiled in: %v\nbugs that `faults bugs` tries: %v", there, tried)
	}
}
