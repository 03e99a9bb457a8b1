package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// start opens a quorum of one and waits until it is ready.
func start(t testing.TB, cfg Config) *Quorum {
	t.Helper()
	return startBetween(t, cfg, func(s raft.LogStore) raft.LogStore { return s })
}

func startBetween(t testing.TB, cfg Config, between func(raft.LogStore) raft.LogStore) *Quorum {
	t.Helper()
	q, err := open(complete(cfg), time.Now, slog.New(slog.DiscardHandler), between)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQuorum(t, q) })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := q.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return q
}

func complete(cfg Config) Config {
	cfg.Listen, cfg.Bootstrap = "127.0.0.1:0", true
	return cfg
}

func closeQuorum(t testing.TB, q *Quorum) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

func propose(t testing.TB, q *Quorum, c command.Command) any {
	t.Helper()
	r, err := q.Propose(context.Background(), c)
	if err != nil {
		t.Fatalf("%s: %v", c.Kind(), err)
	}
	return r
}

func topic(name string) command.CreateTopic {
	return command.CreateTopic{ID: kafka.NewTopicID(), Name: name, Partitions: [][]kafka.BrokerID{{1}}}
}

func encoded(t testing.TB, m *image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A restart replays to the same image, byte for byte: from the log alone, from a snapshot, and from a snapshot and what came after it.
func TestRestartReplaysToTheSameImage(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 1}
	q := start(t, cfg)
	cluster := q.ClusterID()
	if cluster == "" || q.Image().ClusterID() != cluster {
		t.Fatalf("cluster %q, the image says %q", cluster, q.Image().ClusterID())
	}
	for round := range 4 {
		for i := range 5 {
			c := topic(fmt.Sprintf("t%d-%d", round, i))
			propose(t, q, c)
			propose(t, q, command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: c.ID}, Offset: 5}}})
			if round == 1 && i == 4 || round == 2 && i == 2 {
				if err := q.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
				if s := q.Status(); s.SnapshotIndex != q.Image().Index() {
					t.Errorf("snapshot %d, image %d", s.SnapshotIndex, q.Image().Index())
				}
			}
		}
		want := encoded(t, q.Image())
		closeQuorum(t, q)
		q = start(t, cfg)
		if got := encoded(t, q.Image()); !bytes.Equal(got, want) {
			t.Fatalf("round %d: another image after the restart", round)
		}
	}
}

// The directory serves only its own node and cluster, one process at a time, and only a release that knows its format.
func TestDirectoryIsGuarded(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 1, ClusterID: "mine"}
	try := func(c Config) error {
		q, err := Open(complete(c), time.Now, slog.New(slog.DiscardHandler))
		if err == nil {
			closeQuorum(t, q)
		} else if q != nil {
			t.Error("a quorum beside an error")
		}
		return err
	}
	q := start(t, cfg)
	if err := try(cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("second process: %v", err)
	}
	closeQuorum(t, q)
	other := cfg
	other.ClusterID = "theirs"
	if err := try(other); !errors.Is(err, ErrForeignDirectory) || !strings.Contains(err.Error(), `"mine"`) || !strings.Contains(err.Error(), `"theirs"`) {
		t.Errorf("another cluster: %v", err)
	}
	other = cfg
	other.ID = 2
	if err := try(other); !errors.Is(err, ErrForeignDirectory) {
		t.Errorf("another node: %v", err)
	}
	other = cfg
	other.ClusterID = ""
	if err := try(other); err != nil {
		t.Errorf("no cluster id configured: %v", err)
	}
	if _, err := claim(t.TempDir(), Identity{Node: 1}, false); !errors.Is(err, ErrForeignDirectory) {
		t.Errorf("new directory, no cluster to join: %v", err)
	}
	for _, bad := range []string{`{"format":2,"cluster":"mine","node":1}`, `{"format":1,"node":1}`, `{"form`, ``} {
		if err := os.WriteFile(filepath.Join(cfg.Dir, identityFile), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := try(cfg); !errors.Is(err, ErrFormat) {
			t.Errorf("node.json %q: %v", bad, err)
		}
	}
}

