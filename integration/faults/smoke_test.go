package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/integration/history"
	"github.com/qanat-io/qanat/integration/workload"
)

// program builds a command of this repository, or takes the one that an environment variable names.
func program(t *testing.T, variable, pkg string) string {
	t.Helper()
	if bin := os.Getenv(variable); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-o", bin, "../../"+pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return bin
}

// The harness itself would be broken: a broker under kills and pauses is found guilty, is not judged, or what clients wrote does not
// let the checker see through lies.
func TestRunAndProve(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	qanat, faults := program(t, "QANAT_BIN", "cmd/qanat"), program(t, "QANAT_FAULTS_BIN", "integration/faults")
	if !filepath.IsAbs(qanat) {
		t.Fatalf("QANAT_BIN=%s is no absolute path", qanat)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, faults, "run", "-qanat", qanat, "-nodes", "1", "-s3", "none", "-dir", dir, "-time", "12s", "-faults", "kill -9 one,clean stop one", "-together", "1", "-port", "15100")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("run: %v\n%s", err, out)
	}
	results, err := filepath.Glob(filepath.Join(dir, "*", "result.json"))
	if err != nil || len(results) != 1 {
		t.Fatalf("results %v, %v\n%s", results, err, out)
	}
	raw, err := os.ReadFile(results[0])
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if r.bad() || r.Stats.Acked == 0 || r.Stats.Failed == 0 || r.Stats.Crashed == 0 || len(r.Probed) == 0 {
		t.Errorf("the run shows too little: %s", raw)
	}
	kept := filepath.Join(filepath.Dir(results[0]), "history.gz")
	for _, verb := range []string{"check", "prove"} {
		if out, err := exec.CommandContext(ctx, faults, verb, kept).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", verb, err, out)
		}
	}
}

// A table would call what was not tried, not judged, or found, a success.
func TestVerdicts(t *testing.T) {
	for _, x := range []struct {
		r    result
		want string
		bad  bool
	}{
		{result{Faults: []string{"x"}}, "held", false},
		{result{Faults: []string{"x"}, Counts: map[string]int{"lost write": 2}}, "**2 × lost write**", true},
		{result{Faults: []string{"x"}, Counts: map[string]int{"lost write": 2}, Excused: "known"}, "2 × lost write (known)", false},
		{result{Faults: []string{"x"}, Unfinished: []string{"partition 1"}}, "**no verdict: partition 1**", true},
		{result{Faults: []string{"x"}, Trouble: "did not start\nlog"}, "**no verdict: did not start**", true},
		{result{NotTried: map[string]string{"x": "needs root"}}, "not tried: needs root", false},
	} {
		if got := x.r.verdict(); got != x.want || x.r.bad() != x.bad {
			t.Errorf("%+v is %q, bad %v", x.r, got, x.r.bad())
		}
	}
}

// Clients of one language would send what another takes for damage, or write what is no history.
func TestClientsWriteHistories(t *testing.T) {
	s := settings{clients: "../../bin/clients"}
	var err error
	if s.clients, err = absolute(s.clients); err != nil {
		t.Fatal(err)
	}
	languages, err := s.languages()
	if err != nil {
		t.Fatal(err)
	}
	delete(languages, "franz-go") // this test's own program is none
	if len(languages) == 0 {
		t.Skip("NOT TRIED: integration/scripts/faults-clients has not been run")
	}
	for name, l := range languages {
		file := filepath.Join(t.TempDir(), "history")
		spec := workload.Spec{Role: workload.Produce, Bootstrap: "127.0.0.1:1", Topic: "t", Partitions: 2, Process: 5, History: file, Rate: 50, Size: 100, Seed: 3}
		cmd := exec.Command(l.command[0], append(l.command[1:], spec.Args()...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		sent := harness.Until(ctx, func() (bool, error) {
			raw, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) {
				return false, nil
			}
			return strings.Contains(string(raw), " send s"), err
		})
		cancel()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || sent != nil {
			t.Fatalf("%s has sent nothing: %v, %v", name, sent, err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := history.Read(strings.NewReader("0 1 begin harness\n0 1 topic t 2 dense\n" + string(raw)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p := h.Process(5); p == nil || !p.Idempotent || p.Client != name || len(p.Sends) == 0 || p.Ended {
			t.Errorf("%s has written %+v", name, p)
		}
	}
}
