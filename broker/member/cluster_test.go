package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// patience is how long a test waits for what must happen; never in vain unless it fails.
const patience = 25 * time.Second

// cluster is brokers of one test, of which some run.
type cluster struct {
	t     testing.TB
	seeds []quorum.Seed
	nodes map[kafka.BrokerID]*node
	tune  func(*Config)
	log   *slog.Logger
}

// node is a broker that may be stopped and started again.
type node struct {
	id        kafka.BrokerID
	dir       string
	directory quorum.Directory
	addr      string
	fatal     chan error
	*Member
}

// newCluster gives n nodes their addresses and directories; voters of them are in cluster.peers. None runs.
func newCluster(t testing.TB, n, voters int) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: map[kafka.BrokerID]*node{}, log: slog.New(slog.DiscardHandler)}
	if os.Getenv("QANAT_TEST_LOG") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for i := range n {
		id := kafka.BrokerID(i + 1)
		// An address of its own, so that its port is nobody else's while the node is stopped.
		host := fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
		l, err := net.Listen("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[id] = &node{id: id, addr: l.Addr().String(), fatal: make(chan error, 8)}
		l.Close()
		c.empty(id)
		if i < voters {
			c.seeds = append(c.seeds, quorum.Seed{Node: id, Address: c.nodes[id].addr})
		}
	}
	t.Cleanup(func() {
		for id := range c.nodes {
			c.stop(id)
		}
	})
	return c
}

// empty gives a node a new directory.
func (c *cluster) empty(id kafka.BrokerID) {
	n := c.nodes[id]
	n.dir = filepath.Join(c.t.TempDir(), "metadata")
	n.directory = quorum.Directory(kafka.NewTopicID())
}

func (c *cluster) config(id kafka.BrokerID) Config {
	n := c.nodes[id]
	cfg := Config{
		Seeds: c.seeds, Release: "test",
		Quorum: quorum.Config{
			Dir: n.dir, ID: id, Listen: n.addr, Directory: n.directory, Voters: len(c.seeds),
			StableAfter: 300 * time.Millisecond, GoneAfter: 2 * time.Second,
			Fatal: func(err error) { n.fatal <- err },
		},
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	return cfg
}

func (c *cluster) open(id kafka.BrokerID) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n := c.nodes[id]
	m, err := Open(ctx, c.config(id), time.Now, c.log.With("node", id))
	if err != nil {
		return err
	}
	n.Member = m
	return m.Quorum.Ready(ctx)
}

// start starts nodes together and waits until all are ready.
func (c *cluster) start(ids ...kafka.BrokerID) {
	c.t.Helper()
	errs := make(chan error, len(ids))
	for _, id := range ids {
		go func() { errs <- c.open(id) }()
	}
	for range ids {
		if err := <-errs; err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) stop(id kafka.BrokerID) {
	n := c.nodes[id]
	if n.Member == nil {
		return
	}
	if err := n.Member.Close(); err != nil {
		c.t.Errorf("close node %d: %v", id, err)
	}
	n.Member = nil
}

// eventually waits until f is true, and says what it waits for when it never is.
func (c *cluster) eventually(what string, f func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			for id, n := range c.nodes {
				if n.Member != nil {
					c.t.Logf("node %d: %+v", id, n.Quorum.Status())
				}
			}
			c.t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (c *cluster) propose(id kafka.BrokerID, cmd command.Command) any {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := c.nodes[id].Quorum.Propose(ctx, cmd)
	if err != nil {
		c.t.Fatalf("node %d: %s: %v", id, cmd.Kind(), err)
	}
	return r
}

// leader waits for one that the given nodes agree on.
func (c *cluster) leader(among ...kafka.BrokerID) (leader kafka.BrokerID) {
	c.t.Helper()
	c.eventually("a leader", func() bool {
		leader = c.nodes[among[0]].Quorum.LeaderID()
		if leader == kafka.NoBroker || c.nodes[leader].Member == nil {
			return false
		}
		for _, id := range among {
			if c.nodes[id].Quorum.LeaderID() != leader {
				return false
			}
		}
		now, _ := c.nodes[leader].Quorum.Leader()
		return now.Ready
	})
	return leader
}

// voters waits until the nodes agree on who votes.
func (c *cluster) voters(on kafka.BrokerID, want ...kafka.BrokerID) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("voters %v", want), func() bool {
		var got []kafka.BrokerID
		for _, v := range c.nodes[on].Quorum.Status().Voters {
			got = append(got, v.ID)
		}
		return len(got) == len(want) && subset(got, want)
	})
}

