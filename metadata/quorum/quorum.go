package quorum

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/raftlog"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrNotReady says that there is no leader, or none reached in time, or that
// too much is waiting: the proposal may be retried. Whether it was applied is
// not known.
var ErrNotReady = errors.New("metadata quorum has no leader")

// ErrClosed says that the quorum was closed. It is an ErrNotReady too.
var ErrClosed = fmt.Errorf("%w: it is closed", ErrNotReady)

// ErrOverloaded says that the queue of proposals is full; this one was not
// taken. It is an ErrNotReady too.
var ErrOverloaded = fmt.Errorf("%w: too many proposals are waiting", ErrNotReady)

// Changes name what differs between two images. See image.Changes.
type Changes = image.Changes

// ConfigKey names a resource that has config overrides.
type ConfigKey = image.ConfigKey

// Config is what a quorum's member is told.
type Config struct {
	Dir       string // raft-wal and snapshots
	ID        kafka.BrokerID
	ClusterID string    // "": the directory's, or a new one when it is empty; refused when the directory has another
	Listen    string    // host:port of the Raft listener without Peers; "127.0.0.1:0" lets the system choose
	Advertise string    // host:port at which others reach it; "": where it listens
	Bootstrap bool      // form a quorum of one when the directory is new and no Entry has settled otherwise
	Directory Directory // the data directory's
	Peers     Peers     // the way to other nodes; nil: there are none, ever
	Voters    int       // how many are wanted; 0 for one

	Seeds []kafka.BrokerID // nodes that Peers reaches whatever the log says

	// StableAfter is for how long a node must have been healthy to become a voter, 0 for 10 s; GoneAfter for how long a
	// voter must be gone to be replaced, 0 for 30 s.
	StableAfter, GoneAfter time.Duration

	Existing bool // the directory has been a member's before: when its log is gone, Open fails with ErrLost

	// SnapshotEntries is how many entries are applied between snapshots, 0
	// for 2048; more when the image is large and they are small, at most eight
	// times as many. A snapshot is also made when the log has grown by much.
	SnapshotEntries uint64

	// StallTimeout is how long an entry of a leader may take until its log
	// store is taken to hang, 0 for 30 s.
	StallTimeout time.Duration

	// Fatal is called, once, when the node must not go on: an unknown
	// command, a log store that fails or stalls, a log of another cluster. It
	// must end the process and may be called from any goroutine. nil: panic.
	Fatal func(error)

	// Stamp is the time that proposals bear; nil: the clock's.
	Stamp func() time.Time
}

func (c Config) withDefaults() Config {
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = defaultSnapshotEntries
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = defaultStallTimeout
	}
	if c.StableAfter == 0 {
		c.StableAfter = defaultStableAfter
	}
	if c.GoneAfter == 0 {
		c.GoneAfter = defaultGoneAfter
	}
	return c
}

const (
	defaultSnapshotEntries = 2048
	defaultStallTimeout    = 30 * time.Second

	snapshotsKept = 2
)

// Quorum is safe for concurrent use.
type Quorum struct {
	cfg       Config
	clusterID string
	log       *slog.Logger
	clock     func() time.Time

	raft       *raft.Raft
	lock       io.Closer // held while the directory is ours
	store      *raftlog.Log
	transport  *transport
	stream     *stream
	who        Identity
	self       place
	fsm        *fsm
	spread     spread
	changing   chan struct{} // holds a token while the membership is changed: one change at a time
	demoted    demoted
	leaderGone chan struct{} // capacity 1: a connection to the leader has ended
	noting     sync.Mutex
	reached    uint64 // what reachedFile says; held: noting
	queue      *queue
	lead       leadership
	down       chan struct{} // closed when Raft has ended: it answers nothing any more

	failing sync.Once
	failed  atomic.Pointer[error]

	stop    context.CancelFunc
	closing sync.Once
	closed  error
	running sync.WaitGroup
}

// Open opens or creates the directory, restores the newest snapshot and
// starts. The image may lag behind the log until Ready returns.
func Open(cfg Config, clock func() time.Time, log *slog.Logger) (*Quorum, error) {
	return open(cfg, clock, log, func(s raft.LogStore) raft.LogStore { return s })
}

