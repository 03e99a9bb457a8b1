package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The fault runs are tried themselves: a Qanat with a deliberate bug, compiled in behind a build tag, has to be found guilty under
// faults that give the bug a chance, and the Qanat that has none has to be clean under the same schedule.

// bug is one of them. Its tag is qanat_bug_NAME.
type bug struct {
	name, what string
	faults     string // under which it shows
	together   int
	workload   string // "": franz-go
}

var bugs = []bug{
	{"ack", "acknowledge before the in-sync replicas have it", "cut off one", 1, ""},
	{"truncate", "truncate to the high watermark", "kill -9 all,leader storm", 6, ""},
	{"duplicate", "skip deduplication", "kill -9 one,answers to clients lost", 1, ""},
	{"roll", "drop a batch at roll", "none", 1, ""},
	{"late", "flush the volume without what is written to the segments later", "kill -9 all,power cut all", 1, ""},
	{"delete", "delete before commit", "bucket: unreachable", 1, ""},
	{"commit", "offset commit answered before applied", "kill -9 one", 1, ""},
	{"stable", "read_committed up to the high watermark", "none", 1, "transactions"},
	{"torn", "a commit's marker that is sent again is an abort's", "kill -9 one,leader storm", 6, "transactions"},
	{"aborted", "offsets of an aborted transaction are committed", "none", 1, "pipeline"},
	{"forgotten", "one of the offsets of a committed transaction is not", "none", 1, "pipeline"},
	{"task", "a streams group's task is given away before its owner has given it up", "none", 1, "streams"},
	{"lock", "a share group's lock is given out twice", "none", 1, "share"},
	{"settle", "a share group's acknowledgement is answered, and not made durable", "kill -9 one,leader storm", 6, "share"},
}

// caughtWithin is how long a bug has from the start of the cluster to the verdict, and bugFaults how much of that the faults take.
const (
	caughtWithin = time.Minute
	bugFaults    = 15 * time.Second
)

// tryBugs is the verb. The exit code is 1 when a bug was not caught, or something was that is none.
func tryBugs(ctx context.Context, args []string) (int, error) {
	if err := settle(); err != nil {
		return 0, err
	}
	s := settings{system: "qanat", nodes: 3, workloads: "franz-go", time: bugFaults, rate: 200, partitions: 4}
	var names string
	f := flag.NewFlagSet("bugs", flag.ContinueOnError)
	f.StringVar(&s.qanat, "qanat", "bin/qanat", "the program without bugs; those with are FILE-bug-NAME")
	f.StringVar(&names, "bugs", "all", "names, comma separated, or all")
	f.StringVar(&s.dir, "dir", "bin/faults", "where runs are kept")
	f.Uint64Var(&s.seed, "seed", 0, "of the schedules; 0 draws one")
	f.IntVar(&s.port, "port", 15000, "first port of the nodes")
	f.StringVar(&s.s3, "s3", "bin/tools/versitygw", "S3 server for the bucket")
	if err := f.Parse(args); err != nil {
		return 0, err
	}
	if err := s.resolve(); err != nil {
		return 0, err
	}
	chosen := slices.DeleteFunc(slices.Clone(bugs), func(b bug) bool {
		return names != "all" && !slices.Contains(strings.Split(names, ","), b.name)
	})
	if len(chosen) == 0 {
		return 0, fmt.Errorf("no bug is called %q", names)
	}
	fmt.Printf("seed %d\n", s.seed)
	var lines []string
	code := 0
	for _, b := range chosen {
		line, ok, err := b.try(ctx, s)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", b.name, err)
		}
		if lines = append(lines, line); !ok {
			code = 1
		}
	}
	fmt.Printf("\n| bug | faults | found by | after | without the bug | seed |\n|---|---|---|---|---|---|\n%s\n", strings.Join(lines, "\n"))
	return code, nil
}

// try has a run with the bug and one without; ok says that the first was found guilty in time, and the second was not.
func (b bug) try(ctx context.Context, s settings) (line string, ok bool, err error) {
	s.faults, s.together = b.faults, b.together
	if b.workload != "" {
		s.workloads = b.workload
	}
	with, took, err := s.judge(ctx, s.qanat+"-bug-"+b.name, "bug-"+b.name)
	if err != nil {
		return "", false, err
	}
	without, _, err := s.judge(ctx, s.qanat, "no-bug-"+b.name)
	if err != nil {
		return "", false, err
	}
	found := with.verdict()
	caught := len(with.Counts) > 0 && took <= caughtWithin
	if !caught {
		found += " (**not caught**)"
	}
	line = fmt.Sprintf("| %s | %s | %s | %.0f s | %s | %d |", b.what, with.title(), found, took.Seconds(), without.verdict(), s.seed)
	return line, caught && !without.bad(), ctx.Err()
}

// judge runs a program under the settings and tells how long it took from the first start of a node to the verdict.
func (s settings) judge(ctx context.Context, program, name string) (*result, time.Duration, error) {
	s.qanat = program
	faults, err := s.chosen()
	if err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	r := &run{settings: s, workload: s.workloads, faults: faults, dir: filepath.Join(s.dir, begin.Format("0102-150405")+"-"+name)}
	res, err := r.do(ctx)
	if err != nil {
		return nil, 0, err
	}
	fmt.Println(res.line())
	return res, r.judged.Sub(begin), nil
}
