package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/qanat-io/qanat/broker/console"
)

// clusterBackend is a cluster of three, of which broker 3 is not there. A look at it is a step of time: a drain goes on by
// one replica each time, a broker that is empty stops.
type clusterBackend struct {
	console.Backend
	mu       sync.Mutex
	brokers  []console.Broker
	mode     string
	throttle int64
	drained  func() // when set, called behind the answer to a drain
	looks    int
	moves    []string
}

func newClusterBackend() *clusterBackend {
	at := func(id int32) []console.Listener {
		return []console.Listener{{Name: "PLAINTEXT", Advertised: fmt.Sprintf("h%d:9092", id)}}
	}
	return &clusterBackend{mode: "off", brokers: []console.Broker{
		{ID: 1, State: "active", Epoch: 5, Rack: "a", Listeners: at(1), Cluster: "h1:9645", Version: "v", Controller: true, Voter: true, Replicas: 3, Leaders: 2, Preferred: 1, Groups: 32},
		{ID: 2, State: "active", Epoch: 6, Rack: "b", Listeners: at(2), Cluster: "h2:9645", Version: "v", Voter: true, Replicas: 3, Leaders: 1, Preferred: 1, Groups: 32},
		{ID: 3, State: "fenced", Epoch: 7, Rack: "c", Listeners: at(3), Cluster: "h3:9645", Version: "v", Voter: true, Replicas: 3, Preferred: 1, OutOfSync: 3},
	}}
}

func (b *clusterBackend) Brokers() []console.Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.brokers {
		x := &b.brokers[i]
		if x.Drain && x.Replicas > x.Stuck {
			x.Replicas--
			x.Moving = min(1, x.Replicas)
		} else if x.Drain && x.Replicas == 0 {
			x.State = "fenced"
		}
	}
	return append([]console.Broker(nil), b.brokers...)
}

func (b *clusterBackend) Cluster() console.Cluster {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	c := console.Cluster{ClusterID: "c", AskedOf: 1, Controller: 1, Brokers: 3, Active: 3, Topics: 1, Partitions: 3, Problems: []string{}, Warnings: []string{}, Worst: []console.PartitionHealth{}}
	if b.looks > 3 {
		c.Healthy = true
		return c
	}
	c.Active, c.Leaderless, c.UnderReplicated, c.Offline, c.Damaged, c.Unreadable, c.Unarchived = 2, 1, 3, 4, 5, 6, 7
	c.Problems = []string{"1 partition: nobody leads", "broker 3 is fenced: it is not there, or has not caught up"}
	c.Worst = []console.PartitionHealth{{Topic: "events", Partition: 2, Problem: "nobody leads", Leader: -1, Replicas: []int32{3, 2}, ISR: []int32{3}, ELR: []int32{}}}
	return c
}

func (b *clusterBackend) Balance() console.Balance {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := console.Balance{Mode: b.mode, Throttle: b.throttle, Moves: []console.BalanceMove{{Topic: "events", Partition: 1, Replicas: []int32{1, 2}, Target: []int32{3, 2}, Bytes: 3 << 20}}, Bytes: 3 << 20}
	if b.mode == "once" {
		b.mode = "off"
		out.Moving, out.Moves, out.Bytes = 1, []console.BalanceMove{}, 0
	}
	return out
}

func (b *clusterBackend) SetBalance(_ context.Context, mode string, throttle int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mode, b.throttle = mode, throttle
	return nil
}

