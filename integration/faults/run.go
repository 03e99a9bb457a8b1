package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/checker"
	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/integration/history"
	"github.com/qanat-io/qanat/integration/nemesis"
	"github.com/qanat-io/qanat/integration/probe"
	"github.com/qanat-io/qanat/integration/workload"
)

// Names and bounds of every run.
const (
	topic, group = "faults", "faults-group"
	readyWithin  = 2 * time.Minute
	finalWithin  = 5 * time.Minute
	volume       = 1 << 30
)

// run is one cluster under one workload and some faults.
type run struct {
	settings
	workload string
	group    string // of the faults
	faults   []nemesis.Fault
	dir      string

	log     io.Writer
	begin   time.Time
	judged  time.Time
	objects string // directory of the bucket's objects, "" for none
	topicID [16]byte
}

func (r *run) logf(format string, args ...any) {
	fmt.Fprintf(r.log, "%8.1fs %s\n", time.Since(r.begin).Seconds(), fmt.Sprintf(format, args...))
}

// do is the whole of it. The error is the harness's; what is the system's is in the result.
func (r *run) do(ctx context.Context) (res *result, err error) {
	histories := filepath.Join(r.dir, "clients")
	if err := os.MkdirAll(histories, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(r.dir, "run.log"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r.log, r.begin = io.MultiWriter(os.Stdout, file), time.Now()
	system, err := r.under()
	if err != nil {
		return nil, err
	}
	store, err := r.bucket()
	if err != nil {
		return nil, err
	}
	defer store.close()
	r.objects = store.objects
	options := cluster.Options{Nodes: r.nodes, Port: r.port, Bucket: store.url, Isolated: os.Geteuid() == 0}
	if options.Isolated {
		options.Volume = volume
	}
	c, err := cluster.New(system, r.dir, options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	bench := &nemesis.Bench{Cluster: c, Topic: topic, Proxy: store.proxy, Log: r.logf, MendWithin: readyWithin, Clock: r.faketime && (r.system == "qanat" || faketime() != "")}
	can, cannot := nemesis.Possible(bench, r.faults)
	res = &result{System: system.Name(), Workload: r.workload, Nodes: r.nodes, Group: r.group, Seed: r.seed, Seconds: int(r.time.Seconds()), Dir: filepath.Base(r.dir), NotTried: cannot}
	for _, f := range can {
		res.Faults = append(res.Faults, f.Name)
	}
	if len(can) == 0 && len(r.faults) > 0 {
		return res, r.save(res)
	}
	res.judge(r.attack(ctx, bench, can, histories, res), system, bench)
	r.judged = time.Now()
	return res, errors.Join(r.save(res), r.tidy(res))
}

// attack runs clients and faults, then the final read, and judges. The error is one of the system's, such as not coming up.
func (r *run) attack(ctx context.Context, b *nemesis.Bench, can []nemesis.Fault, histories string, res *result) error {
	for i := range b.Nodes() {
		if err := b.Shift(i, 0); err != nil {
			return err
		}
		if err := b.Start(i); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := r.prepare(bounded, b, histories); err != nil {
		return err
	}
	languages, err := r.languages()
	if err != nil {
		return err
	}
	members, err := cast(r.workload, languages)
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(r.dir, "clients.log"))
	if err != nil {
		return err
	}
	defer file.Close()
	k := &clients{c: b.Cluster, dir: histories, rng: rand.New(rand.NewPCG(r.seed, 2)), members: members, log: file, next: 1,
		spec: workload.Spec{Bootstrap: b.Bootstrap(), Topic: topic, Partitions: r.partitions, Group: group, Assignor: r.assignor(), Rate: r.rate, Size: 256, Sources: r.sources()}}
	if err := k.begin(); err != nil {
		return err
	}
	defer k.crash()
	trouble := r.plague(ctx, b, can, k)
	r.logf("faults are over; clients crash, everything is read")
	k.crash()
	res.Died, res.ClientsEnded = b.Deaths(), k.ended
	bounded, cancel = context.WithTimeout(ctx, finalWithin)
	defer cancel()
	whole, over := context.WithTimeout(bounded, readyWithin)
	final := b.Ready(whole, topic) // what is there is read also when that is not all
	over()
	if r.shares() {
		final = errors.Join(final, k.last(bounded, languages["franz-go"].command, workload.Drain))
		k.spec.Group = "" // a share group has no committed offsets to ask for
	}
	final = errors.Join(final, k.last(bounded, languages["franz-go"].command, workload.Final))
	checked := r.check(histories, res)
	scrubbed := r.scrub(bounded, b)
	probed := r.probe(ctx, b, res)
	return errors.Join(trouble, final, checked, scrubbed, probed)
}

// scrub has every node look for damage in what it holds, as it does by itself once a week, and mend it: the last damage may be one that
// nobody has read or uploaded since. What is being written to is looked at once it is closed, which is made soon.
func (r *run) scrub(ctx context.Context, b *nemesis.Bench) error {
	if b.System.Admin(b.Cluster, 0) == "" {
		return nil
	}
	admin, err := b.Admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "segment.ms", Value: kadm.StringPtr("1")}}, topic)
	if err == nil {
		_, err = altered.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	if err != nil {
		return fmt.Errorf("close the segments: %w", err)
	}
	for round, found := 0, int64(1); round < 2 || found > 0; round++ {
		timer := time.NewTimer(scrubPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("there is still damage in round %d: %w", round, ctx.Err())
		}
		found = 0
		for i := range b.Nodes() {
			var report struct{ Damaged int64 }
			if err := harness.Ask(ctx, http.MethodPost, b.System.Admin(b.Cluster, i), "/v1/scrub", &report); err != nil {
				return fmt.Errorf("scrub node %d: %w", i+1, err)
			}
			found += report.Damaged
		}
		if err := b.Ready(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

// scrubPause is how long brokers are given to close segments, and to mend what was found.
const scrubPause = 2 * time.Second

// assignor is the group's: members without one in common would be refused, for good by some clients.
func (r *run) assignor() string {
	switch {
	case r.workload == "consumer" || r.workload == "consumer-java":
		return "broker"
	case (r.workload == "franz-go" || r.workload == "transactions" || r.workload == "pipeline" || r.workload == "migrating") && r.seed%2 == 1:
		return "cooperative-sticky"
	}
	return "range"
}

// lease is for how long a leader that was moved may not have heard of it: broker.session.timeout.ms.
const lease = 3 * time.Second

// shares tells whether the group is a share group.
func (r *run) shares() bool { return r.workload == "share" }

// sources are the partitions of which records are made for the others; 0: nothing is made.
func (r *run) sources() int {
	if r.workload != "pipeline" && r.workload != "streams" {
		return 0
	}
	return max(1, r.partitions/2)
}

// plague makes the faults while clients come and go.
func (r *run) plague(ctx context.Context, b *nemesis.Bench, can []nemesis.Fault, k *clients) error {
	churning, stop := context.WithCancel(ctx)
	churned := make(chan error, 1)
	go func() { churned <- k.churn(churning) }()
	plan := nemesis.Plan(r.seed, can, r.nodes, r.time, r.together)
	var err error
	if len(plan) == 0 {
		timer := time.NewTimer(r.time)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	} else {
		err = b.Run(ctx, plan)
	}
	stop()
	return errors.Join(err, <-churned)
}

// prepare waits for the cluster and makes the topic.
func (r *run) prepare(ctx context.Context, b *nemesis.Bench, histories string) error {
	if err := b.Ready(ctx, ""); err != nil {
		return err
	}
	admin, err := b.Admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	limit := strings.SplitN(workload.TimestampLimit, "=", 2)
	configs := map[string]*string{limit[0]: &limit[1], "segment.bytes": kadm.StringPtr("1048576")}
	if r.system == "qanat" {
		configs["segment.bytes"] = kadm.StringPtr("65536")
		// Most of what is read comes from the bucket, if there is one.
		configs["local.retention.bytes"] = kadm.StringPtr("131072")
	}
	replicas := int16(1)
	if r.nodes >= 3 {
		replicas = 3
		configs["min.insync.replicas"] = kadm.StringPtr("2")
	}
	made, err := admin.CreateTopic(ctx, int32(r.partitions), replicas, configs, topic)
	if err != nil {
		return fmt.Errorf("create the topic: %w", err)
	}
	r.topicID = made.ID
	if err := b.Ready(ctx, topic); err != nil {
		return err
	}
	if r.shares() {
		cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.Bootstrap(), ",")...))
		if err != nil {
			return err
		}
		defer cl.Close()
		if err := workload.ConfigureShare(ctx, cl, group); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(histories, "0000.history"))
	if err != nil {
		return err
	}
	w := history.NewWriter(f, 0, "harness")
	if r.workload == "transactions" || r.sources() > 0 {
		w.Topic(topic, int32(r.partitions)) // markers lie between the records
	} else {
		w.Topic(topic, int32(r.partitions), "dense")
	}
	if r.sources() > 0 {
		w.Derive(group, int32(r.sources()))
	}
	switch {
	case r.shares() && len(r.faults) == 0:
		w.Share(group, int64(workload.ShareLock), int64(lease), "steady")
	case r.shares():
		w.Share(group, int64(workload.ShareLock), int64(lease))
	}
	return errors.Join(w.End(), f.Close())
}

// check joins the clients' files and judges them.
func (r *run) check(histories string, res *result) error {
	files, err := filepath.Glob(filepath.Join(histories, "*.history"))
	if err != nil {
		return err
	}
	joined := filepath.Join(r.dir, "history.gz")
	if err := join(joined, files); err != nil {
		return err
	}
	h, err := history.ReadFiles(joined)
	if err != nil {
		return err
	}
	report := checker.Check(h, checker.Options{})
	res.Stats, res.Unfinished = report.Stats, report.Unfinished
	for i, n := range report.Counts {
		res.count(string(i), n)
	}
	for _, v := range report.Violations {
		res.Found = append(res.Found, finding{v.String(), v.Evidence})
	}
	return report.Write(r.log)
}

// join concatenates whole lines of files into a compressed one, and removes them.
func join(to string, files []string) (err error) {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z := gzip.NewWriter(out)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		// What a crash has torn off is void.
		if _, err := z.Write(raw[:strings.LastIndexByte(string(raw), '\n')+1]); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// probe stops the nodes and looks at what they and the bucket hold.
func (r *run) probe(ctx context.Context, b *nemesis.Bench, res *result) error {
	findings, looked, err := probe.All(ctx, b.Cluster, probe.Topic{Name: topic, ID: r.topicID, Partitions: int32(r.partitions)}, r.objects)
	for _, f := range findings {
		res.count(f.Probe, 1)
		res.Found = append(res.Found, finding{f.Probe + ": " + f.What, nil})
		r.logf("PROBE %s: %s", f.Probe, f.What)
	}
	res.Probed = looked
	return err
}

func (r *run) save(res *result) error {
	raw, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "result.json"), append(raw, '\n'), 0o644)
}

// tidy removes what a clean run does not need to keep; a bad one keeps copies of the nodes' data, whose volumes go.
func (r *run) tidy(res *result) error {
	if res.bad() || r.keep {
		return r.copyData()
	}
	return nil
}
