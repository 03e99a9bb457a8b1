// Results makes the tables of docs/compatibility.md from what integration/scripts/interop has said of its runs: a file a client or
// suite, in this directory (make compatibility).
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:generate go run .

const document = "../../../docs/compatibility.md"

// result is what came of one suite, or of one of integration/interop/clients, whose features are given.
type result struct {
	Suite    string            `json:"suite"`
	Version  string            `json:"version"`
	Date     string            `json:"date"`
	Passed   int               `json:"passed"`
	Failed   int               `json:"failed"`
	Skipped  int               `json:"skipped"`
	Features map[string][2]int `json:"features"` // passed, failed
}

// columns are the features in the order in which they are shown; one that is not here is an error.
var columns = []string{"produce", "compression", "idempotence", "consume", "classic groups", "cooperative groups", "consumer groups", "share groups", "streams groups", "transactions", "admin", "quotas"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "results:", err)
		os.Exit(1)
	}
}

func run() error {
	files, err := filepath.Glob("*.json")
	if err != nil {
		return err
	}
	var results []result
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var r result
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		results = append(results, r)
	}
	tables, err := render(results)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text := string(old)
	for name, table := range tables {
		if text, err = replace(text, name, table); err != nil {
			return err
		}
	}
	return os.WriteFile(document, []byte(text), 0o644)
}

// replace puts table between the marks of that name.
func replace(text, name, table string) (string, error) {
	begin, end := "<!-- "+name+": make compatibility -->\n", "<!-- end of "+name+" -->"
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("%s has no %q followed by %q", document, begin, end)
	}
	return before + begin + table + end + after, nil
}

// render gives the table of clients, by what the programs checked, and that of suites.
func render(results []result) (map[string]string, error) {
	slices.SortFunc(results, func(a, b result) int { return cmp.Or(cmp.Compare(a.Suite, b.Suite), cmp.Compare(a.Version, b.Version)) })
	var clients, suites strings.Builder
	clients.WriteString("| client | version | " + strings.Join(columns, " | ") + " | run |\n" + strings.Repeat("|---", len(columns)+3) + "|\n")
	suites.WriteString("| suite | version | passed | failed | skipped | run |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		if len(r.Features) == 0 {
			fmt.Fprintf(&suites, "| %s | %s | %d | %d | %d | %s |\n", r.Suite, r.Version, r.Passed, r.Failed, r.Skipped, r.Date)
			continue
		}
		fmt.Fprintf(&clients, "| %s | %s |", r.Suite, r.Version)
		seen := 0
		for _, name := range columns {
			f, has := r.Features[name]
			switch {
			case !has:
				clients.WriteString(" |")
				continue
			case f[1] > 0:
				fmt.Fprintf(&clients, " **%d of %d failed** |", f[1], f[0]+f[1])
			default:
				fmt.Fprintf(&clients, " %d |", f[0])
			}
			seen++
		}
		if seen != len(r.Features) {
			return nil, fmt.Errorf("%s %s has features that have no column: %v", r.Suite, r.Version, r.Features)
		}
		fmt.Fprintf(&clients, " %s |\n", r.Date)
	}
	return map[string]string{"clients": clients.String(), "suites": suites.String()}, nil
}