// A log that names another cluster halts the node, even when the directory's identity was made to fit.
func TestLogOfAnotherClusterHalts(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 1, ClusterID: "theirs"}
	q := start(t, cfg)
	closeQuorum(t, q)
	if err := os.Remove(filepath.Join(cfg.Dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	cfg.ClusterID = "mine"
	fatal := make(chan error, 1)
	cfg.Fatal = func(err error) { fatal <- err }
	q, err := Open(complete(cfg), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuorum(t, q)
	if err := <-fatal; !errors.Is(err, ErrForeignDirectory) || !errors.Is(err, image.ErrOtherCluster) {
		t.Error(err)
	}
}

// What one goroutine proposes is applied in its order, many to an entry; the image shows a command when it is answered.
func TestProposalsShareEntriesInOrder(t *testing.T) {
	gate := &gated{}
	q := startBetween(t, Config{Dir: t.TempDir(), ID: 1}, gate.over)
	release := gate.close()
	var answered sync.WaitGroup
	var order []int // written by the proposer's goroutine alone
	before := q.raft.LastIndex()
	const n = 1000
	for i := range n {
		answered.Add(1)
		q.ProposeAsync(command.AllocateProducerIDs{Count: 1}, func(r any, err error) {
			defer answered.Done()
			first, ok := r.(kafka.ProducerID)
			if err != nil || !ok || q.Image().NextProducerID() <= first {
				t.Errorf("proposal %d: %v, %v, image at %d", i, r, err, q.Image().NextProducerID())
			}
			order = append(order, int(first))
		})
	}
	release()
	answered.Wait()
	if !slices.IsSorted(order) || len(order) != n || order[n-1] != n-1 {
		t.Errorf("order %v", order)
	}
	if entries := q.raft.LastIndex() - before; entries > 2 {
		t.Errorf("%d proposals that waited together took %d entries", n, entries)
	}
}

// A refusal reaches its proposer as the sentinel that it wraps, and no other of the same entry.
func TestRefusalsReachTheirProposer(t *testing.T) {
	q := start(t, Config{Dir: t.TempDir(), ID: 1})
	propose(t, q, topic("a"))
	if _, err := q.Propose(context.Background(), topic("a")); !errors.Is(err, image.ErrTopicExists) || errors.Is(err, ErrNotReady) {
		t.Error(err)
	}
	if _, err := q.Propose(context.Background(), command.PutGroup{State: make([]byte, command.MaxBodyBytes)}); !errors.Is(err, command.ErrTooLarge) {
		t.Error(err)
	}
	propose(t, q, command.PutGroup{Group: "big", State: make([]byte, 2*entryBytes)}) // an entry to itself
	if g, ok := q.Image().Group("big"); !ok || len(g.State) != 2*entryBytes {
		t.Error("a command larger than an entry's usual bound was not applied")
	}
}

// After registering its broker a process proposes under that epoch, and is refused when another incarnation has taken its place.
func TestProposalsCarryTheBrokerEpoch(t *testing.T) {
	q := start(t, Config{Dir: t.TempDir(), ID: 1})
	propose(t, q, topic("before"))
	propose(t, q, command.RegisterBroker{ID: 1, Incarnation: [16]byte{1}})
	propose(t, q, topic("after"))
	usurper, err := command.Encode(command.Envelope{Broker: 1}, command.RegisterBroker{ID: 1, Incarnation: [16]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.raft.Apply(usurper, 0).Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Propose(context.Background(), topic("fenced")); !errors.Is(err, image.ErrFenced) {
		t.Error(err)
	}
}

// A subscriber hears of every change, in order, with images that are never older than the changes; while it is slow they are folded.
func TestSubscribe(t *testing.T) {
	q := start(t, Config{Dir: t.TempDir(), ID: 1})
	propose(t, q, topic("before"))
	type call struct {
		old, new *image.Image
		ch       Changes
	}
	calls := make(chan call)
	began := q.Subscribe(func(old, new *image.Image, ch Changes) { calls <- call{old, new, ch} })
	var ids []kafka.TopicID
	for i := range 50 {
		c := topic(fmt.Sprint(i))
		ids = append(ids, c.ID)
		propose(t, q, c)
		propose(t, q, command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: c.ID}}}})
	}
	var heard []kafka.TopicID
	last, n := began, 0
	for len(heard) < len(ids) {
		c := <-calls
		n++
		if c.old != last || c.new.Index() < c.old.Index() {
			t.Fatalf("call %d: old is not the last call's new", n)
		}
		for _, id := range c.ch.Topics {
			if _, ok := c.new.TopicByID(id); !ok {
				t.Fatalf("call %d: the image is older than its changes", n)
			}
		}
		heard, last = append(heard, c.ch.Topics...), c.new
	}
	if !slices.Equal(heard, ids) {
		t.Errorf("heard %v\nwant  %v", heard, ids)
	}
	if n > 3 {
		t.Errorf("%d calls for changes that were made while the first was blocked", n)
	}
}

// Status names the sole voter as leader, with the address at which it listens now.
func TestStatus(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 3}
	closeQuorum(t, start(t, cfg)) // the next start listens elsewhere
	q := start(t, cfg)
	propose(t, q, topic("a"))
	s := q.Status()
	if s.LeaderID != 3 || q.LeaderID() != 3 || s.Term < 2 || len(s.Voters) != 1 || len(s.NonVoters) != 0 {
		t.Fatalf("%+v", s)
	}
	if v := s.Voters[0]; v.ID != 3 || v.Addr != q.Addr() || v.LastIndex != s.LastIndex || v.LastCaughtUp.IsZero() {
		t.Errorf("%+v", v)
	}
	if s.AppliedIndex != q.Image().Index() || s.CommitIndex != s.LastIndex {
		t.Errorf("%+v, image %d", s, q.Image().Index())
	}
}

// Close fails what waits, and what comes later, with an error that says so; twice is once.
func TestClose(t *testing.T) {
	gate := &gated{}
	q := startBetween(t, Config{Dir: t.TempDir(), ID: 1}, gate.over)
	release := gate.close()
	results := make(chan error, 10)
	for range 10 {
		q.ProposeAsync(command.AllocateProducerIDs{Count: 1}, func(_ any, err error) { results <- err })
	}
	done := make(chan error)
	go func() { done <- q.Close() }()
	<-q.lead.ended
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range 10 {
		if err := <-results; err != nil && !errors.Is(err, ErrNotReady) {
			t.Error(err)
		}
	}
	if _, err := q.Propose(context.Background(), topic("late")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := q.Ready(context.Background()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	closeQuorum(t, q)
}
