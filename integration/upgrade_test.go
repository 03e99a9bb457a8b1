package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/integration/checker"
	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/integration/history"
	"github.com/qanat-io/qanat/integration/workload"
)

// Brokers of a previous commit are replaced one after the other by those of this one, then all are restarted once more, while
// clients produce, consume in a group and commit: a client would be told an error that it does not handle by itself, a record
// be lost or come twice, or a committed offset go back.
//
// QANAT_UPGRADE_FROM is the commit to begin with; by default it is the newest one before HEAD that changed what brokers share:
// the metadata, the protocol, or what is on disks and in buckets.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another commit, and takes half a minute")
	}
	ctx := within(t, 6*time.Minute)
	c := newClusterOf(ctx, t, buildPrevious(ctx, t), 3)
	k := c.man(ctx)
	k.goesOn(ctx)
	for round := range 2 {
		for i, b := range c.b {
			if err := b.Stop(); err != nil {
				t.Fatalf("round %d: stop broker %d: %v\n%s", round, i+1, err, b.Tail(20))
			}
			b.Bin = qanat
			if err := b.Start(ctx); err != nil {
				t.Fatalf("round %d: start broker %d: %v", round, i+1, err)
			}
			c.await(ctx, b, fmt.Sprintf("round %d: broker %d is back", round, i+1), func(h console.Cluster) bool { return h.Healthy })
			k.goesOn(ctx)
		}
	}
	c.await(ctx, c.b[0], "the level of the metadata has risen", func(h console.Cluster) bool { return h.MetadataLevel >= 1 })
	k.end(ctx)
	k.judge()
}

// buildPrevious builds the program of an earlier commit.
func buildPrevious(ctx context.Context, t *testing.T) string {
	t.Helper()
	commit := os.Getenv("QANAT_UPGRADE_FROM")
	if commit == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%H", "HEAD~1", "--", "../broker", "../metadata", "../tier", "../wire").Output()
		if commit = strings.TrimSpace(string(out)); err != nil || commit == "" {
			t.Skipf("NOT TRIED: there is no git history to take an earlier program from: %v", err)
		}
	}
	dir := t.TempDir()
	source, bin := filepath.Join(dir, "source"), filepath.Join(dir, "qanat")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	archive := exec.CommandContext(ctx, "git", "-C", "..", "archive", "--output", filepath.Join(dir, "source.tar"), commit)
	unpack := exec.CommandContext(ctx, "tar", "-xf", filepath.Join(dir, "source.tar"), "-C", source)
	// Without the paths, so that what the two commits share is built once.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-X main.version="+commit[:min(len(commit), 12)], "-o", bin, "./cmd/qanat")
	build.Dir = source
	for _, cmd := range []*exec.Cmd{archive, unpack, build} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	t.Logf("from commit %s", commit)
	return bin
}

// crew is clients at work on a cluster, each writing its history; see package workload.
type crew struct {
	*cluster
	dir     string
	topic   string
	stop    context.CancelFunc
	ended   int64 // history.Now
	running sync.WaitGroup
	mu      sync.Mutex
	failed  []error
}

const (
	loadPartitions = 6
	loadGroup      = "g"
)

// man makes a topic and starts producers, a group, and one who watches what the group has committed.
func (c *cluster) man(ctx context.Context) *crew {
	c.t.Helper()
	k := &crew{cluster: c, dir: c.t.TempDir(), topic: "t"}
	configs := map[string]*string{"min.insync.replicas": kadm.StringPtr("2"), "segment.bytes": kadm.StringPtr("65536"), "local.retention.bytes": kadm.StringPtr("131072")}
	if _, err := c.admin().CreateTopic(ctx, loadPartitions, 3, configs, k.topic); err != nil {
		c.t.Fatal(err)
	}
	c.await(ctx, c.b[0], "the topic has its replicas", func(h console.Cluster) bool { return h.Healthy && h.Partitions == loadPartitions })
	about := filepath.Join(k.dir, "0.history")
	file, err := os.Create(about)
	if err != nil {
		c.t.Fatal(err)
	}
	w := history.NewWriter(file, 0, "harness")
	w.Topic(k.topic, loadPartitions, "dense")
	if err := errors.Join(w.End(), file.Close()); err != nil {
		c.t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	k.stop = stop
	// Odd numbers are producers that never give up on a record.
	for process, role := range map[int]workload.Role{
		1: workload.Produce, 3: workload.Produce, 5: workload.Produce, 2: workload.Group, 4: workload.Group, 7: workload.Committed,
	} {
		k.running.Go(func() { k.play(running, role, process) })
	}
	return k
}

func (k *crew) play(ctx context.Context, role workload.Role, process int) {
	var seeds []string
	for _, b := range k.b {
		seeds = append(seeds, b.Listen)
	}
	err := workload.Run(ctx, workload.Spec{
		Role: role, Bootstrap: strings.Join(seeds, ","), Topic: k.topic, Partitions: loadPartitions, Group: loadGroup, Process: process,
		History: filepath.Join(k.dir, fmt.Sprintf("%d.history", process)), Rate: 300, Size: 256, Seed: 1,
	})
	if err != nil {
		k.mu.Lock()
		k.failed = append(k.failed, err)
		k.mu.Unlock()
	}
}

// goesOn waits until much more has been written and committed than when it was called, so that what follows meets work.
func (k *crew) goesOn(ctx context.Context) {
	k.t.Helper()
	before := k.committed(ctx)
	if err := harness.Until(ctx, func() (bool, error) { return k.committed(ctx) > before+1000, nil }); err != nil {
		k.t.Fatalf("clients do not go on: %v", err)
	}
}

// committed is how far the group has come, in records.
func (k *crew) committed(ctx context.Context) (sum int64) {
	os, err := k.admin().FetchOffsets(ctx, loadGroup)
	if err != nil {
		return 0
	}
	os.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

// end ends the clients in order and reads everything once more.
func (k *crew) end(ctx context.Context) {
	k.ended = history.Now()
	k.stop()
	k.running.Wait()
	k.play(ctx, workload.Final, 9)
}

// judge has the checker look at it, and then looks for errors. Not among the questions for committed offsets, which franz-go sends to
// a coordinator that is gone without finding out who took over: the application asks again.
func (k *crew) judge() {
	t := k.t
	t.Helper()
	for _, err := range k.failed {
		t.Errorf("a client ended with an error: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(k.dir, "*.history"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := history.ReadFiles(files...)
	if err != nil {
		t.Fatal(err)
	}
	r := checker.Check(h, checker.Options{})
	var told strings.Builder
	if err := r.Write(&told); err != nil {
		t.Fatal(err)
	}
	if !r.Clean() {
		t.Error(told.String())
	}
	ending := k.ended - int64(time.Second) // what is on its way at the end is broken off
	for _, p := range h.Processes {
		for i, x := range p.Sends {
			if x.Outcome != history.OK && x.Invoked < ending {
				t.Errorf("client %d: send %d to partition %d: %s %s", p.Number, i, x.Partition, x.Outcome, x.Code)
			}
		}
	}
	for _, x := range h.Commits {
		if x.Outcome != history.OK {
			t.Errorf("client %d: commit of offset %d in partition %d: %s %s", x.Process, x.Offset, x.Partition, x.Outcome, x.Code)
		}
	}
	if s := r.Stats; s.Acked < 5000 || s.Read < 5000 || s.Committed < 50 || s.Fetched < 20 || s.FinalReads != loadPartitions {
		t.Errorf("the run shows too little:\n%s", told.String())
	}
	t.Log(told.String())
}
