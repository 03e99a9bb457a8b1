package main

import (
	"strings"
	"testing"
)

// A failure would look like a success in the table, or what was run would be missing from it.
func TestRender(t *testing.T) {
	tables, err := render([]result{
		{Suite: "kgo", Version: "1.22.2", Date: "2026-11-26", Passed: 561, Failed: 2, Skipped: 3},
		{Suite: "B", Version: "1", Date: "2026-11-26", Features: map[string][2]int{"admin": {3, 1}, "produce": {8, 0}}},
		{Suite: "A", Version: "2", Date: "2026-11-25", Features: map[string][2]int{"quotas": {5, 0}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := replace("x\n<!-- suites: make compatibility -->\nold\n<!-- end of suites -->\ny", "suites", tables["suites"])
	if want := "| kgo | 1.22.2 | 561 | 2 | 3 | 2026-11-26 |\n<!-- end of suites -->\ny"; err != nil || !strings.HasSuffix(text, want) || strings.Contains(text, "old") {
		t.Errorf("suites: %v\n%s", err, text)
	}
	if want := "| A | 2 | | | | | | | | | | | | 5 | 2026-11-25 |\n| B | 1 | 8 | | | | | | | | | | **1 of 4 failed** | | 2026-11-26 |\n"; !strings.HasSuffix(tables["clients"], want) {
		t.Errorf("clients:\n%s", tables["clients"])
	}
	if _, err := render([]result{{Suite: "A", Features: map[string][2]int{"teleport": {1, 0}}}}); err == nil {
		t.Error("a feature without a column was left out in silence")
	}
	if _, err := replace("no marks", "suites", ""); err == nil {
		t.Error("a document without marks was taken for one that is current")
	}
}