// open is Open with something put between Raft and its log, which tests make fail.
func open(cfg Config, clock func() time.Time, log *slog.Logger, between func(raft.LogStore) raft.LogStore) (q *Quorum, err error) {
	q = newQuorum(cfg.withDefaults(), clock, log)
	defer func() {
		if err != nil {
			if q.stop != nil {
				q.stop()
			}
			err = errors.Join(err, q.release())
			q.running.Wait()
			q = nil
		}
	}()
	if q.lock, err = lockDir(cfg.Dir); err != nil {
		return q, err
	}
	if err := q.claim(); err != nil {
		return q, err
	}
	if err := q.startRaft(between); err != nil {
		return q, err
	}
	return q, q.run()
}

func newQuorum(cfg Config, clock func() time.Time, log *slog.Logger) *Quorum {
	q := &Quorum{
		cfg: cfg, log: log, clock: clock, queue: newQueue(), down: make(chan struct{}), leaderGone: make(chan struct{}, 1), changing: make(chan struct{}, 1),
	}
	q.lead.init(cfg.ID)
	q.spread.wake = make(chan struct{}, 1)
	q.fsm = newFSM(q.fail, cfg.SnapshotEntries)
	q.fsm.spread = &q.spread
	return q
}

// claim makes sure that the directory is this node's, and learns who that is.
func (q *Quorum) claim() (err error) {
	if q.cfg.Existing {
		if _, err := os.Stat(filepath.Join(q.cfg.Dir, identityFile)); errors.Is(err, fs.ErrNotExist) {
			return lost(q.cfg.Dir)
		}
	}
	q.who, err = claim(q.cfg.Dir, Identity{Cluster: q.cfg.ClusterID, Node: q.cfg.ID, Directory: q.cfg.Directory}, q.cfg.Bootstrap)
	q.clusterID = q.who.Cluster
	return err
}

// run starts what goes on beside Raft until stop.
func (q *Quorum) run() error {
	p, err := q.newProposer()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	q.stop = stop
	for _, part := range []func(context.Context){q.followLeadership, p.run, q.makeSnapshots, q.keepReached} {
		q.running.Go(func() { part(ctx) })
	}
	if err := q.hasten(ctx); err != nil {
		return err
	}
	if q.cfg.Peers == nil {
		return nil
	}
	for _, part := range []func(context.Context){q.spreadCommits, q.watchLeader, q.spreadFounding, q.announce} {
		q.running.Go(func() { part(ctx) })
	}
	q.Leading(q.pilot)
	q.cfg.Peers.OnClose(q.noteClosed)
	return nil
}