func subset(a, b []kafka.BrokerID) bool {
	in := map[kafka.BrokerID]bool{}
	for _, x := range b {
		in[x] = true
	}
	for _, x := range a {
		if !in[x] {
			return false
		}
	}
	return true
}

// same waits until all nodes have the same image, byte for byte.
func (c *cluster) same(ids ...kafka.BrokerID) {
	c.t.Helper()
	c.eventually("the same image everywhere", func() bool {
		var first []byte
		for _, id := range ids {
			var b bytes.Buffer
			if err := c.nodes[id].Quorum.Image().Encode(&b); err != nil {
				c.t.Fatal(err)
			}
			if first == nil {
				first = b.Bytes()
			} else if !bytes.Equal(first, b.Bytes()) {
				return false
			}
		}
		return true
	})
}

func topic(name string) command.CreateTopic {
	return command.CreateTopic{ID: kafka.NewTopicID(), Name: name, Partitions: [][]kafka.BrokerID{{1}}}
}

// Nodes that are started together could form several clusters, or none; proposals of any of them could be lost, or be answered
// otherwise than the leader computed.
func TestForm(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCluster(t, n, n)
			var ids []kafka.BrokerID
			for id := range c.nodes {
				ids = append(ids, id)
			}
			c.start(ids...)
			id := c.nodes[1].Quorum.ClusterID()
			var got []kafka.ProducerID
			for _, n := range c.nodes {
				if n.Quorum.ClusterID() != id {
					t.Errorf("node %d is of cluster %s, node 1 of %s", n.id, n.Quorum.ClusterID(), id)
				}
				first, ok := c.propose(n.id, command.AllocateProducerIDs{Count: 10}).(kafka.ProducerID)
				if !ok || n.Quorum.Image().NextProducerID() < first+10 {
					t.Errorf("node %d: answered %v, its image is at %d", n.id, first, n.Quorum.Image().NextProducerID())
				}
				got = append(got, first)
				c.propose(n.id, topic(fmt.Sprint(n.id)))
				_, err := n.Quorum.Propose(t.Context(), topic(fmt.Sprint(n.id)))
				if !errors.Is(err, image.ErrTopicExists) {
					t.Errorf("node %d: a refusal arrives as %v", n.id, err)
				}
			}
			for i, first := range got {
				if first != kafka.ProducerID(10*i) {
					t.Errorf("blocks %v", got)
				}
			}
			c.same(ids...)
			c.voters(1, ids...)
		})
	}
}

// A cluster that is stopped as a whole could not come back, or come back with less.
func TestWholeClusterRestarts(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.start(1, 2, 3)
	for round := range 2 {
		c.propose(2, topic(fmt.Sprint(round)))
		for id := range c.nodes {
			c.stop(id)
		}
		c.start(1, 2, 3)
		for id := range c.nodes {
			for r := range round + 1 {
				if _, ok := c.nodes[id].Quorum.Image().TopicByName(fmt.Sprint(r)); !ok {
					t.Errorf("round %d: node %d has no topic %d", round, id, r)
				}
			}
		}
	}
}

// Brokers beyond the first could be voters at once, or have no image; a dead voter could stay one for ever.
func TestJoinPromoteReplace(t *testing.T) {
	c := newCluster(t, 5, 3)
	c.start(1, 2, 3)
	c.propose(1, topic("before"))
	c.start(4, 5)
	for _, id := range []kafka.BrokerID{4, 5} {
		if _, ok := c.nodes[id].Quorum.Image().TopicByName("before"); !ok {
			t.Errorf("node %d is ready without what was before", id)
		}
		c.propose(id, topic(fmt.Sprint(id)))
	}
	c.same(1, 2, 3, 4, 5)
	c.voters(1, 1, 2, 3)
	lead := c.leader(1, 2, 3, 4, 5)
	dead := lead%3 + 1
	c.stop(dead)
	c.eventually("the dead voter is replaced", func() bool {
		s := c.nodes[lead].Quorum.Status()
		for _, v := range s.Voters {
			if v.ID == dead {
				return false
			}
		}
		return len(s.Voters) == 3
	})
}

