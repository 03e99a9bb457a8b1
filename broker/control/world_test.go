package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world is brokers on one true log, whose leader the test names. A broker may be dead, or cut off from all others.
type world struct {
	t  *testing.T
	mu sync.Mutex

	log     *image.Image
	leader  kafka.BrokerID
	term    uint64
	contact time.Time // when the leader before this one was heard last
	changed chan struct{}
	nodes   map[kafka.BrokerID]*node
	moves   []string // the states that brokers were given, in order
	applied func(*image.Image)
	mute    bool             // controllers' proposals come to nothing
	wall    func() time.Time // of the brokers that are started; nil: the bubble's
	ails    func() []Ailment // the same; nil: nothing ails them
}

// node is one broker's process.
type node struct {
	w          *world
	id         kafka.BrokerID
	up, cut    bool
	view       *image.Image
	folder     image.Folder
	subs       []func(old, new *image.Image, ch image.Changes)
	onClose    []func(kafka.BrokerID)
	told       chan struct{}
	end        context.CancelFunc
	done       sync.WaitGroup
	controller *Controller
	session    *Session
	err        error
	pings      int
	hangups    int // looks at dead brokers that find nothing out
}

const hop = time.Millisecond // what a message takes

func newWorld(t *testing.T) *world {
	return &world{t: t, log: image.Empty(), leader: 1, term: 1, changed: make(chan struct{}), nodes: map[kafka.BrokerID]*node{}}
}

// start starts a broker's process; ready at once.
func (w *world) start(id kafka.BrokerID, sets ...string) *node {
	settings, err := config.Load("", nil, sets)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	n := &node{w: w, id: id, up: true, view: w.truth(), told: make(chan struct{}, 1), end: end}
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
	cfg := Config{Node: id, Settings: settings, Wall: w.wall}
	log := slog.New(slog.DiscardHandler)
	n.controller = NewController(cfg, n, n, log)
	n.session = NewSession(cfg, n, n, n.controller, log)
	n.session.Ailments, n.session.Clock = w.ails, &Clock{}
	n.done.Go(func() { n.publish(ctx) })
	n.done.Go(func() { _ = n.controller.Run(ctx) })
	n.done.Go(func() {
		for n.session.Register(ctx, command.RegisterBroker{ID: id, Incarnation: kafka.NewTopicID(), Directory: [16]byte{byte(id)}}) != nil {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(10 * hop)
		}
		n.session.Ready()
		err := n.session.Run(ctx)
		w.mu.Lock()
		n.err = err
		w.mu.Unlock()
	})
	return n
}

// kill ends a process: its connections close at once.
func (w *world) kill(id kafka.BrokerID) {
	w.mu.Lock()
	n := w.nodes[id]
	n.up = false
	var tell []func(kafka.BrokerID)
	for _, o := range w.nodes {
		if o.up && !o.cut {
			tell = append(tell, o.onClose...)
		}
	}
	w.mu.Unlock()
	n.end()
	for _, f := range tell {
		f(id)
	}
	n.done.Wait()
}

func (w *world) killAll() {
	for id, n := range w.nodes {
		if n.up {
			w.kill(id)
		}
	}
	time.Sleep(time.Second) // what was proposed last comes to its end
}

func (w *world) set(id kafka.BrokerID, cut bool) {
	w.mu.Lock()
	n := w.nodes[id]
	n.cut = cut
	n.view = w.log
	w.mu.Unlock()
	w.publish()
}

// truth is the image of the log.
func (w *world) truth() *image.Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log
}

// given are the states that brokers were given, in order.
func (w *world) given() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.moves)
}

// silence has what controllers propose come to nothing.
func (w *world) silence(mute bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = mute
}

// elect gives the quorum's lead to a node, or to none.
func (w *world) elect(id kafka.BrokerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leader = id
	w.term++
	close(w.changed)
	w.changed = make(chan struct{})
}

// do applies a command to the log.
func (w *world) do(c command.Command) (any, error) {
	w.mu.Lock()
	next, result, ch, err := image.Apply(w.log, w.log.Index()+1, command.Envelope{}, c)
	w.log = next
	if s, ok := c.(command.SetBrokerState); ok && err == nil && len(ch.Brokers) > 0 {
		w.moves = append(w.moves, s.State.String())
	}
	for _, n := range w.nodes {
		n.folder.Add(ch)
	}
	applied := w.applied
	w.mu.Unlock()
	if applied != nil {
		applied(next)
	}
	w.publish()
	return result, err
}

func (w *world) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.up && !n.cut {
			n.view = w.log
			signal(n.told)
		}
	}
}

func (n *node) publish(ctx context.Context) {
	old := n.Image()
	for {
		select {
		case <-n.told:
		case <-ctx.Done():
			return
		}
		n.w.mu.Lock()
		m, ch, subs := n.view, n.folder.Take(), n.subs
		n.w.mu.Unlock()
		for _, f := range subs {
			f(old, m, ch)
		}
		old = m
	}
}

func (n *node) Image() *image.Image {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.view
}

var errUnreachable = errors.New("unreachable")

func (n *node) reaches(id kafka.BrokerID) bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	o := n.w.nodes[id]
	return n.up && o != nil && o.up && (n == o || !n.cut && !o.cut)
}

func (n *node) Propose(ctx context.Context, c command.Command) (any, error) {
	time.Sleep(2 * hop)
	n.w.mu.Lock()
	leader := n.w.leader
	n.w.mu.Unlock()
	if ctx.Err() != nil || !n.reaches(leader) || n.w.alone(leader) {
		return nil, errUnreachable
	}
	return n.w.do(c)
}

