package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/harness"
)

// class is what a fault is made to. A round has one of each at most.
type class string

const (
	nodes   class = "nodes" // processes, disks and files: what is ended by starting a node
	network class = "network"
	bucket  class = "bucket"
	clocks  class = "clocks"
	admin   class = "admin"
)

// Fault is one thing that can be done to a cluster.
type Fault struct {
	Name string
	class
	// Loses says that a node may come back without what it had not synced, or with damage: a system that acknowledges
	// from memory may lose records when this meets more than a minority.
	Loses             bool
	shortest, longest time.Duration
	needs             func(*Bench) string // why it cannot be made; "" when it can
	targets           func(*rand.Rand, int) []int
	begin             func(ctx context.Context, b *Bench, targets []int, rng *rand.Rand) (undo, error)
}

// All is every fault there is.
var All = slices.Concat(processFaults(), lifeFaults(), networkFaults(), diskFaults(), fileFaults(), bucketFaults(), []Fault{
	{Name: "clock jump", class: clocks, shortest: 3 * time.Second, longest: 10 * time.Second, needs: needClock, targets: one, begin: jump},
	{Name: "leader storm", class: admin, shortest: 4 * time.Second, longest: 10 * time.Second, needs: needPeers, targets: nobody, begin: leaders},
	{Name: "replicas removed and added", class: admin, shortest: 4 * time.Second, longest: 10 * time.Second, needs: needPeers, targets: nobody, begin: replicas},
})

// Named is the fault of that name.
func Named(name string) (Fault, bool) {
	i := slices.IndexFunc(All, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		return Fault{}, false
	}
	return All[i], true
}

// Group is faults of one kind.
type Group struct {
	Name   string
	Faults []Fault
}

// Groups sorts faults by what they are made to: processes, disks, files, networks and so on, in the order of All.
func Groups(faults []Fault) []Group {
	var groups []Group
	for _, f := range faults {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == f.group() })
		if i < 0 {
			i, groups = len(groups), append(groups, Group{Name: f.group()})
		}
		groups[i].Faults = append(groups[i].Faults, f)
	}
	return groups
}

// group is the class, but that processes, disks and files, which are all a node's, are told apart.
func (f Fault) group() string {
	switch {
	case f.class != nodes:
		return string(f.class)
	case strings.HasPrefix(f.Name, "disk"), strings.HasPrefix(f.Name, "power"):
		return "disks"
	case strings.Contains(f.Name, ": "):
		return "files"
	}
	return "processes"
}

// Possible splits faults into those that can be made here and those that cannot, with the reason.
func Possible(b *Bench, faults []Fault) (can []Fault, cannot map[string]string) {
	cannot = map[string]string{}
	for _, f := range faults {
		if why := f.needs(b); why != "" {
			cannot[f.Name] = why
			continue
		}
		can = append(can, f)
	}
	return can, cannot
}

func nothing(*Bench) string { return "" }

func needPeers(b *Bench) string {
	if b.Nodes() < 3 {
		return "needs three nodes"
	}
	return ""
}

func needNetwork(b *Bench) string {
	if b.Network == nil {
		return "needs root, for network namespaces"
	}
	return ""
}

func needNetworkOfPeers(b *Bench) string {
	if why := needPeers(b); why != "" {
		return why
	}
	return needNetwork(b)
}

func needVolume(b *Bench) string {
	if len(b.Volumes) == 0 {
		return "needs root, for volumes"
	}
	return ""
}

func needVolumeOfPeers(b *Bench) string {
	if why := needPeers(b); why != "" {
		return why
	}
	return needVolume(b)
}

func needBucket(b *Bench) string {
	if b.Proxy == nil {
		return "the system has no bucket here"
	}
	return ""
}

func needClock(b *Bench) string {
	if !b.Clock {
		return "the system's clock cannot be shifted here"
	}
	return ""
}

