package quorum

import (
	"cmp"
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
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/raftlog"
	"github.com/qanat-io/qanat/wire/kafka"
)

// gated is a log store whose appends can be held up, or made to fail.
type gated struct {
	raft.LogStore
	mu   sync.Mutex // held: appends wait
	fail error      // guarded by mu
}

func (g *gated) over(s raft.LogStore) raft.LogStore { g.LogStore = s; return g }

// close holds appends up until release is called.
func (g *gated) close() (release func()) {
	g.mu.Lock()
	return g.mu.Unlock
}

func (g *gated) StoreLogs(ls []*raft.Log) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return g.fail
	}
	return g.LogStore.StoreLogs(ls)
}

// IsMonotonic is raft-wal's, which the embedded interface hides.
func (g *gated) IsMonotonic() bool { return true }

// A log store that does not come back from an append halts the node; a leader with a hung disk would lead for ever.
func TestStallHalts(t *testing.T) {
	gate := &gated{}
	fatal := make(chan error, 1)
	q := startBetween(t, Config{Dir: t.TempDir(), ID: 1, StallTimeout: 50 * time.Millisecond, Fatal: func(err error) { fatal <- err }}, gate.over)
	release := gate.close()
	defer release()
	q.ProposeAsync(topic("a"), func(any, error) {})
	if err := <-fatal; !errors.Is(err, ErrStalled) {
		t.Error(err)
	}
}

// A failed append halts the node: the proposal is not answered with success, and no later append may succeed.
func TestFailedAppendHalts(t *testing.T) {
	gate := &gated{}
	fatal := make(chan error, 1)
	q := startBetween(t, Config{Dir: t.TempDir(), ID: 1, Fatal: func(err error) { fatal <- err }}, gate.over)
	errDisk := errors.New("input/output error")
	release := gate.close()
	gate.fail = errDisk
	release()
	answered := make(chan error, 1)
	q.ProposeAsync(topic("a"), func(_ any, err error) { answered <- err })
	if err := <-fatal; !errors.Is(err, errDisk) {
		t.Error(err)
	}
	release = gate.close()
	gate.fail = nil
	release()
	closeQuorum(t, q)
	if err := <-answered; !errors.Is(err, ErrNotReady) {
		t.Errorf("answered with %v", err)
	}
	if _, ok := q.Image().TopicByName("a"); ok {
		t.Error("the failed append was applied")
	}
}

