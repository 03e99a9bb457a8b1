package cluster

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Place is somewhere in the network: a node's number from 0, or Clients.
type Place int

// Clients is where the clients are.
const Clients Place = -1

// Network is a bridge with a namespace for every node and one for the clients. Nobody asks for hardware addresses: every
// place has a fixed table of them, so that a direction is cut by giving the sender a wrong one. Packets then vanish
// without a word, as behind a dead switch, and connections that exist notice nothing.
type Network struct {
	nodes int
	mu    sync.Mutex
	cut   map[[2]Place]bool // from → to
}

// NewNetwork builds the network in this process's namespace.
func NewNetwork(nodes int) (*Network, error) {
	n := &Network{nodes: nodes, cut: map[[2]Place]bool{}}
	if err := run("ip", "link", "add", "hub", "address", "02:00:00:00:00:fe", "type", "bridge"); err != nil {
		return nil, err
	}
	if err := errors.Join(run("ip", "address", "add", "10.77.0.254/24", "dev", "hub"), run("ip", "link", "set", "hub", "up")); err != nil {
		return nil, err
	}
	for _, p := range n.places() {
		ns := p.namespace()
		for _, args := range [][]string{
			{"netns", "add", ns},
			{"link", "add", "to-" + ns, "type", "veth", "peer", "name", "eth0", "address", p.hardware(), "netns", ns},
			{"link", "set", "to-" + ns, "master", "hub", "up"},
			{"-n", ns, "link", "set", "lo", "up"},
			{"-n", ns, "link", "set", "eth0", "up"},
			{"-n", ns, "address", "add", p.address() + "/24", "dev", "eth0"},
			{"-n", ns, "neigh", "replace", "10.77.0.254", "lladdr", "02:00:00:00:00:fe", "dev", "eth0", "nud", "permanent"},
			{"neigh", "replace", p.address(), "lladdr", p.hardware(), "dev", "hub", "nud", "permanent"},
		} {
			if err := run("ip", args...); err != nil {
				return nil, err
			}
		}
	}
	return n, n.Heal()
}

// Close takes the network down; nothing may run in it.
func (n *Network) Close() error {
	var all error
	for _, p := range n.places() {
		all = errors.Join(all, run("ip", "link", "del", "to-"+p.namespace()), run("ip", "netns", "del", p.namespace()))
	}
	return errors.Join(all, run("ip", "link", "del", "hub"))
}

func (n *Network) places() []Place {
	all := []Place{Clients}
	for i := range n.nodes {
		all = append(all, Place(i))
	}
	return all
}

func (p Place) namespace() string {
	if p == Clients {
		return "clients"
	}
	return fmt.Sprintf("node%d", p+1)
}

func (p Place) last() int {
	if p == Clients {
		return 100
	}
	return int(p) + 1
}

func (p Place) address() string  { return fmt.Sprintf("10.77.0.%d", p.last()) }
func (p Place) hardware() string { return fmt.Sprintf("02:00:00:00:00:%02x", p.last()) }

func (p Place) String() string { return p.namespace() }

// Do calls f with this thread in a place's network: sockets that f makes and processes that it starts belong there.
func (n *Network) Do(p Place, f func() error) (err error) {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { err = errors.Join(err, here.Close()) }()
	there, err := os.Open("/run/netns/" + p.namespace())
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s's network: %w", p, err)
	}
	err = f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and ends with its goroutine: no other may run in this network.
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// Cut makes everything that from sends to each of to vanish.
func (n *Network) Cut(from Place, to ...Place) error { return n.set(from, to, true) }

// Heal makes every direction whole.
func (n *Network) Heal() error {
	var all error
	for _, from := range n.places() {
		all = errors.Join(all, n.set(from, n.places(), false))
	}
	return all
}

// Whole makes the given directions whole.
func (n *Network) Whole(from Place, to ...Place) error { return n.set(from, to, false) }

func (n *Network) set(from Place, to []Place, cut bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all error
	for _, t := range to {
		if t == from {
			continue
		}
		hardware := t.hardware()
		if cut {
			hardware = "02:de:ad" + strings.TrimPrefix(hardware, "02:00:00")
		}
		if err := run("ip", "-n", from.namespace(), "neigh", "replace", t.address(), "lladdr", hardware, "dev", "eth0", "nud", "permanent"); err != nil {
			all = errors.Join(all, err)
			continue
		}
		if n.cut[[2]Place{from, t}] = cut; !cut {
			delete(n.cut, [2]Place{from, t})
		}
	}
	return all
}