// each does something to every target and returns what undoes it to all for which it was done.
func each(targets []int, do, back func(int) error) (undo, error) {
	var done []int
	var all error
	for _, t := range targets {
		if err := do(t); err != nil {
			all = errors.Join(all, err)
			break
		}
		done = append(done, t)
	}
	return func(context.Context) error {
		var all error
		for _, t := range done {
			all = errors.Join(all, back(t))
		}
		return all
	}, all
}

func processFaults() []Fault {
	kill := func(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
		return each(targets, b.Kill, b.Start)
	}
	pause := func(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
		return each(targets, b.Pause, b.Resume)
	}
	stop := func(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
		// Nothing is known of a node that has been asked to stop and does not: it is killed, and the result says so.
		err := b.Stop(30*time.Second, targets...)
		end, _ := each(targets, func(int) error { return nil }, b.Start)
		return end, err
	}
	const s = time.Second
	return []Fault{
		{Name: "kill -9 one", class: nodes, shortest: 100 * time.Millisecond, longest: 8 * s, needs: nothing, targets: one, begin: kill},
		{Name: "kill -9 majority", class: nodes, shortest: s, longest: 6 * s, needs: needPeers, targets: majority, begin: kill},
		{Name: "kill -9 all", class: nodes, shortest: 100 * time.Millisecond, longest: 3 * s, needs: nothing, targets: everybody, begin: kill},
		{Name: "pause one", class: nodes, shortest: s, longest: 15 * s, needs: nothing, targets: one, begin: pause},
		{Name: "pause majority", class: nodes, shortest: s, longest: 12 * s, needs: needPeers, targets: majority, begin: pause},
		{Name: "pause all", class: nodes, shortest: s, longest: 12 * s, needs: nothing, targets: everybody, begin: pause},
		{Name: "clean stop one", class: nodes, shortest: 100 * time.Millisecond, longest: 5 * s, needs: nothing, targets: one, begin: stop},
		{Name: "clean stop all", class: nodes, shortest: 100 * time.Millisecond, longest: 2 * s, needs: nothing, targets: everybody, begin: stop},
	}
}

func networkFaults() []Fault {
	const s = time.Second
	fault := func(name string, needs func(*Bench) string, targets func(*rand.Rand, int) []int, cut func(b *Bench, targets []int) error) Fault {
		return Fault{Name: name, class: network, shortest: 2 * s, longest: 15 * s, needs: needs, targets: targets,
			begin: func(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
				return func(context.Context) error { return b.Network.Heal() }, cut(b, targets)
			}}
	}
	return []Fault{
		fault("cut off one", needNetworkOfPeers, one, func(b *Bench, t []int) error { return isolate(b, t, false) }),
		fault("cut off one, clients too", needNetworkOfPeers, one, func(b *Bench, t []int) error { return isolate(b, t, true) }),
		fault("cut off majority", needNetworkOfPeers, majority, func(b *Bench, t []int) error { return isolate(b, t, false) }),
		fault("cut into a ring", needNetworkOfPeers, everybody, ring),
		fault("cut one way", needNetworkOfPeers, one, func(b *Bench, t []int) error {
			return b.Network.Cut(cluster.Place(t[0]), others(b, t)...)
		}),
		fault("cut one way, towards it", needNetworkOfPeers, one, func(b *Bench, t []int) error {
			var all error
			for _, o := range others(b, t) {
				all = errors.Join(all, b.Network.Cut(o, cluster.Place(t[0])))
			}
			return all
		}),
		fault("cut clients from one", needNetwork, one, func(b *Bench, t []int) error { return both(b, cluster.Clients, cluster.Place(t[0])) }),
		fault("answers to clients lost", needNetwork, everybody, func(b *Bench, t []int) error {
			var all error
			for _, i := range t {
				all = errors.Join(all, b.Network.Cut(cluster.Place(i), cluster.Clients))
			}
			return all
		}),
	}
}

func others(b *Bench, targets []int) []cluster.Place {
	var all []cluster.Place
	for i := range b.Nodes() {
		if !slices.Contains(targets, i) {
			all = append(all, cluster.Place(i))
		}
	}
	return all
}

func both(b *Bench, x, y cluster.Place) error {
	return errors.Join(b.Network.Cut(x, y), b.Network.Cut(y, x))
}

