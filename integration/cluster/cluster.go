package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Start is how a node's process is started.
type Start struct {
	Args []string
	Env  []string // added to the environment
}

// System is what is known of a system under test.
type System interface {
	Name() string
	// Start says how a node is started. All its addresses and directories are in the cluster.
	Start(c *Cluster, node int) (Start, error)
	// Records is the directory of a partition's record batches on a stopped node, for probes; "" when it has none.
	Records(c *Cluster, node int, topic string, topicID [16]byte, partition int32) string
	// Files are kinds of files that faults may damage on a stopped node: a kind's name to patterns below Dir.
	Files() map[string][]string
	// Refuses says, from what a node that has ended printed since its start, that it will not run with what it has on its disk, and
	// tells its operator to have it begin with nothing.
	Refuses(printed string) bool
	// Admin is HOST:PORT of a node's admin port, "" when it has none.
	Admin(c *Cluster, node int) string
	// Async says that an acknowledgement does not mean a disk: what power cuts may take.
	Async() bool
}

// Cluster is the nodes of one system.
type Cluster struct {
	System  System
	Dir     string // logs and, without volumes, data
	Network *Network
	Volumes []*Volume
	Bucket  string // URL for brokers, "" for none
	Began   time.Time

	hosts []string
	ports []int
	nodes []*node
}

// node is a process that comes and goes.
type node struct {
	mu     sync.Mutex
	cmd    *exec.Cmd
	done   chan struct{}
	paused bool
	want   bool // it is meant to run
	deaths []string
}

// Options says where a cluster is built. The zero value is loopback and plain directories.
type Options struct {
	Nodes    int
	Isolated bool  // namespaces and volumes
	Volume   int64 // bytes of each, 0 for plain directories
	Port     int   // the first of ten for each node
	Bucket   string
}

// New builds the places for a cluster below dir.
func New(s System, dir string, o Options) (*Cluster, error) {
	c := &Cluster{System: s, Dir: dir, Bucket: o.Bucket, Began: time.Now()}
	if o.Isolated {
		var err error
		if c.Network, err = NewNetwork(o.Nodes); err != nil {
			return nil, err
		}
	}
	for i := range o.Nodes {
		c.nodes = append(c.nodes, &node{})
		host, port := "127.0.0.1", o.Port+10*i
		if o.Isolated {
			host, port = Place(i).address(), o.Port
		}
		c.hosts, c.ports = append(c.hosts, host), append(c.ports, port)
		home := filepath.Join(dir, fmt.Sprintf("node%d", i+1))
		if err := os.MkdirAll(home, 0o755); err != nil {
			return nil, err
		}
		if !o.Isolated || o.Volume == 0 {
			continue
		}
		v, err := NewVolume(home, o.Volume)
		if err != nil {
			return nil, err
		}
		c.Volumes = append(c.Volumes, v)
	}
	return c, nil
}

// Nodes is how many there are.
func (c *Cluster) Nodes() int { return len(c.nodes) }

// Host is a node's address.
func (c *Cluster) Host(node int) string { return c.hosts[node] }

// Port is the first of ten ports that are a node's.
func (c *Cluster) Port(node int) int { return c.ports[node] }

// Address is where clients reach a node.
func (c *Cluster) Address(node int) string { return fmt.Sprintf("%s:%d", c.hosts[node], c.ports[node]) }

// Bootstrap is all addresses.
func (c *Cluster) Bootstrap() string {
	var all []string
	for i := range c.nodes {
		all = append(all, c.Address(i))
	}
	return strings.Join(all, ",")
}

// Data is a node's data directory.
func (c *Cluster) Data(node int) string {
	if len(c.Volumes) > 0 {
		return filepath.Join(c.Volumes[node].Dir, "data")
	}
	return filepath.Join(c.Dir, fmt.Sprintf("node%d", node+1), "data")
}

// Log is the file of what a node prints.
func (c *Cluster) Log(node int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("node%d.log", node+1))
}

// In runs f in a place's network, if there is one.
func (c *Cluster) In(p Place, f func() error) error {
	if c.Network == nil {
		return f()
	}
	return c.Network.Do(p, f)
}

// Dial connects from a place, for clients that run in this process.
func (c *Cluster) Dial(from Place) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = c.In(from, func() error {
			// On this thread: a name would be looked up on another, and addresses are no names.
			conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// Start starts a node that does not run; Ready says when it serves.
func (c *Cluster) Start(i int) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.want = true
	if n.cmd != nil {
		return nil
	}
	start, err := c.System.Start(c, i)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.Log(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := fmt.Fprintf(log, startMark+"%s started: %s\n", time.Now().Format(time.TimeOnly), strings.Join(start.Args, " ")); err != nil {
		return err
	}
	cmd := exec.Command(start.Args[0], start.Args[1:]...)
	cmd.Env = append(environ(), start.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.In(Place(i), cmd.Start); err != nil {
		return fmt.Errorf("start node %d: %w", i+1, err)
	}
	n.cmd, n.done, n.paused = cmd, make(chan struct{}), false
	go n.wait(cmd, n.done)
	return nil
}

// environ is the environment without the variables that brokers take for their own.
func environ() []string {
	var all []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "QANAT_") {
			all = append(all, v)
		}
	}
	return all
}

// wait notes a process's end.
func (n *node) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.want {
		n.deaths = append(n.deaths, fmt.Sprintf("ended by itself: %v", err))
	}
	n.cmd = nil
	close(done)
}