// An entry that this release cannot read halts the node, when it is applied and at every start after; nothing behind it
// is applied, and no snapshot hides it.
func TestUnknownCommandHalts(t *testing.T) {
	fatal := make(chan error, 1)
	cfg := Config{Dir: t.TempDir(), ID: 1, Fatal: func(err error) { fatal <- err }}
	q := start(t, cfg)
	propose(t, q, topic("before"))
	foreign, err := command.Encode(command.Envelope{}, topic("foreign"))
	if err != nil {
		t.Fatal(err)
	}
	foreign[1] = 9 // a format of the future
	f := q.raft.Apply(foreign, 0)
	if err := <-fatal; !errors.Is(err, command.ErrUnknown) {
		t.Error(err)
	}
	if err := f.Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Propose(context.Background(), topic("after")); !errors.Is(err, ErrNotReady) {
		t.Errorf("answered with %v", err)
	}
	if err := q.raft.Snapshot().Error(); err == nil || !strings.Contains(err.Error(), command.ErrUnknown.Error()) { // Raft wraps it as text
		t.Errorf("snapshot: %v", err)
	}
	for range 2 {
		_, before := q.Image().TopicByName("before")
		if _, after := q.Image().TopicByName("after"); !before || after {
			t.Errorf("topic before it %v, after it %v", before, after)
		}
		closeQuorum(t, q)
		if q, err = Open(complete(cfg), time.Now, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if err := <-fatal; !errors.Is(err, command.ErrUnknown) {
			t.Error(err)
		}
	}
	closeQuorum(t, q)
}

// A process that is killed while it makes a snapshot would leave it on the disk for ever.
func TestUnfinishedSnapshotIsRemoved(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 1}
	q := start(t, cfg)
	propose(t, q, command.AllocateProducerIDs{Count: 1})
	if err := q.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	want := q.Image().NextProducerID()
	closeQuorum(t, q)
	unfinished := filepath.Join(cfg.Dir, "snapshots", "2-7-1700000000000.tmp")
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(unfinished, "state.bin"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	q = start(t, cfg)
	if got := q.Image().NextProducerID(); got != want {
		t.Errorf("next producer id %d, want %d", got, want)
	}
	left, err := filepath.Glob(filepath.Join(cfg.Dir, "snapshots", "*"))
	if err != nil || len(left) != 1 || strings.HasSuffix(left[0], ".tmp") {
		t.Errorf("left: %v, %v", left, err)
	}
}

// When the newest snapshot is damaged the node starts from the one before it if the log goes on from there, to the same
// image, and otherwise not at all: never with a hole.
func TestDamagedSnapshot(t *testing.T) {
	for _, between := range []int{10, trailingLogs + 50} {
		cfg := Config{Dir: t.TempDir(), ID: 1}
		q := start(t, cfg)
		for range 2 {
			for range between {
				propose(t, q, command.AllocateProducerIDs{Count: 1})
			}
			if err := q.raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
		want := q.Image().NextProducerID()
		closeQuorum(t, q)
		states, err := filepath.Glob(filepath.Join(cfg.Dir, "snapshots", "*", "state.bin"))
		if err != nil || len(states) != 2 {
			t.Fatalf("%v, %v", states, err)
		}
		newest := slices.MaxFunc(states, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // <term>-<index>-<ms>: more digits, later
		})
		b, err := os.ReadFile(newest)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(newest, b, 0o644); err != nil {
			t.Fatal(err)
		}
		q, err = Open(complete(cfg), time.Now, slog.New(slog.DiscardHandler))
		if between > trailingLogs {
			if err == nil {
				t.Error("started with a hole in the state")
				closeQuorum(t, q)
			} else if !strings.Contains(err.Error(), "empty directory") {
				t.Errorf("no remedy: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := q.Image().NextProducerID(); got != want {
			t.Errorf("ids up to %d, want %d", got, want)
		}
		closeQuorum(t, q)
	}
}

// fakeRaft applies entries to an image, and loses leadership when told: before or after it has applied.
type fakeRaft struct {
	fsm   *fsm
	index uint64
	// lose is consumed call by call: "" applies, "before" refuses, "after" applies and says that leadership was lost.
	lose []string
}

func (r *fakeRaft) apply(entry []byte) ([]answer, error) {
	how := ""
	if len(r.lose) > 0 {
		how, r.lose = r.lose[0], r.lose[1:]
	}
	if how == "before" {
		return nil, raft.ErrNotLeader
	}
	r.index++
	response := r.fsm.Apply(&raft.Log{Index: r.index, Type: raft.LogCommand, Data: entry})
	if how == "after" {
		return nil, raft.ErrLeadershipLost
	}
	return response.([]answer), nil
}

// fakeProposer runs a proposer over a fake Raft until the test ends.
func fakeProposer(t *testing.T, r *fakeRaft, l *leadership) *Quorum {
	t.Helper()
	r.fsm = newFSM(func(err error) { t.Error(err) }, 1<<20)
	q := &Quorum{queue: newQueue(), fsm: r.fsm}
	p := &proposer{apply: r.apply, queue: q.queue, fsm: r.fsm, clock: time.Now, self: 1, leader: l.wait, pause: l.pause, known: l.get,
		next: command.Envelope{Broker: 1, Session: 5, Request: 1}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return q
}

// here is the leadership of a node that leads all the time.
func here() *leadership {
	l := nowhere()
	l.set(Leader{ID: 1, Ready: true})
	return l
}

// nowhere is that of one that knows no leader.
func nowhere() *leadership {
	l := &leadership{}
	l.init(1)
	return l
}

// A proposal whose leader is lost, before or after the entry was committed, is applied once and answered with what it did.
func TestLostLeadershipAppliesOnce(t *testing.T) {
	r := &fakeRaft{lose: []string{"before", "after", "before", "after", "", "", "after", "before"}}
	q := fakeProposer(t, r, here())
	for i, want := range []kafka.ProducerID{0, 10, 20} {
		got, err := q.Propose(t.Context(), command.AllocateProducerIDs{Count: 10})
		if err != nil || got != want {
			t.Errorf("proposal %d: %v, %v; want %d", i, got, err, want)
		}
	}
	if got := r.fsm.image.Load().NextProducerID(); got != 30 {
		t.Errorf("ids up to %d were handed out, 30 were asked for", got)
	}
}

// Without a leader a proposal waits for one, and fails with ErrNotReady when none comes in time.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := nowhere()
		q := fakeProposer(t, &fakeRaft{}, l)
		began := time.Now()
		answers := make(chan error, 2)
		for range 2 {
			q.ProposeAsync(command.AllocateProducerIDs{Count: 1}, func(_ any, err error) { answers <- err })
		}
		for range 2 {
			if err := <-answers; !errors.Is(err, ErrNotReady) {
				t.Error(err)
			}
		}
		if waited := time.Since(began); waited != leaderWait {
			t.Errorf("failed after %v", waited)
		}
		q.ProposeAsync(command.AllocateProducerIDs{Count: 1}, func(_ any, err error) { answers <- err })
		time.Sleep(leaderWait / 2) // fake time
		l.set(Leader{ID: 1, Ready: true})
		if err := <-answers; err != nil {
			t.Errorf("a leader came in time: %v", err)
		}
		l.set(Leader{ID: kafka.NoBroker})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.Propose(ctx, command.AllocateProducerIDs{Count: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own deadline: %v", err)
		}
	})
}

// A full queue refuses ProposeAsync at once, makes Propose wait, and goes on when there is room; a proposal whose caller left is not made.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := nowhere()
		r := &fakeRaft{}
		q := fakeProposer(t, r, l)
		big := command.PutGroup{Group: "g", State: make([]byte, 4<<20)}
		accepted, refused := 0, 0
		for range 20 {
			q.ProposeAsync(big, func(_ any, err error) {
				if errors.Is(err, ErrOverloaded) {
					refused++
				} else if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			accepted++
		}
		accepted -= refused
		if accepted > queueBytes/(4<<20)+1 || refused == 0 {
			t.Errorf("%d accepted, %d refused", accepted, refused)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.Propose(ctx, topic("left")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		waiting := make(chan error)
		go func() {
			_, err := q.Propose(t.Context(), topic("waited"))
			waiting <- err
		}()
		synctest.Wait()
		l.set(Leader{ID: 1, Ready: true})
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		m := r.fsm.image.Load()
		if _, ok := m.TopicByName("waited"); !ok {
			t.Error("what waited for room was not applied")
		}
		if _, ok := m.TopicByName("left"); ok {
			t.Error("a proposal was made whose caller had left the queue")
		}
	})
}

// Enough entries, or enough bytes, make a snapshot due, once until as much again was applied.
func TestSnapshotIsDue(t *testing.T) {
	f := newFSM(func(err error) { t.Error(err) }, 10)
	r := &fakeRaft{fsm: f}
	due := func() int { n := len(f.due); drain(f); return n }
	apply := func(n int, c command.Command) {
		for range n {
			entry, err := command.Encode(command.Envelope{}, c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.apply(entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	apply(9, command.AllocateProducerIDs{Count: 1})
	if due() != 0 {
		t.Error("due early")
	}
	apply(1, command.AllocateProducerIDs{Count: 1})
	if due() != 1 {
		t.Error("not due after its entries")
	}
	apply(9, command.PutGroup{Group: "g", State: make([]byte, command.MaxBodyBytes-100)})
	if due() != 1 {
		t.Error("not due after its bytes")
	}
	f.newest.bytes.Store(1 << 20)
	apply(79, command.AllocateProducerIDs{Count: 1})
	if due() != 0 {
		t.Error("a large image would be written for a few small entries")
	}
	apply(1, command.AllocateProducerIDs{Count: 1})
	if due() != 1 {
		t.Error("never due for a large image")
	}
}

func drain(f *fsm) {
	select {
	case <-f.due:
	default:
	}
}

// What comes as a snapshot in mid-life reaches subscribers as the changes that it means.
func TestRestoreTellsSubscribers(t *testing.T) {
	f := newFSM(func(err error) { t.Error(err) }, 10)
	other := newFSM(func(err error) { t.Error(err) }, 10)
	c := topic("a")
	entry, err := command.Encode(command.Envelope{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&fakeRaft{fsm: other}).apply(entry); err != nil {
		t.Fatal(err)
	}
	heard := make(chan Changes, 1)
	f.subscribe(func(_, _ *image.Image, ch Changes) { heard <- ch })
	defer f.closeSubscribers()
	if err := f.Restore(readCloser(encoded(t, other.image.Load()))); err != nil {
		t.Fatal(err)
	}
	if ch := <-heard; len(ch.Topics) != 1 || ch.Topics[0] != c.ID {
		t.Errorf("%+v", ch)
	}
	if err := f.Restore(readCloser([]byte("garbage"))); !errors.Is(err, image.ErrCorrupt) {
		t.Error(err)
	}
}

// A node that was killed, and whose log has lost its end since, would vote on what it has forgotten.
func TestCutAfterKillIsRefused(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 1}
	q := start(t, cfg)
	for i := range 20 {
		propose(t, q, topic(fmt.Sprint("t", i)))
		if i == 10 {
			q.noteReached(overwrite) // makes the file
		}
	}
	q.noteReached(overwrite) // as it does every second
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	closeQuorum(t, q)
	logs, err := filepath.Glob(filepath.Join(killed, "log", "*.wal"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	cfg.Dir = killed
	again := start(t, cfg) // as it was left, it goes on
	closeQuorum(t, again)
	if err := os.Truncate(logs[0], 2000); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(complete(cfg), time.Now, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "empty directory") {
		t.Errorf("opened with %v", err)
	}
}

// A broker whose metadata log was emptied would wait for ever for a quorum of which it is all there is, and say nothing of a loss.
func TestEmptiedLogIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(string) error{"removed": os.Remove, "emptied": func(name string) error { return os.Truncate(name, 0) }} {
		t.Run(name, func(t *testing.T) { emptiedLog(t, spoil) })
	}
}

func emptiedLog(t *testing.T, spoil func(name string) error) {
	cfg := Config{Dir: t.TempDir(), ID: 1}
	q := start(t, cfg)
	propose(t, q, topic("t"))
	closeQuorum(t, q)
	if err := os.Remove(filepath.Join(cfg.Dir, reachedFile)); err != nil { // as the refusal says
		t.Fatal(err)
	}
	for _, pattern := range []string{filepath.Join("log", "*.wal")} {
		names, err := filepath.Glob(filepath.Join(cfg.Dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			if err := spoil(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg.Existing = true
	if _, err := Open(complete(cfg), time.Now, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrLost) {
		t.Errorf("opened: %v", err)
	}
}

// A broker that was killed while it formed its quorum, between the term and the first entry, would never be ready.
func TestBootstrapThatWasBrokenOff(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), ID: 1}
	dir := filepath.Join(cfg.Dir, logDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	store, err := raftlog.Open(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.SetUint64([]byte("CurrentTerm"), 1), store.Close()); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		q := start(t, cfg)
		propose(t, q, topic(fmt.Sprint("t", i)))
		closeQuorum(t, q)
	}
}
