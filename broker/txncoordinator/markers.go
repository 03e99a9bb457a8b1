package txncoordinator

import (
	"context"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The sending side of markers: tasks by the leader of their partition, in requests of many, a few of them under way to each broker.

// marking is a decision that is being carried out. Guarded by the shard's lock.
type marking struct {
	record *txn.Record
	epoch  kafka.CoordinatorEpoch
	left   map[kafka.Partition]bool
}

// task is one marker to be written.
type task struct {
	e         *entry
	m         *marking
	partition kafka.Partition
	tries     int
}

const (
	// marksAtOnce bounds the markers of a request, requestsAtOnce the requests under way to a broker.
	marksAtOnce    = 1000
	requestsAtOnce = 4

	// markTimeout bounds a request, durableTimeout the wait of one marker for its followers: others wait behind it.
	markTimeout    = 5 * time.Second
	durableTimeout = time.Second

	// A marker that was not written is tried again, less and less often: a leader may be a moment away, or an hour.
	firstMarkPause = 5 * time.Millisecond
	lastMarkPause  = time.Second
)

// mark begins to carry out a decision that is applied. Under the shard's lock.
func (c *Coordinator) mark(e *entry, r *txn.Record) {
	if e.marking != nil && e.marking.record.Revision == r.Revision {
		return
	}
	m := &marking{record: r, epoch: e.shard.placed.Epoch, left: make(map[kafka.Partition]bool, len(r.Partitions))}
	e.marking = m
	tasks := make([]task, 0, len(r.Partitions))
	for _, p := range r.Partitions {
		m.left[p] = true
		tasks = append(tasks, task{e: e, m: m, partition: p})
	}
	c.senders.spawn(func(ctx context.Context) { c.dispatch(ctx, tasks) })
}

// dispatch gives tasks to the senders of the brokers that lead their partitions.
func (c *Coordinator) dispatch(ctx context.Context, tasks []task) {
	m := c.quorum.Image()
	var done, later []task
	for _, t := range tasks {
		p, exists := m.Partition(t.partition)
		switch {
		case !exists:
			done = append(done, t)
		case p.Leader == kafka.NoBroker:
			later = append(later, t)
		default:
			c.send(c.senders.to(p.Leader), t)
		}
	}
	c.marked(done)
	c.retry(ctx, later)
}

// retry dispatches tasks again after a pause, those that are still wanted.
func (c *Coordinator) retry(_ context.Context, tasks []task) {
	by := map[int][]task{}
	for _, t := range tasks {
		if c.wanted(t) {
			t.tries++
			by[t.tries] = append(by[t.tries], t)
		}
	}
	for tries, list := range by {
		pause := min(firstMarkPause<<min(tries-1, 20), lastMarkPause)
		time.AfterFunc(pause, func() {
			c.senders.spawn(func(ctx context.Context) { c.dispatch(ctx, list) })
		})
	}
}

func (c *Coordinator) wanted(t task) bool {
	t.e.shard.mu.Lock()
	defer t.e.shard.mu.Unlock()
	return !t.e.dropped && t.e.marking == t.m
}

// marked notes markers that are written, and completes transactions that have all of theirs.
func (c *Coordinator) marked(tasks []task) {
	for _, t := range tasks {
		e := t.e
		c.guarded(e.shard, e.id, func(out *calls) {
			if e.dropped || e.marking != t.m {
				return
			}
			if delete(t.m.left, t.partition); len(t.m.left) > 0 {
				return
			}
			e.marking = nil
			if !e.broken && e.record != nil && e.record.Revision == t.m.record.Revision {
				c.propose(e, txn.Complete(e.record, c.nowMs()))
				c.again(e, out) // on top of it: all of it is one entry then
			}
			c.settle(e)
		})
	}
}

// senders are the ways to the brokers.
type senders struct {
	mu      sync.Mutex
	ctx     context.Context // nil before Run, and after
	nodes   map[kafka.BrokerID]*sender
	running sync.WaitGroup
}

// sender is the way to one broker.
type sender struct {
	node   kafka.BrokerID
	mu     sync.Mutex
	queue  []task
	active int
}

func (s *senders) begin(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

// spawn runs f, unless everything ends.
func (s *senders) spawn(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx := s.ctx; ctx != nil && ctx.Err() == nil {
		s.running.Go(func() { f(ctx) })
	}
}

func (s *senders) wait() {
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.running.Wait()
}

func (s *senders) to(node kafka.BrokerID) *sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[node]
	if n == nil {
		n = &sender{node: node}
		s.nodes[node] = n
	}
	return n
}

// send queues a task; whoever finds a request free takes the queue.
func (c *Coordinator) send(n *sender, t task) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, t)
	if n.active < requestsAtOnce {
		n.active++
		c.senders.spawn(func(ctx context.Context) { c.drain(ctx, n) })
	}
}

// drain sends what is queued, request after request, until there is nothing.
func (c *Coordinator) drain(ctx context.Context, n *sender) {
	for {
		n.mu.Lock()
		tasks := n.queue[:min(len(n.queue), marksAtOnce)]
		if n.queue = n.queue[len(tasks):]; len(tasks) == 0 {
			n.queue = nil
			n.active--
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		c.sendTasks(ctx, n.node, tasks)
	}
}

func (c *Coordinator) sendTasks(ctx context.Context, node kafka.BrokerID, tasks []task) {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	var wanted []task
	r := markRequest{Index: c.quorum.Image().Index()}
	for _, t := range tasks {
		if !c.wanted(t) {
			continue
		}
		wanted = append(wanted, t)
		d := t.m.record
		r.Marks = append(r.Marks, mark{
			ID: d.ID, Producer: d.Producer, Epoch: d.Epoch, Commit: d.State == command.TxnPrepareCommit && (!bugTorn || t.tries == 0), Coordinator: t.m.epoch, Partition: t.partition,
		})
	}
	if len(wanted) == 0 {
		return
	}
	written, err := c.writeAt(ctx, node, r)
	if err != nil {
		c.log.Debug("markers not written", "broker", node, "markers", len(wanted), "error", err)
	}
	var done, later []task
	for i, t := range wanted {
		if i < len(written) && written[i] {
			done = append(done, t)
		} else {
			later = append(later, t)
		}
	}
	c.marked(done)
	c.retry(ctx, later)
}

func (c *Coordinator) writeAt(ctx context.Context, node kafka.BrokerID, r markRequest) ([]bool, error) {
	if node == c.cfg.Node {
		return c.leader.write(ctx, r)
	}
	body, err := cbor.Marshal(r)
	if err != nil {
		return nil, err
	}
	answer, err := c.peers.Mark(ctx, node, body)
	if err != nil {
		return nil, err
	}
	var a markAnswer
	if err := decoding.Unmarshal(answer, &a); err != nil {
		return nil, err
	}
	return a.Written, nil
}