// Refused says whether a node has ended, and why, when it will not run with what it has on its disk (System.Refuses).
func (c *Cluster) Refused(i int) (ended, refused bool, err error) {
	if c.Running(i) {
		return false, false, nil
	}
	b, err := os.ReadFile(c.Log(i))
	if err != nil {
		return true, false, err
	}
	return true, c.System.Refuses(string(b[max(bytes.LastIndex(b, []byte(startMark)), 0):])), nil
}

// startMark begins the line of a node's log that says how it was started.
const startMark = "\n---- "

// Running says whether a node's process lives, paused or not.
func (c *Cluster) Running(i int) bool {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// Deaths are the ends of node processes that nobody had asked for.
func (c *Cluster) Deaths() []string {
	var all []string
	for i, n := range c.nodes {
		n.mu.Lock()
		for _, d := range n.deaths {
			all = append(all, fmt.Sprintf("node %d %s", i+1, d))
		}
		n.mu.Unlock()
	}
	return all
}

// signal sends a signal; want says whether the node is meant to run on. It returns what is closed at the process's end, nil if there is none.
func (c *Cluster) signal(i int, s syscall.Signal, want bool) (<-chan struct{}, error) {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.want = want
	if n.cmd == nil {
		return nil, nil
	}
	if s == syscall.SIGSTOP || s == syscall.SIGCONT {
		n.paused = s == syscall.SIGSTOP
	}
	if err := syscall.Kill(-n.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, err
	}
	return n.done, nil
}

// Kill ends a node with SIGKILL.
func (c *Cluster) Kill(i int) error {
	done, err := c.signal(i, syscall.SIGKILL, false)
	if done != nil {
		<-done
	}
	return err
}

// Pause stops a node's process where it is; Resume lets it go on.
func (c *Cluster) Pause(i int) error { _, err := c.signal(i, syscall.SIGSTOP, true); return err }

// Resume ends Pause.
func (c *Cluster) Resume(i int) error { _, err := c.signal(i, syscall.SIGCONT, true); return err }

// Stop asks nodes to end, all at once, and waits; those that still run after patience are killed, which Deaths tells.
func (c *Cluster) Stop(patience time.Duration, nodes ...int) error {
	var waits []<-chan struct{}
	for _, i := range nodes {
		done, err := c.signal(i, syscall.SIGTERM, false)
		if err != nil {
			return err
		}
		waits = append(waits, done)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	late := false
	for k, i := range nodes {
		if waits[k] == nil {
			continue
		}
		if !late {
			select {
			case <-waits[k]:
				continue
			case <-timer.C:
				late = true
			}
		}
		select {
		case <-waits[k]:
			continue
		default:
		}
		n := c.nodes[i]
		n.mu.Lock()
		n.deaths = append(n.deaths, fmt.Sprintf("did not stop within %v", patience))
		n.mu.Unlock()
		if err := c.Kill(i); err != nil {
			return err
		}
	}
	return nil
}

// Close kills every node and takes volumes and network away.
func (c *Cluster) Close() error {
	var all error
	for i := range c.nodes {
		all = errors.Join(all, c.Kill(i))
	}
	for _, v := range c.Volumes {
		all = errors.Join(all, v.Close())
	}
	if c.Network != nil {
		all = errors.Join(all, c.Network.Close())
	}
	return all
}

// Admin is a client of the harness, which no fault cuts off.
func (c *Cluster) Admin() (*kadm.Client, error) {
	return kadm.NewOptClient(kgo.SeedBrokers(strings.Split(c.Bootstrap(), ",")...), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RetryTimeout(10*time.Second), kgo.DialTimeout(2*time.Second))
}

// revive starts nodes that have ended by themselves, as a service manager does.
func (c *Cluster) revive() error {
	var all error
	for i, n := range c.nodes {
		n.mu.Lock()
		dead := n.want && n.cmd == nil
		n.mu.Unlock()
		if dead {
			all = errors.Join(all, c.Start(i))
		}
	}
	return all
}

// Ready waits, and starts nodes that end by themselves again, until all nodes are members of the cluster and, if a topic is named, every partition has a leader and all its
// replicas in sync.
func (c *Cluster) Ready(ctx context.Context, topic string) error {
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		last := errors.Join(c.revive(), c.whole(ask, admin, topic))
		cancel()
		if last == nil {
			return nil
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("cluster is not whole: %w (%w)", last, ctx.Err())
		case <-timer.C:
		}
	}
}

func (c *Cluster) whole(ctx context.Context, admin *kadm.Client, topic string) error {
	m, err := admin.Metadata(ctx)
	if err != nil {
		return err
	}
	if len(m.Brokers) != len(c.nodes) {
		return fmt.Errorf("%d of %d brokers", len(m.Brokers), len(c.nodes))
	}
	if topic == "" {
		return nil
	}
	t, ok := m.Topics[topic]
	if !ok || t.Err != nil {
		return fmt.Errorf("topic %s: %w", topic, errors.Join(t.Err, io.ErrUnexpectedEOF))
	}
	for _, p := range t.Partitions.Sorted() {
		if p.Err != nil || p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
			return fmt.Errorf("partition %d: leader %d, in sync %v of %v: %w", p.Partition, p.Leader, p.ISR, p.Replicas, errors.Join(p.Err, io.ErrNoProgress))
		}
	}
	return nil
}