// A node with an empty directory could vote on a log that it has forgotten: it must come in as a non-voter, be promoted later,
// and its old directory must never be heard again.
func TestReplacement(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.start(1, 2, 3)
	c.propose(1, topic("a"))
	c.leader(1, 2, 3)
	old := *c.nodes[3]
	c.stop(3)
	c.empty(3)
	c.start(3)
	if who := c.nodes[3].Quorum.Who(); !who.Joined || who.Admission == 0 {
		t.Errorf("the replacement came in as %+v", who)
	}
	if _, ok := c.nodes[3].Quorum.Image().TopicByName("a"); !ok {
		t.Error("the replacement is ready without the image")
	}
	c.voters(1, 1, 2, 3)
	c.voters(3, 1, 2, 3)

	// The old directory comes back, in the place of the new one.
	c.stop(3)
	c.nodes[3].dir, c.nodes[3].directory = old.dir, old.directory
	go func() { _ = c.open(3) }() // never ready
	select {
	case err := <-c.nodes[3].fatal:
		if !errors.Is(err, quorum.ErrStale) || !strings.Contains(err.Error(), "empty") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("a directory that was replaced runs on")
	}
	c.propose(1, topic("b"))
}

// A node id could be taken from a broker that lives.
func TestReusedNodeID(t *testing.T) {
	c := newCluster(t, 4, 3)
	c.start(1, 2, 3)
	c.leader(1, 2, 3)
	cfg := c.config(4)
	cfg.Quorum.ID = 3
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if m, err := Open(ctx, cfg, time.Now, c.log); !errors.Is(err, quorum.ErrRefused) || !strings.Contains(err.Error(), "node.id") {
		t.Errorf("%v, %v", m, err)
	}
	c.propose(3, topic("still here"))
	c.voters(1, 1, 2, 3)
}

// A node of another cluster, or with another cluster.id, could come in.
func TestForeignCluster(t *testing.T) {
	c := newCluster(t, 4, 3)
	c.start(1, 2, 3)
	c.leader(1, 2, 3)
	cfg := c.config(4)
	cfg.Quorum.ClusterID = "another"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := Open(ctx, cfg, time.Now, c.log); !errors.Is(err, quorum.ErrRefused) || !strings.Contains(err.Error(), "cluster.id") {
		t.Error(err)
	}
	// One that has formed a cluster of its own, and is then pointed at this one.
	seeds := c.seeds
	c.seeds = nil
	c.start(4)
	other := c.nodes[4].Quorum.ClusterID()
	if other == c.nodes[1].Quorum.ClusterID() {
		t.Fatal("two clusters have one id")
	}
	if _, _, err := c.nodes[4].Hub.AskAt(t.Context(), 1, seeds[0].Address, keys[quorum.CallHello], 0, []byte{0xa0}); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("a member of another cluster is answered: %v", err)
	}
	c.stop(4)
	c.seeds = seeds
	go func() { _ = c.open(4) }() // never ready, or not for long
	select {
	case err := <-c.nodes[4].fatal:
		if !errors.Is(err, quorum.ErrRefused) || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), "cluster.peers") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("two clusters where cluster.peers names one")
	}
}