// isolate cuts targets from each other and from everyone else.
func isolate(b *Bench, targets []int, clients bool) error {
	var all error
	for _, t := range targets {
		for i := range b.Nodes() {
			if i != t {
				all = errors.Join(all, both(b, cluster.Place(t), cluster.Place(i)))
			}
		}
		if clients {
			all = errors.Join(all, both(b, cluster.Place(t), cluster.Clients))
		}
	}
	return all
}

// ring lets every node reach its two neighbours only; of three nodes, the first and the last are cut from each other.
func ring(b *Bench, order []int) error {
	var all error
	n := len(order)
	for i := range n {
		for j := i + 2; j < n; j++ {
			if n > 3 && i == 0 && j == n-1 {
				continue
			}
			all = errors.Join(all, both(b, cluster.Place(order[i]), cluster.Place(order[j])))
		}
	}
	return all
}

func diskFaults() []Fault {
	const s = time.Second
	return []Fault{
		{Name: "disk full", class: nodes, shortest: 3 * s, longest: 10 * s, needs: needVolume, targets: one,
			begin: func(_ context.Context, b *Bench, targets []int, rng *rand.Rand) (undo, error) {
				left := rng.Int64N(1 << 20)
				return each(targets, func(i int) error { return b.Volumes[i].Fill(left) }, func(i int) error {
					return errors.Join(b.Volumes[i].Free(), b.Start(i))
				})
			}},
		{Name: "disk stall", class: nodes, shortest: s, longest: 10 * s, needs: needVolume, targets: one,
			begin: func(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
				return each(targets, func(i int) error { return b.Volumes[i].Freeze() }, func(i int) error { return b.Volumes[i].Thaw() })
			}},
		{Name: "disk fails (EIO)", class: nodes, Loses: true, shortest: 2 * s, longest: 8 * s, needs: needVolumeOfPeers, targets: minority,
			begin: func(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
				return each(targets, func(i int) error { return b.Volumes[i].Fail() }, func(i int) error {
					return errors.Join(b.Kill(i), b.Volumes[i].Replaced(), b.Volumes[i].Remount(), b.Start(i))
				})
			}},
		{Name: "power cut one", class: nodes, Loses: true, shortest: 100 * time.Millisecond, longest: 5 * s, needs: needVolume, targets: one, begin: power},
		{Name: "power cut all", class: nodes, Loses: true, shortest: 100 * time.Millisecond, longest: 3 * s, needs: needVolume, targets: everybody, begin: power},
	}
}

// power takes the power of all targets away at once: first all disks, then the processes.
func power(_ context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
	var all error
	for _, i := range targets {
		all = errors.Join(all, b.Volumes[i].Cut())
	}
	for _, i := range targets {
		all = errors.Join(all, b.Kill(i))
	}
	return func(context.Context) error {
		var all error
		for _, i := range targets {
			all = errors.Join(all, b.Volumes[i].Remount(), b.Start(i))
		}
		return all
	}, all
}

func bucketFaults() []Fault {
	var all []Fault
	for _, f := range []harness.Fault{harness.Unreached, harness.SlowDown, harness.Slow, harness.Hanging, harness.LostAnswer, harness.CorruptGet, harness.ShortGet} {
		all = append(all, Fault{Name: "bucket: " + f.String(), class: bucket, shortest: 3 * time.Second, longest: 20 * time.Second, needs: needBucket, targets: nobody,
			begin: func(_ context.Context, b *Bench, _ []int, _ *rand.Rand) (undo, error) {
				b.Proxy.Set(f)
				return func(context.Context) error { b.Proxy.Set(harness.Healthy); return nil }, nil
			}})
	}
	return all
}

// jump puts a clock off by up to an hour, back or forth.
func jump(_ context.Context, b *Bench, targets []int, rng *rand.Rand) (undo, error) {
	by := time.Duration(rng.Int64N(int64(2*time.Hour))) - time.Hour
	return each(targets, func(i int) error { return b.Shift(i, by) }, func(i int) error { return b.Shift(i, 0) })
}