// startRaft opens what Raft needs and starts it.
func (q *Quorum) startRaft(between func(raft.LogStore) raft.LogStore) error {
	logger := raftLogger(q.log)
	dir := filepath.Join(q.cfg.Dir, logDir)
	store, err := raftlog.Open(dir, logger)
	if err != nil {
		return err
	}
	q.store = store
	logs := &durableLog{LogStore: between(store), fail: q.fail}
	if err := removeUnfinished(q.cfg.Dir); err != nil {
		return err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(q.cfg.Dir, snapshotsKept, logger)
	if err != nil {
		return fmt.Errorf("open metadata snapshots in %s: %w", q.cfg.Dir, err)
	}
	if err := q.listen(logger); err != nil {
		return err
	}
	q.transport.moved = q.spread.kick
	q.transport.leads = func(id raft.ServerID) bool {
		now, _ := q.lead.get() // before Raft runs, nobody
		return now.ID == q.cfg.ID && slices.ContainsFunc(q.servers(), func(s raft.Server) bool { return s.ID == id })
	}
	conf := q.raftConfig()
	conf.Logger = logger
	snapshots := usableSnapshots{SnapshotStore: files, logs: logs}
	if err := q.checkReached(logs, snapshots); err != nil {
		return err
	}
	if err := q.bootstrap(conf, logs, snapshots); err != nil {
		return err
	}
	if q.raft, err = raft.NewRaft(conf, q.fsm, logs, store, snapshots, q.transport); err != nil {
		return fmt.Errorf("start metadata quorum in %s: %w: %s", q.cfg.Dir, err, raftlog.Damaged)
	}
	return nil
}

// Image is the newest published image. Lock-free.
func (q *Quorum) Image() *image.Image { return q.fsm.image.Load() }

// ClusterID is the cluster's, also before the image has it.
func (q *Quorum) ClusterID() string { return q.clusterID }

// Addr is where other nodes reach this one.
func (q *Quorum) Addr() string { return q.self.address }

// Who is this node's identity in its cluster.
func (q *Quorum) Who() Identity { return q.who }

// Address is where a member is, by the newest configuration.
func (q *Quorum) Address(node kafka.BrokerID) (string, bool) {
	for _, s := range q.servers() {
		if p := placeOf(s); p.node == node {
			return p.address, true
		}
	}
	return "", false
}

// fail halts the node: nothing more is applied, stored or answered with success.
func (q *Quorum) fail(err error) {
	q.failing.Do(func() {
		q.failed.Store(&err)
		q.log.Error("metadata quorum halts", "error", err)
		if q.cfg.Fatal == nil {
			panic(fmt.Sprintf("metadata quorum: %v", err))
		}
		q.cfg.Fatal(err)
	})
}

// Close stops taking proposals, fails those that wait with ErrClosed, and
// releases the directory. It must not be called from a callback.
func (q *Quorum) Close() error {
	q.closing.Do(func() {
		q.stop()
		q.queue.close()
		q.closed = q.release()
		q.running.Wait()
		q.fsm.closeSubscribers()
	})
	return q.closed
}

// release gives back what was opened, as far as it was.
func (q *Quorum) release() error {
	var errs []error
	q.lead.close()
	if q.raft != nil {
		close(q.transport.ended)
		ended := q.raft.Shutdown()
		q.stream.cut()
		errs = append(errs, ended.Error())
		q.noteReached(writeDurably)
	}
	close(q.down)
	if q.transport != nil {
		errs = append(errs, q.transport.Close())
	}
	if q.store != nil {
		errs = append(errs, q.store.Close())
	}
	if q.lock != nil {
		errs = append(errs, q.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close metadata quorum: %w", err)
	}
	return nil
}

// newSession draws the number under which this process's requests are counted.
func newSession() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("draw proposal session: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// Propose submits a command, coalesced with all that wait at the moment into
// one Raft entry, and returns when it was applied here: the new image shows
// it. err is Apply's refusal (errors of package image), ErrNotReady, ctx's,
// command.ErrTooLarge, or image.ErrLevel when the cluster works at too low a level for it. After ErrNotReady and ctx's the command may still be
// applied. Calls are applied in the order in which they were made by one
// goroutine. When the queue is full it waits for room.
func (q *Quorum) Propose(ctx context.Context, c command.Command) (result any, err error) {
	body, err := q.encode(c)
	if err != nil {
		return nil, err
	}
	answered := make(chan answer, 1)
	p := &proposal{body: body, done: func(r any, err error) { answered <- answer{r, err} }}
	if err := q.queue.put(ctx, p); err != nil {
		return nil, err
	}
	select {
	case a := <-answered:
		return a.result, a.err
	case <-ctx.Done():
		q.queue.drop(p)
		return nil, ctx.Err()
	}
}

// ProposeAsync is Propose with a callback, from the proposer's goroutine (it
// must not block); enqueue order is apply order. It never waits: when the
// queue is full, or the command cannot be encoded, done is called at once,
// from within, with ErrOverloaded or the error.
func (q *Quorum) ProposeAsync(c command.Command, done func(result any, err error)) {
	body, err := q.encode(c)
	if err == nil {
		err = q.queue.offer(&proposal{body: body, done: done})
	}
	if err != nil {
		done(nil, err)
	}
}

// encode refuses what brokers of this cluster may not know yet. The level only rises, so what passes here is known wherever it is applied.
func (q *Quorum) encode(c command.Command) (command.Body, error) {
	if err := q.Image().Level().Knows(c.Kind()); err != nil {
		return command.Body{}, fmt.Errorf("propose: %w", err)
	}
	return command.EncodeBody(c)
}

// Reached waits until the image holds the entry at an index: what another broker's image shows, this one's shows then.
func (q *Quorum) Reached(ctx context.Context, index uint64) error {
	if q.Image().Index() >= index {
		return nil
	}
	return q.fsm.reached(ctx, index)
}

// Subscribe calls f after published images that changed something it may act
// on, in order, from a goroutine of its own, with what changed since the last
// call. old is the image of the last call (of the first: the one returned).
// Changes may be folded when f is slow; new is never older than they are.
func (q *Quorum) Subscribe(f func(old, new *image.Image, ch Changes)) *image.Image {
	return q.fsm.subscribe(f)
}