// A wrong address in cluster.peers could lead a node astray, or leave it without a word of what is wrong.
func TestWrongSeed(t *testing.T) {
	c := newCluster(t, 4, 3)
	c.start(1, 2, 3)
	cfg := c.config(4)
	cfg.Seeds = []quorum.Seed{{Node: 1, Address: c.nodes[2].addr}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var said bytes.Buffer
	if _, err := Open(ctx, cfg, time.Now, slog.New(slog.NewTextHandler(&said, nil))); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	// With another seed that is right it comes in.
	cfg = c.config(4)
	cfg.Seeds = append([]quorum.Seed{{Node: 9, Address: c.nodes[4].addr + "0"}}, c.seeds[1])
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := Open(ctx, cfg, time.Now, c.log)
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[4].Member = m
	if err := m.Quorum.Ready(ctx); err != nil {
		t.Error(err)
	}
}

// A leader's death could cost more than its followers need to see it, or an answered proposal.
func TestLeaderDies(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.start(1, 2, 3)
	for round := range 3 {
		lead := c.leader(1, 2, 3)
		follower := lead%3 + 1
		c.propose(follower, topic(fmt.Sprint("before", round)))
		began := time.Now()
		c.stop(lead)
		c.propose(follower, topic(fmt.Sprint("after", round)))
		t.Logf("round %d: a proposal was answered %v after the leader was stopped", round, time.Since(began).Round(time.Millisecond))
		c.start(lead)
		for id := range c.nodes {
			for _, name := range []string{"before", "after"} {
				if _, ok := c.nodes[id].Quorum.Image().TopicByName(fmt.Sprint(name, round)); !ok {
					t.Errorf("round %d: node %d has no topic %q", round, id, name)
				}
			}
		}
	}
}

// The last voter could be taken away, or one without which there is no majority.
func TestMembershipIsGuarded(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.tune = func(cfg *Config) { cfg.Quorum.Voters, cfg.Quorum.GoneAfter = 1, time.Hour }
	c.start(1, 2, 3)
	lead := c.leader(1, 2, 3)
	a, b := lead%3+1, (lead+1)%3+1
	for _, id := range []kafka.BrokerID{a, b} {
		if err := c.nodes[a].Quorum.Demote(t.Context(), id); err != nil { // also asked of who does not lead
			t.Fatal(err)
		}
	}
	for _, f := range []func(context.Context, kafka.BrokerID) error{c.nodes[a].Quorum.Demote, c.nodes[lead].Quorum.RemoveServer} {
		if err := f(t.Context(), lead); !errors.Is(err, quorum.ErrRefused) || !strings.Contains(err.Error(), "last voter") {
			t.Error(err)
		}
	}
	if err := c.nodes[a].Quorum.Promote(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	c.voters(b, lead, a)
	if err := c.nodes[b].Quorum.TransferLeadership(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if now := c.leader(1, 2, 3); now != a {
		t.Errorf("broker %d leads, %d was asked to", now, a)
	}
	c.propose(b, topic("x"))
	if err := c.nodes[lead].Quorum.RemoveServer(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[lead].Quorum.Promote(t.Context(), b); !errors.Is(err, quorum.ErrRefused) {
		t.Error(err)
	}
}

// Taking the leader's vote, or the leader itself, away could leave the cluster without one until the others' timeouts have passed.
func TestLeaderIsTakenOut(t *testing.T) {
	for name, take := range map[string]func(*quorum.Quorum, context.Context, kafka.BrokerID) error{
		"demoted": (*quorum.Quorum).Demote, "removed": (*quorum.Quorum).RemoveServer,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3, 3)
			c.tune = func(cfg *Config) { cfg.Quorum.StableAfter = time.Hour }
			c.start(1, 2, 3)
			lead := c.leader(1, 2, 3)
			other := lead%3 + 1
			third := other%3 + 1
			began := time.Now()
			if err := take(c.nodes[other].Quorum, t.Context(), lead); err != nil {
				t.Fatal(err)
			}
			ready := false
			for _, id := range []kafka.BrokerID{other, third} {
				now, _ := c.nodes[id].Quorum.Leader()
				ready = ready || now.Ready
			}
			if !ready {
				t.Error("it was taken out, and nobody leads")
			}
			c.propose(other, topic("t"))
			t.Logf("taken out and a proposal answered within %s", time.Since(began).Round(time.Millisecond))
			c.voters(other, other, third)
		})
	}
}

// After the loss of the majority one node could not go on alone, lose what it had, or be disturbed by who was left behind.
func TestRecover(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.start(1, 2, 3)
	c.propose(2, topic("kept"))
	c.same(1, 2, 3)
	cluster := c.nodes[1].Quorum.ClusterID()
	for id := range c.nodes {
		c.stop(id)
	}
	r, err := quorum.Recover(c.nodes[3].dir, c.log)
	if err != nil {
		t.Fatal(err)
	}
	if r.Node != 3 || r.Cluster != cluster || len(r.Voters) != 3 || r.LastIndex == 0 {
		t.Errorf("%+v", r)
	}
	c.start(3)
	if _, ok := c.nodes[3].Quorum.Image().TopicByName("kept"); !ok {
		t.Error("what the log held is gone")
	}
	c.propose(3, topic("since"))
	// Those that were left behind are a majority of the old configuration. They may lead one another; nobody of the new one listens.
	go func() { _ = c.open(1) }()
	select {
	case err := <-c.nodes[1].fatal:
		if !errors.Is(err, quorum.ErrStale) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("a node that was left behind runs on")
	}
	c.nodes[2].dir = ""
	c.empty(2)
	c.start(2)
	if _, ok := c.nodes[2].Quorum.Image().TopicByName("since"); !ok {
		t.Error("who joined after the recovery lacks what came after it")
	}
	c.voters(3, 2, 3)
}

// Whatever leadership changes happen, a proposal answered with success is applied exactly once, and its answer is what the
// log says, wherever it was proposed.
func TestProposalsUnderLeadershipStorm(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.start(1, 2, 3)
	type block struct {
		node kafka.BrokerID
		id   kafka.ProducerID
	}
	var mu sync.Mutex
	var got []block
	unknown := 0
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for id, n := range c.nodes {
		for range 4 {
			running.Go(func() {
				for ctx.Err() == nil {
					r, err := n.Quorum.Propose(context.Background(), command.AllocateProducerIDs{Count: 1})
					mu.Lock()
					if err != nil {
						unknown++
					} else {
						got = append(got, block{id, r.(kafka.ProducerID)})
					}
					mu.Unlock()
				}
			})
		}
	}
	for i := range 12 {
		lead := c.leader(1, 2, 3)
		to := (lead+kafka.BrokerID(i)%2)%3 + 1
		if err := c.nodes[lead].Quorum.TransferLeadership(t.Context(), to); err != nil {
			t.Log(err) // it may fail; then there is another leader, or the same
		}
	}
	cancel()
	running.Wait()
	c.same(1, 2, 3)
	seen := map[kafka.ProducerID]bool{}
	for _, b := range got {
		if seen[b.id] {
			t.Errorf("id %d was handed out twice", b.id)
		}
		seen[b.id] = true
	}
	if next := int(c.nodes[1].Quorum.Image().NextProducerID()); next < len(got) || next > len(got)+unknown {
		t.Errorf("%d ids were handed out, %d proposals answered and %d not", next, len(got), unknown)
	}
	if unknown > 0 {
		t.Logf("%d of %d proposals were not answered in time", unknown, len(got)+unknown)
	}
}

// A broker that can join nobody could hide why: another token, a port for clients, nobody there.
func TestWhyNothingIsJoined(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.start(1, 2)
	c.nodes[2].Hub.Close()
	cfg := c.config(3)
	cfg.Token = "another"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	said := once(cancel)
	_, err := Open(ctx, cfg, time.Now, slog.New(slog.NewTextHandler(said, nil)))
	for _, w := range []string{"broker 1: ", "cluster.join.token", "broker 2: ", "refused"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error leaves out %q: %v", w, err)
		}
	}
}

