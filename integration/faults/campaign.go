package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
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
	time, total          time.Duration
	grouped              bool
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
	f.StringVar(&s.faults, "faults", "all", "names of faults, comma separated, each a name or a prefix; all; or none")
	f.StringVar(&s.skip, "skip", "", "prefixes of faults to leave out")
	f.StringVar(&s.workloads, "workloads", "franz-go", "franz-go, transactions, pipeline, streams, share, consumer, consumer-java, migrating, java, librdkafka, mixed; a matrix takes several")
	f.DurationVar(&s.time, "time", time.Minute, "how long each run's faults go on")
	f.BoolVar(&s.grouped, "grouped", false, "of a matrix: a run for each kind of faults and for all of them at once, instead of one for each fault")
	f.DurationVar(&s.total, "total", 0, "of a matrix: begin no more runs after this time, and go round again while it lasts; 0 is each run once")
	f.Uint64Var(&s.seed, "seed", 0, "of the schedule; 0 draws one")
	f.IntVar(&s.together, "together", 2, "most faults at one time")
	f.IntVar(&s.rate, "rate", 200, "sends a second of each producer")
	f.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	f.IntVar(&s.port, "port", 15000, "first port of the nodes")
	f.StringVar(&s.sets, "set", "", "KEY=VALUE,… for every Qanat node")
	f.StringVar(&s.s3, "s3", "bin/tools/versitygw", "S3 server for the bucket of Qanat; none for a directory")
	f.StringVar(&s.clients, "clients", "bin/clients", "where integration/scripts/faults-clients has put Java's and librdkafka's")
	f.BoolVar(&s.faketime, "faketime", false, "clocks can jump: Kafka runs under libfaketime, slowly; Qanat is what integration/scripts/qanat-clock has built")
	f.BoolVar(&s.keep, "keep", false, "keep the nodes' data also when nothing was found")
	if err := f.Parse(args); err != nil {
		return err
	}
	if !matrix && strings.Contains(s.workloads, ",") {
		return errors.New("a run has one workload")
	}
	return s.resolve()
}

// resolve draws a seed if none is given and makes paths absolute.
func (s *settings) resolve() (err error) {
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano())
	}
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
		q := &cluster.Qanat{Bin: s.qanat, Clock: s.faketime, Sets: []string{
			"log.retention.check.interval.ms=1000", "raft.snapshot.entries=100",
			// Members of the consumer protocol are given up as soon as those of the classic one, which ask for ten seconds themselves.
			"group.consumer.session.timeout.ms=10000", "group.consumer.min.session.timeout.ms=10000",
			"group.streams.session.timeout.ms=10000", "group.streams.min.session.timeout.ms=10000",
			"group.streams.heartbeat.interval.ms=1000", "group.streams.min.heartbeat.interval.ms=1000", "group.streams.initial.rebalance.delay.ms=0",
			"group.consumer.heartbeat.interval.ms=1000", "group.consumer.min.heartbeat.interval.ms=1000",
		}}
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
			if _, exact := nemesis.Named(prefix); prefix == "all" || f.Name == prefix || !exact && strings.HasPrefix(f.Name, prefix) {
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

// settle makes this process's namespaces usable, if it has some of its own.
func settle() error {
	if !cluster.Isolated() {
		return nil
	}
	return cluster.Settle()
}

// campaign is one run, or one for each fault and workload. The exit code is 1 when something was found.
func campaign(ctx context.Context, matrix bool, args []string) (int, error) {
	if err := settle(); err != nil {
		return 0, err
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
	started := time.Now()
	begin := started.Format("0102-150405")
	var results []*result
	one := func(c cell, seed uint64) error {
		r := &run{settings: s, workload: c.workload, group: c.group, faults: c.faults, dir: filepath.Join(s.dir, fmt.Sprintf("%s-%s-%s-%d", begin, c.name, c.workload, seed))}
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
		if err := one(cell{name: "run", workload: s.workloads, faults: faults}, s.seed); err != nil {
			return 0, err
		}
		return worst(results), nil
	}
	for i, c := range s.cells(faults) {
		if s.total > 0 && time.Since(started) >= s.total {
			break
		}
		if err := one(c, s.seed+uint64(i)); err != nil {
			return 0, err
		}
	}
	fmt.Println()
	return worst(results), write(os.Stdout, results)
}

// cell is a place in the matrix of faults and workloads.
type cell struct {
	name, workload string
	group          string // that all the faults are of; "" for none
	faults         []nemesis.Fault
}

// cells are the runs of a matrix, in order. With a total time they are in an order drawn by the seed, and go round and round, so that
// a short time still sees some of everything, and another seed something else.
func (s *settings) cells(faults []nemesis.Fault) iter.Seq2[int, cell] {
	var all []cell
	for _, workloadName := range strings.Split(s.workloads, ",") {
		if !s.grouped {
			for _, f := range faults {
				all = append(all, cell{name: strings.NewReplacer(" ", "-", ":", "", "/", "").Replace(f.Name), workload: workloadName, faults: []nemesis.Fault{f}})
			}
			continue
		}
		for _, g := range nemesis.Groups(faults) {
			all = append(all, cell{g.Name, workloadName, g.Name, g.Faults})
		}
		all = append(all, cell{name: "all", workload: workloadName, faults: faults})
	}
	rng := rand.New(rand.NewPCG(s.seed, 3))
	return func(yield func(int, cell) bool) {
		for i := 0; ; i++ {
			if i%len(all) == 0 && s.total > 0 {
				rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			}
			if s.total == 0 && i == len(all) || !yield(i, all[i%len(all)]) {
				return
			}
		}
	}
}

func worst(results []*result) int {
	if slices.ContainsFunc(results, func(r *result) bool { return r.bad() }) {
		return 1
	}
	return 0
}