// alone tells whether a node that is said to lead has no majority to do it with.
func (w *world) alone(id kafka.BrokerID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[id].cut
}

func (n *node) ProposeAsync(c command.Command, done func(any, error)) {
	n.w.mu.Lock()
	mute := n.w.mute
	n.w.mu.Unlock()
	if mute {
		done(nil, errUnreachable)
		return
	}
	go func() { done(n.Propose(context.Background(), c)) }()
}

func (n *node) Subscribe(f func(old, new *image.Image, ch image.Changes)) *image.Image {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.subs = append(n.subs, f)
	return n.view
}

func (n *node) Leader() (Leader, <-chan struct{}) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return Leader{ID: n.w.leader, Term: n.w.term, Ready: n.w.leader == n.id && !n.cut}, n.w.changed
}

func (n *node) LastContact() time.Time {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.contact
}

func (n *node) TransferLeadership(context.Context) error {
	n.w.mu.Lock()
	to := kafka.NoBroker
	for id, o := range n.w.nodes {
		if id != n.id && o.up && !o.cut && (to == kafka.NoBroker || id < to) {
			to = id
		}
	}
	n.w.mu.Unlock()
	n.w.elect(to)
	return nil
}

func (n *node) Heartbeat(ctx context.Context, to kafka.BrokerID, body []byte) ([]byte, error) {
	time.Sleep(hop)
	if !n.reaches(to) {
		n.w.mu.Lock()
		silent := n.up && n.w.nodes[to] != nil && n.w.nodes[to].up
		n.w.mu.Unlock()
		if silent {
			<-ctx.Done()
		}
		return nil, errUnreachable
	}
	n.w.mu.Lock()
	o := n.w.nodes[to]
	n.w.mu.Unlock()
	answer, err := o.controller.Heartbeat(n.id, body)
	time.Sleep(hop)
	if !n.reaches(to) {
		return nil, errUnreachable
	}
	return answer, err
}

func (n *node) Probe(ctx context.Context, id kafka.BrokerID) Found {
	time.Sleep(hop)
	n.w.mu.Lock()
	o := n.w.nodes[id]
	up := o != nil && o.up
	cut := n.cut || o != nil && o.cut
	dying := !up && n.hangups > 0
	if dying {
		n.hangups--
	}
	n.w.mu.Unlock()
	switch {
	case dying:
		return Silent
	case cut:
		<-ctx.Done()
		return Silent
	case up:
		return There
	}
	return Gone
}

func (n *node) Ping(ctx context.Context, id kafka.BrokerID) ([]byte, error) {
	time.Sleep(hop)
	n.w.mu.Lock()
	n.pings++
	o := n.w.nodes[id]
	cut := n.cut || o.cut
	n.w.mu.Unlock()
	if cut {
		<-ctx.Done()
	}
	if !n.reaches(id) {
		return nil, errUnreachable
	}
	return cbor.MustMarshal(sign{Index: o.Image().Index()}), nil
}

func (n *node) pinged() int {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.pings
}

// closed tells the node that a connection has closed.
func (n *node) closed(id kafka.BrokerID) {
	n.w.mu.Lock()
	list := n.onClose
	n.w.mu.Unlock()
	for _, f := range list {
		f(id)
	}
}

func (n *node) OnClose(f func(kafka.BrokerID)) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.onClose = append(n.onClose, f)
}

// three is a cluster of three active brokers with partitions on all of them, each led by another.
func three(t *testing.T) *world {
	w := newWorld(t)
	for id := kafka.BrokerID(1); id <= 3; id++ {
		w.start(id)
	}
	time.Sleep(time.Second)
	w.create([]kafka.BrokerID{1, 2, 3}, []kafka.BrokerID{2, 3, 1}, []kafka.BrokerID{3, 1, 2})
	for id := kafka.BrokerID(1); id <= 3; id++ {
		w.want(id, command.Active)
	}
	return w
}

func (w *world) create(replicas ...[]kafka.BrokerID) {
	w.t.Helper()
	if _, err := w.do(command.CreateTopic{ID: kafka.TopicID{15: 1}, Name: "a", Partitions: replicas}); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(10 * hop)
}

func (w *world) now() *image.Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log
}

func (w *world) want(id kafka.BrokerID, s command.BrokerState) {
	w.t.Helper()
	if b, ok := w.now().Broker(id); !ok || b.State != s {
		w.t.Errorf("broker %d: %+v, want %v", id, b, s)
	}
}

// leads counts the partitions that a broker leads, kafka.NoBroker: those without a leader.
func (w *world) leads(id kafka.BrokerID) (n int) {
	w.now().AllPartitions(func(p *image.Partition) bool {
		if p.Leader == id {
			n++
		}
		return true
	})
	return n
}

// catchUp lets every leader take its active replicas into the ISR.
func (w *world) catchUp() {
	w.now().AllPartitions(func(p *image.Partition) bool {
		c := command.ISRChange{Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch}
		for _, id := range p.Replicas {
			if b, _ := w.now().Broker(id); b.State == command.Active || slices.Contains(p.ISR, id) {
				c.ISR = append(c.ISR, command.ISRMember{ID: id, Epoch: b.Epoch})
			}
		}
		if p.Leader != kafka.NoBroker && len(c.ISR) > len(p.ISR) {
			if _, err := w.do(command.AlterISR{Changes: []command.ISRChange{c}}); err != nil {
				w.t.Error(err)
			}
		}
		return true
	})
	time.Sleep(10 * hop)
}

// story runs a test in a bubble of its own time.
func story(t *testing.T, f func(*testing.T)) {
	synctest.Test(t, f)
}
