package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/nemesis"
)

// settings are the flags.
type settings struct {
	system, qanat, peers string
	nodes                int
	dir                  string
	faults, skip         string
	workloads            string
	time                 time.Duration
	seed                 uint64
	together             int
	rate                 int
	partitions           int
	port                 int
	sets                 string
	s3                   string
	clients              string
	keep                 bool
	faketime             bool
}

func (s *settings) parse(matrix bool, args []string) error {
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	f.StringVar(&s.system, "system", "qanat", "system under test: qanat or kafka")
	f.StringVar(&s.qanat, "qanat", "bin/qanat", "the program")
	f.StringVar(&s.peers, "peers", "../shared/peers", "folder with kafka-cluster")
	f.IntVar(&s.nodes, "nodes", 3, "nodes of the cluster")
	f.StringVar(&s.dir, "dir", "bin/faults", "where runs are kept")
	f.StringVar(&s.faults, "faults", "all", "names of faults, comma separated, each a prefix; all; or none")
	f.StringVar(&s.skip, "skip", "", "prefixes of faults to leave out")
	f.StringVar(&s.workloads, "workloads", "franz-go", "franz-go, java, librdkafka, mixed; a matrix takes several")
	f.DurationVar(&s.time, "time", time.Minute, "how long each run's faults go on")
	f.Uint64Var(&s.seed, "seed", 0, "of the schedule; 0 draws one")
	f.IntVar(&s.together, "together", 2, "most faults at one time")
	f.IntVar(&s.rate, "rate", 200, "sends a second of each producer")
	f.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	f.IntVar(&s.port, "port", 15000, "first port of the nodes")
	f.StringVar(&s.sets, "set", "", "KEY=VALUE,… for every Qanat node")
	f.StringVar(&s.s3, "s3", "bin/tools/versitygw", "S3 server for the bucket of Qanat; none for a directory")
	f.StringVar(&s.clients, "clients", "bin/clients", "where integration/scripts/faults-clients has put Java's and librdkafka's")
	f.BoolVar(&s.faketime, "faketime", false, "run Kafka under libfaketime, so that clocks can jump; slow")
	f.BoolVar(&s.keep, "keep", false, "keep the nodes' data also when nothing was found")
	if err := f.Parse(args); err != nil {
		return err
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano())
	}
	if !matrix && strings.Contains(s.workloads, ",") {
		return errors.New("a run has one workload")
	}
	var err error
	for _, path := range []*string{&s.qanat, &s.peers, &s.dir, &s.clients, &s.s3} {
		if *path, err = absolute(*path); err != nil {
			return err
		}
	}
	return nil
}

func absolute(path string) (string, error) {
	if path == "none" {
		return "", nil
	}
	return filepath.Abs(path)
}

// under is the system under test.
func (s *settings) under() (cluster.System, error) {
	switch s.system {
	case "kafka":
		k := cluster.Kafka{Script: filepath.Join(s.peers, "kafka-cluster")}
		if s.faketime {
			k.Faketime = faketime()
		}
		return k, nil
	case "qanat":
		q := &cluster.Qanat{Bin: s.qanat, Sets: []string{"log.retention.check.interval.ms=1000"}}
		if s.sets != "" {
			q.Sets = append(q.Sets, strings.Split(s.sets, ",")...)
		}
		return q, nil
	}
	return nil, fmt.Errorf("system %q is not known", s.system)
}

// faketime is the library that shifts the clocks of programs that use the C library; Debian's package libfaketime.
func faketime() string {
	found, err := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[0]
}

// languages are the client libraries that are there.
func (s *settings) languages() (map[string]language, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := map[string]language{"franz-go": {"franz-go", []string{self, "client"}, 2 * time.Second}}
	if java := filepath.Join(s.clients, "faults-java", "run"); executable(java) {
		all["java"] = language{"java", []string{java}, 12 * time.Second}
	}
	if python := filepath.Join(s.clients, "faults-librdkafka", "run"); executable(python) {
		all["librdkafka"] = language{"librdkafka", []string{python}, 6 * time.Second}
	}
	return all, nil
}

func executable(path string) bool { _, err := exec.LookPath(path); return err == nil }

// chosen are the faults that the flags name.
func (s *settings) chosen() ([]nemesis.Fault, error) {
	if s.faults == "none" {
		return nil, nil
	}
	var all []nemesis.Fault
	for _, prefix := range strings.Split(s.faults, ",") {
		before := len(all)
		for _, f := range nemesis.All {
			if prefix == "all" || strings.HasPrefix(f.Name, prefix) {
				all = append(all, f)
			}
		}
		if len(all) == before {
			return nil, fmt.Errorf("no fault begins with %q", prefix)
		}
	}
	for _, prefix := range strings.Split(s.skip, ",") {
		all = slices.DeleteFunc(all, func(f nemesis.Fault) bool { return prefix != "" && strings.HasPrefix(f.Name, prefix) })
	}
	return all, nil
}

// campaign is one run, or one for each fault and workload. The exit code is 1 when something was found.
func campaign(ctx context.Context, matrix bool, args []string) (int, error) {
	if cluster.Isolated() {
		if err := cluster.Settle(); err != nil {
			return 0, err
		}
	}
	var s settings
	if err := s.parse(matrix, args); err != nil {
		return 0, err
	}
	faults, err := s.chosen()
	if err != nil {
		return 0, err
	}
	fmt.Printf("seed %d\n", s.seed)
	begin := time.Now().Format("0102-150405")
	var results []*result
	one := func(name, workloadName string, faults []nemesis.Fault, seed uint64) error {
		r := &run{settings: s, workload: workloadName, faults: faults, dir: filepath.Join(s.dir, begin+"-"+name+"-"+workloadName)}
		r.seed = seed
		result, err := r.do(ctx)
		if err != nil {
			return err
		}
		results = append(results, result)
		fmt.Println(result.line())
		return ctx.Err()
	}
	if !matrix {
		if err := one("run", s.workloads, faults, s.seed); err != nil {
			return 0, err
		}
		return worst(results), nil
	}
	for _, workloadName := range strings.Split(s.workloads, ",") {
		for i, f := range faults {
			if err := one(strings.NewReplacer(" ", "-", ":", "", "/", "").Replace(f.Name), workloadName, []nemesis.Fault{f}, s.seed+uint64(i)); err != nil {
				return 0, err
			}
		}
	}
	fmt.Println()
	return worst(results), write(os.Stdout, results)
}

func worst(results []*result) int {
	if slices.ContainsFunc(results, func(r *result) bool { return r.bad() }) {
		return 1
	}
	return 0
}
