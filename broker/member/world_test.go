package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world is a network in memory, whose hosts can be cut off from each other. It is to be used in a bubble of synctest: there
// time passes only while everybody waits.
type world struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	cut       map[[2]string]bool // from, to: nothing arrives, and nobody hears of it
}

func newWorld() *world {
	return &world{listeners: map[string]*memoryListener{}, cut: map[[2]string]bool{}}
}

type memoryAddr string

func (a memoryAddr) Network() string { return "memory" }
func (a memoryAddr) String() string  { return string(a) }

type memoryListener struct {
	w     *world
	addr  memoryAddr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (w *world) listen(addr string) net.Listener {
	l := &memoryListener{w: w, addr: memoryAddr(addr), conns: make(chan net.Conn), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners[addr] = l
	return l
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		if l.w.listeners[string(l.addr)] == l {
			delete(l.w.listeners, string(l.addr))
		}
	})
	return nil
}

func (l *memoryListener) Addr() net.Addr { return l.addr }

// memoryConn loses what is written while its way is cut, and all that comes after.
type memoryConn struct {
	net.Conn
	w        *world
	from, to string
	mu       sync.Mutex
	lost     bool
}

func (c *memoryConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.lost = c.lost || c.w.isCut(c.from, c.to)
	lost := c.lost
	c.mu.Unlock()
	if lost {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (w *world) isCut(from, to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]string{from, to}]
}

// dialer dials from a host.
func (w *world) dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		if w.isCut(from, to) || w.isCut(to, from) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "memory", Err: os.ErrDeadlineExceeded}
		}
		w.mu.Lock()
		l := w.listeners[to]
		w.mu.Unlock()
		if l == nil {
			return nil, &net.OpError{Op: "dial", Net: "memory", Err: syscall.ECONNREFUSED}
		}
		a, b := net.Pipe()
		select {
		case l.conns <- &memoryConn{Conn: b, w: w, from: to, to: from}:
			return &memoryConn{Conn: a, w: w, from: from, to: to}, nil
		case <-l.done:
			return nil, &net.OpError{Op: "dial", Net: "memory", Err: syscall.ECONNREFUSED}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isolate cuts a host off, or puts it back.
func (w *world) isolate(host string, hosts []string, off bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range hosts {
		if h != host {
			w.cut[[2]string{h, host}], w.cut[[2]string{host, h}] = off, off
		}
	}
}

// memoryCluster is n nodes in a world. It must be stopped in the bubble that it was made in.
func memoryCluster(t *testing.T, n int) (c *cluster, w *world, hosts []string) {
	w = newWorld()
	c = &cluster{t: t, nodes: map[kafka.BrokerID]*node{}, log: slog.New(slog.DiscardHandler)}
	for i := range n {
		id := kafka.BrokerID(i + 1)
		addr := fmt.Sprintf("host%d:1", id)
		hosts = append(hosts, addr)
		c.nodes[id] = &node{id: id, addr: addr, fatal: make(chan error, 8)}
		c.empty(id)
		c.seeds = append(c.seeds, quorum.Seed{Node: id, Address: addr})
	}
	c.tune = func(cfg *Config) {
		at := c.nodes[cfg.Quorum.ID].addr
		cfg.Listener, cfg.Dial = w.listen(at), w.dialer(at)
		cfg.Quorum.GoneAfter = time.Hour
	}
	return c, w, hosts
}

// A leader that is cut off could go on leading, or not be replaced within the time that a broker may be silent.
func TestLeaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, hosts := memoryCluster(t, 3)
		c.start(1, 2, 3)
		lead := c.leader(1, 2, 3)
		w.isolate(c.nodes[lead].addr, hosts, true)
		began := time.Now()
		other := lead%3 + 1
		c.propose(other, topic("x"))
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("a proposal elsewhere was answered after %v", took)
		}
		c.eventually("the old leader knows that it is none", func() bool {
			now, _ := c.nodes[lead].Quorum.Leader()
			return now.ID != lead
		})
		w.isolate(c.nodes[lead].addr, hosts, false)
		c.same(1, 2, 3)
		for id := range c.nodes {
			c.stop(id)
		}
	})
}

// A node that is cut off, a leader or not, could take its image for one that lacks nothing; or could not do so again afterwards.
func TestCurrent(t *testing.T) {
	for name, step := range map[string]kafka.BrokerID{"leader": 0, "follower": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, w, hosts := memoryCluster(t, 3)
				c.start(1, 2, 3)
				lead := c.leader(1, 2, 3)
				apart, other := (lead-1+step)%3+1, (lead+1)%3+1
				current := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					return c.nodes[apart].Quorum.Current(ctx)
				}
				w.isolate(c.nodes[apart].addr, hosts, true)
				c.propose(other, topic("x"))
				if err := current(); err == nil {
					t.Error("an image without the latest topic is current")
				}
				w.isolate(c.nodes[apart].addr, hosts, false)
				c.eventually("it is reached again", func() bool {
					if current() != nil {
						return false
					}
					if _, ok := c.nodes[apart].Quorum.Image().TopicByName("x"); !ok {
						t.Error("the topic that was created meanwhile is not in a current image")
					}
					return true
				})
				for id := range c.nodes {
					c.stop(id)
				}
			})
		})
	}
}

// Whatever is cut off and for how long, a proposal answered with success is applied exactly once, its answer is the log's, and
// no node's image differs from another's.
func TestProposalsUnderPartitions(t *testing.T) {
	seeds := uint64(2)
	if os.Getenv("QANAT_SEEDS") != "" {
		seeds = 40
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { partitions(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func partitions(t *testing.T, draw *rand.Rand) {
	c, w, hosts := memoryCluster(t, 3)
	c.start(1, 2, 3)
	var mu sync.Mutex
	answered := map[kafka.ProducerID]int{}
	unknown := 0
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, n := range c.nodes {
		running.Go(func() {
			for ctx.Err() == nil {
				r, err := n.Quorum.Propose(context.Background(), command.AllocateProducerIDs{Count: 1})
				mu.Lock()
				if err == nil {
					answered[r.(kafka.ProducerID)]++
				} else {
					unknown++
					if !errors.Is(err, quorum.ErrNotReady) {
						t.Errorf("node %d: %v", n.id, err)
					}
				}
				mu.Unlock()
				time.Sleep(20 * time.Millisecond) // fake time
			}
		})
	}
	for range 6 {
		host := hosts[draw.IntN(len(hosts))]
		w.isolate(host, hosts, true)
		time.Sleep(time.Duration(draw.IntN(6000)) * time.Millisecond)
		w.isolate(host, hosts, false)
		time.Sleep(time.Duration(draw.IntN(3000)) * time.Millisecond)
	}
	cancel()
	running.Wait()
	c.leader(1, 2, 3)
	c.same(1, 2, 3)
	for id, n := range answered {
		if n != 1 {
			t.Errorf("id %d was handed out %d times", id, n)
		}
	}
	next := int(c.nodes[1].Quorum.Image().NextProducerID())
	if next < len(answered) || next > len(answered)+unknown {
		t.Errorf("%d ids were handed out; %d proposals were answered and %d not", next, len(answered), unknown)
	}
	if len(answered) < 100 {
		t.Errorf("only %d proposals were answered", len(answered))
	}
	for id := range c.nodes {
		c.stop(id)
	}
}