// A broker that says it is where nobody finds it could become a member that hears nothing for ever, whatever it says later;
// and so could one whose log was never begun, when it is told its right address.
func TestAdmittedWhereItIsFound(t *testing.T) {
	c := newCluster(t, 4, 3)
	c.start(1, 2, 3)
	lead := c.leader(1, 2, 3)
	cfg := c.config(4)
	cfg.Quorum.Advertise = "nowhere.invalid:9645"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	said := once(cancel)
	_, err := Open(ctx, cfg, time.Now, slog.New(slog.NewTextHandler(said, nil)))
	if err == nil || !strings.Contains(err.Error(), "nowhere.invalid") || !strings.Contains(err.Error(), "cluster.advertised") {
		t.Errorf("it is not told why: %v", err)
	}
	if n := c.nodes[lead].Quorum.Status().NonVoters; len(n) > 0 {
		t.Errorf("it was admitted: %v", n)
	}

	// A broker that was admitted and stopped before it heard anything, then moved.
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := Open(ctx, c.config(4), time.Now, c.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"log", "snapshots", "reached.json"} {
		if err := os.RemoveAll(filepath.Join(c.nodes[4].dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[4].addr = l.Addr().String()
	l.Close()
	c.start(4)
}

// once calls f when something is written.
type once func()

func (f once) Write(p []byte) (int, error) { f(); return len(p), nil }
