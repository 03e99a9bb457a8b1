package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/qanat-io/qanat/integration/checker"
	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/nemesis"
)

// finding is one broken promise in words.
type finding struct {
	What     string
	Evidence []string `json:",omitempty"`
}

// result is what a run has shown; result.json holds it.
type result struct {
	System, Workload string
	Nodes            int
	Group            string `json:",omitempty"` // of faults, when they are all of one
	Faults           []string
	NotTried         map[string]string `json:",omitempty"`
	Seed             uint64
	Seconds          int
	Dir              string
	Stats            checker.Stats
	Counts           map[string]int `json:",omitempty"` // of what was found
	Found            []finding      `json:",omitempty"`
	Unfinished       []string       `json:",omitempty"`
	Trouble          string         `json:",omitempty"` // the system did not come up, or not come to an end
	Died             []string       `json:",omitempty"`
	ClientsEnded     []string       `json:",omitempty"`
	Probed           []string       // what probes looked at
	MendedSeconds    []float64      `json:",omitempty"`
	// Excused says why what was found is known of the system, and no verdict on the run.
	Excused string `json:",omitempty"`
}

func (r *result) count(what string, n int) {
	if r.Counts == nil {
		r.Counts = map[string]int{}
	}
	r.Counts[what] += n
}

// judge adds what ended the run, and what is known of the system.
func (r *result) judge(trouble error, system cluster.System, b *nemesis.Bench) {
	if trouble != nil {
		r.Trouble = trouble.Error()
	}
	// A run in which little happened has shown little. That nothing was refused is no flaw of a short one: a JVM that starts while disks
	// fail takes its time.
	s := r.Stats
	switch {
	case trouble != nil:
	case len(r.ClientsEnded) > 0:
		r.Trouble = "a client ended by itself: " + r.ClientsEnded[0]
	case s.Acked == 0 || s.Read == 0 || (s.Committed+s.CommitUnknown == 0 || s.Fetched == 0) && s.Taken == 0, s.Taken > 0 && (s.Settled == 0 || s.Started == 0),
		(r.Workload == "pipeline" || r.Workload == "streams") && s.Derived == 0:
		r.Trouble = fmt.Sprintf("clients have done too little: %+v", s)
	}
	for _, d := range b.Mended {
		r.MendedSeconds = append(r.MendedSeconds, d.Seconds())
	}
	if !system.Async() || len(r.Counts) == 0 {
		return
	}
	for _, name := range r.Faults {
		if f, ok := nemesis.Named(name); ok && f.Loses {
			r.Excused = "acknowledged from memory, and " + name + " takes it"
			return
		}
	}
}

// bad says that the run is no success: something was found, or there is no verdict.
func (r *result) bad() bool {
	return len(r.Counts) > 0 && r.Excused == "" || len(r.Unfinished) > 0 && len(r.Faults) > 0 || r.Trouble != ""
}

// verdict is the result in a few words.
func (r *result) verdict() string {
	var found []string
	for what, n := range r.Counts {
		found = append(found, fmt.Sprintf("%d × %s", n, what))
	}
	sort.Strings(found)
	switch {
	case len(r.Faults) == 0 && len(r.NotTried) > 0:
		for _, why := range r.NotTried {
			return "not tried: " + why
		}
	case len(found) > 0 && r.Excused != "":
		return strings.Join(found, ", ") + " (" + r.Excused + ")"
	case len(found) > 0:
		return "**" + strings.Join(found, ", ") + "**"
	case r.Trouble != "":
		first, _, _ := strings.Cut(r.Trouble, "\n")
		return "**no verdict: " + first + "**"
	case len(r.Unfinished) > 0:
		return "**no verdict: " + r.Unfinished[0] + "**"
	}
	return "held"
}

func (r *result) line() string {
	return fmt.Sprintf("%s | %s | %s | seed %d | %s", r.System, r.Workload, r.title(), r.Seed, r.verdict())
}

// title names the faults shortly.
func (r *result) title() string {
	switch {
	case len(r.Faults) == 0 && len(r.NotTried) > 0:
		for f := range r.NotTried {
			return f
		}
	case len(r.Faults) == 0:
		return "no faults"
	case len(r.Faults) > 3 && r.Group != "":
		return fmt.Sprintf("%s: %d kinds of faults, combined", r.Group, len(r.Faults))
	case len(r.Faults) > 3:
		return fmt.Sprintf("%d kinds of faults, combined", len(r.Faults))
	}
	return strings.Join(r.Faults, ", ")
}

// write is the table that docs/reliability.md takes.
func write(w io.Writer, results []*result) error {
	var b strings.Builder
	b.WriteString("| fault | workload | system | time | acknowledged / unknown | polled | resumed | whole again after | result | seed |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		s := r.Stats
		fmt.Fprintf(&b, "| %s | %s | %s, %d | %d s | %d / %d | %d | %d | %s | %s | %d |\n",
			r.title(), r.Workload, r.System, r.Nodes, r.Seconds, s.Acked, s.Unknown, s.Read, s.Resumed, r.mended(), r.verdict(), r.Seed)
	}
	for _, r := range results {
		if len(r.Found) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s, %s, seed %d:\n\n```\n", r.title(), r.Workload, r.Seed)
		for _, f := range r.Found {
			fmt.Fprintf(&b, "%s\n", f.What)
			for _, e := range f.Evidence {
				fmt.Fprintf(&b, "    %s\n", e)
			}
		}
		b.WriteString("```\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *result) mended() string {
	if len(r.MendedSeconds) == 0 {
		return "–"
	}
	worst := 0.0
	for _, s := range r.MendedSeconds {
		worst = max(worst, s)
	}
	return fmt.Sprintf("≤ %.1f s", worst)
}

// table prints the results of earlier runs.
func table(w io.Writer, files []string) error {
	var results []*result
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var r result
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		results = append(results, &r)
	}
	return write(w, results)
}
