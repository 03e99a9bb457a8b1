package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/integration/harness"
)

// cluster is brokers of one cluster; b[i] has node id i+1.
type cluster struct {
	t *testing.T
	b []*harness.Broker
}

// killing is what disturbs a run that goes on in rounds: now and then one of the brokers, in turn, is killed and started, so many times in all.
func killing(ctx context.Context, t *testing.T, most int, brokers ...*harness.Broker) func(round int) {
	kills := 0
	return func(round int) {
		if round%3 != 1 || kills == most {
			return
		}
		b := brokers[kills%len(brokers)]
		kills++
		if err := errors.Join(b.Kill(), b.Start(ctx)); err != nil {
			t.Fatal(err)
		}
	}
}

// newCluster starts n brokers that form a cluster with one another.
func newCluster(ctx context.Context, t *testing.T, n int, sets ...string) *cluster {
	t.Helper()
	return newClusterOf(ctx, t, qanat, n, sets...)
}

// newClusterOf does so with another program than the one under test.
func newClusterOf(ctx context.Context, t *testing.T, program string, n int, sets ...string) *cluster {
	t.Helper()
	return newClusterWith(ctx, t, program, n, func(*harness.Broker, int) {}, sets...)
}

// newClusterWith has each broker, with its node id, prepared before it starts.
func newClusterWith(ctx context.Context, t *testing.T, program string, n int, prepare func(*harness.Broker, int), sets ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	bucket := "dir:" + filepath.Join(t.TempDir(), "bucket")
	var peers []string
	for i := range n {
		b := newBroker(t, sets...)
		b.Bin, b.Bucket = program, bucket
		b.Sets = append(b.Sets, fmt.Sprintf("node.id=%d", i+1))
		peers = append(peers, fmt.Sprintf("%d@%s", i+1, b.Raft))
		prepare(b, i+1)
		c.b = append(c.b, b)
	}
	started := make(chan error, n)
	for _, b := range c.b {
		b.Sets = append(b.Sets, "cluster.peers="+strings.Join(peers, ","))
		go func() { started <- b.Start(ctx) }()
	}
	for range n {
		if err := <-started; err != nil {
			t.Fatal(err)
		}
	}
	c.await(ctx, c.b[0], "healthy", func(h console.Cluster) bool { return h.Healthy && h.Active == n })
	return c
}

// await asks a broker how the cluster is until that is as it should be.
func (c *cluster) await(ctx context.Context, ask *harness.Broker, what string, ok func(console.Cluster) bool) {
	c.t.Helper()
	var last console.Cluster
	err := harness.Until(ctx, func() (bool, error) {
		var h console.Cluster
		if err := ask.Ask(ctx, "GET", "/v1/cluster", &h); err != nil {
			return false, nil
		}
		last = h
		return ok(h), nil
	})
	if err != nil {
		c.t.Fatalf("%s: %v; it is %+v", what, err, last)
	}
}

// seeds are all brokers' addresses.
func (c *cluster) seeds() (list []string) {
	for _, b := range c.b {
		list = append(list, b.Listen)
	}
	return list
}

// admin is a new client: one that has known a coordinator tries it for long.
func (c *cluster) admin() *kadm.Client {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.seeds()...), kgo.RetryTimeout(2*time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// other is a broker that is not the one of that number.
func (c *cluster) other(node int32) *harness.Broker {
	if node == 1 {
		return c.b[1]
	}
	return c.b[0]
}

// A group's coordinator dies, and one stops: what the group has committed is there at the next one, and the leaderships of the
// broker are elsewhere; when it comes back the cluster is whole again.
func TestCoordinatorsDieAndStop(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	c := newCluster(ctx, t, 3)
	adm := c.admin()
	if _, err := adm.CreateTopic(ctx, 6, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	committed := int64(0)
	check := func() {
		t.Helper()
		var last error
		err := harness.Until(ctx, func() (bool, error) {
			os, err := c.admin().FetchOffsets(ctx, "g")
			if last = err; err != nil {
				return false, nil // there is no coordinator for a moment
			}
			if o, _ := os.Lookup("t", 0); o.At != committed {
				return false, fmt.Errorf("the group's offset is %d, %d was committed", o.At, committed)
			}
			return true, nil
		})
		if err != nil {
			t.Fatalf("%v; the last answer was: %v", err, last)
		}
	}
	commit := func() {
		t.Helper()
		committed++
		var os kadm.Offsets
		os.AddOffset("t", 0, committed, -1)
		if err := harness.Until(ctx, func() (bool, error) { return c.admin().CommitAllOffsets(ctx, "g", os) == nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	coordinator := func() int32 {
		t.Helper()
		node := int32(-1)
		if err := harness.Until(ctx, func() (bool, error) {
			found := c.admin().FindGroupCoordinators(ctx, "g")
			node = found["g"].NodeID
			return found["g"].Err == nil, nil
		}); err != nil {
			t.Fatal(err)
		}
		return node
	}
	for i, end := range []func(*harness.Broker) error{(*harness.Broker).Kill, (*harness.Broker).Stop, (*harness.Broker).Kill, (*harness.Broker).Stop} {
		commit()
		node := coordinator()
		ends := c.b[node-1]
		if err := end(ends); err != nil {
			t.Fatalf("end %d of broker %d: %v\n%s", i, node, err, ends.Tail(20))
		}
		c.await(ctx, c.other(node), "nobody is missed", func(h console.Cluster) bool {
			return h.Active == 2 && h.Controller > 0 && h.Controller != node
		})
		check()
		commit()
		if now := coordinator(); now == node {
			t.Errorf("the group is still coordinated by broker %d", node)
		}
		if err := ends.Start(ctx); err != nil {
			t.Fatal(err)
		}
		c.await(ctx, ends, "it is back", func(h console.Cluster) bool { return h.Active == 3 })
		check()
	}
}

// A partition is moved away from a broker that is down: what the broker has of it would stay on its disk.
func TestMovedWhileDown(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	c := newCluster(ctx, t, 3)
	adm := c.admin()
	if _, err := adm.CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	if err := harness.Until(ctx, func() (_ bool, err error) {
		dirs, err = filepath.Glob(filepath.Join(c.b[2].Dir, "partitions", "*", "0"))
		return len(dirs) == 1, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.b[2].Stop(); err != nil {
		t.Fatal(err)
	}
	var req kadm.AlterPartitionAssignmentsReq
	req.Assign("t", 0, []int32{1, 2})
	if err := harness.Until(ctx, func() (bool, error) {
		_, err := c.admin().AlterPartitionAssignments(ctx, req)
		if err != nil {
			return false, nil
		}
		now, err := c.admin().ListTopics(ctx, "t")
		return err == nil && len(now["t"].Partitions[0].Replicas) == 2, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.b[2].Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := harness.Until(ctx, func() (bool, error) {
		_, err := os.Stat(dirs[0])
		return errors.Is(err, fs.ErrNotExist), nil
	}); err != nil {
		t.Fatalf("%s: %v\n%s", dirs[0], err, c.b[2].Tail(20))
	}
}