func (b *clusterBackend) Drain(_ context.Context, id int32, on bool, throttle int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.brokers {
		if b.brokers[i].ID == id {
			b.brokers[i].Drain, b.brokers[i].Throttle = on, throttle
			if b.drained != nil {
				defer time.AfterFunc(0, b.drained)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: broker %d", console.ErrNotFound, id)
}

func (b *clusterBackend) Ready() error { return nil }

func (b *clusterBackend) Transfer(_ context.Context, topic string, p, to int32) error {
	if to == 3 {
		return fmt.Errorf("%w: the preferred replica cannot lead: broker 3 is not active", console.ErrRefused)
	}
	b.moves = append(b.moves, fmt.Sprint(topic, p, to))
	return nil
}

func clusterPort(t *testing.T) (*cli, *clusterBackend) {
	t.Helper()
	b := newClusterBackend()
	s := httptest.NewServer(console.New(console.Config{}, b, nil, slog.New(slog.DiscardHandler)).Handler())
	t.Cleanup(s.Close)
	k, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(2, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return &cli{t: t, admin: strings.TrimPrefix(s.URL, "http://"), brokers: strings.Join(k.ListenAddrs(), ",")}, b
}

// What the cluster is like, and what is asked of it, is shown as it is; what is refused keeps its reason and its code.
func TestCluster(t *testing.T) {
	c, b := clusterPort(t)
	c.story("", "cluster", "health")
	c.story("", "cluster", "health", "-o", "yaml")
	c.story("", "broker", "list")
	c.story("", "broker", "list", "-o", "wide")
	c.story("", "broker", "status", "3")
	c.story("", "broker", "status", "3", "-o", "json")
	c.story("", "broker", "status", "9")
	c.story("", "broker", "status", "three")
	c.story("", "broker", "drain", "2")
	c.story("", "broker", "drain", "2", "--yes", "--wait")
	c.story("", "broker", "drain", "2", "--stop")
	c.story("", "broker", "drain", "2", "--yes", "--wait", "--throttle", "5000000")
	c.story("", "broker", "drain", "2", "--throttle", "-1")
	c.story("", "broker", "decommission", "1")
	c.story("", "partition", "balance", "--dry-run")
	c.story("", "partition", "balance")
	c.story("", "partition", "balance", "--yes", "--wait")
	c.story("", "partition", "balance", "--yes", "--wait", "--throttle", "1000000")
	c.story("", "partition", "balance", "--stop")
	c.story("", "partition", "balance", "--dry-run", "--stop")
	c.story("", "partition", "transfer-leader", "events/1", "--to", "2")
	c.story("", "partition", "transfer-leader", "events/1", "--to", "3")
	c.story("", "partition", "transfer-leader", "events", "--to", "2")
	c.story("", "partition", "move", "events/1")
	c.story("", "partition", "move", "events", "--to", "1")
	c.story("", "partition", "move", "events/1", "--to", "1,x")
	c.matches("cluster")
	if len(b.moves) != 1 {
		t.Errorf("transferred %v", b.moves)
	}
}

// A drain could not be followed when the broker that was asked restarts: others are asked, and who has just started is not believed.
func TestFollowedOnAnyBroker(t *testing.T) {
	c, b := clusterPort(t)
	stale := newClusterBackend()
	stale.brokers = stale.brokers[:1] // it has not caught up, and says so
	other := httptest.NewServer(console.New(console.Config{}, unready{stale}, nil, slog.New(slog.DiscardHandler)).Handler())
	t.Cleanup(other.Close)
	third := httptest.NewServer(console.New(console.Config{}, b, nil, slog.New(slog.DiscardHandler)).Handler())
	t.Cleanup(third.Close)
	b.brokers[0].Admin = strings.TrimPrefix(other.URL, "http://")
	b.brokers[2].Admin = strings.TrimPrefix(third.URL, "http://")
	first := httptest.NewServer(console.New(console.Config{}, b, nil, slog.New(slog.DiscardHandler)).Handler())
	c.admin = strings.TrimPrefix(first.URL, "http://")
	b.drained = func() { first.CloseClientConnections(); _ = first.Listener.Close() }
	r := c.run("broker", "drain", "2", "-y", "--wait")
	if r.code != exitOK || !strings.Contains(r.out, "broker 2: it is empty") || !strings.Contains(r.errors, "asking "+b.brokers[2].Admin) {
		t.Errorf("%+v", r)
	}
}

type unready struct{ *clusterBackend }

func (unready) Ready() error { return errors.New("the broker is starting") }

// Watching tells what changes and ends when all is well, or when the time is over with the code for an unhealthy cluster.
func TestWatchHealth(t *testing.T) {
	c, b := clusterPort(t)
	if r := c.run("cluster", "health", "-w", "--interval", "1ms"); r.code != exitOK || strings.Count(r.out, "\n") != 2 || !strings.Contains(r.out, "healthy: 3 brokers active") {
		t.Errorf("%+v", r)
	}
	b.looks = -1_000_000
	if r := c.run("cluster", "health", "-w", "--interval", "1ms", "--timeout", "50ms"); r.code != exitUnhealthy || strings.Count(r.out, "\n") != 1 {
		t.Errorf("%+v", r)
	}
	if r := c.run("cluster", "health", "-w", "--interval", "0s"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}

// A drain that can go no further is given up with the reason.
func TestStuckDrain(t *testing.T) {
	c, b := clusterPort(t)
	b.brokers[1].Stuck = 3
	r := c.run("broker", "drain", "2", "-y", "--wait")
	if r.code != exitRefused || !strings.Contains(r.errors, "cannot be emptied") {
		t.Errorf("%+v", r)
	}
}
