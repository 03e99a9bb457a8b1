package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/qanat-io/qanat/integration/harness"
)

// fileFaults damage a file of a node that has been killed, of each kind that the system names, on a minority: what
// a majority holds must mend it.
func fileFaults() []Fault {
	var all []Fault
	for _, kind := range []string{"segment", "index", "state"} {
		for _, how := range damages {
			all = append(all, fileFault(kind, how, minority, func(_ context.Context, b *Bench, targets []int, rng *rand.Rand) (undo, error) {
				return each(targets, func(i int) error {
					return errors.Join(b.Kill(i), b.damage(i, kind, how.do, rng))
				}, b.Start)
			}))
		}
	}
	for _, kind := range []string{"raft log", "snapshot"} {
		for _, how := range damages {
			all = append(all, fileFault(kind, how, one, func(ctx context.Context, b *Bench, targets []int, rng *rand.Rand) (undo, error) {
				return forgetful(ctx, b, targets[0], func(i int) error { return b.damage(i, kind, how.do, rng) })
			}))
		}
	}
	return all
}

func fileFault(kind string, how damage, targets func(*rand.Rand, int) []int, begin func(context.Context, *Bench, []int, *rand.Rand) (undo, error)) Fault {
	return Fault{Name: kind + ": " + how.name, class: nodes, Loses: true, shortest: 100 * time.Millisecond, longest: 2 * time.Second, targets: targets,
		needs: func(b *Bench) string {
			if len(b.System.Files()[kind]) == 0 {
				return "the system has no such file, or is not expected to mend it"
			}
			return needPeers(b)
		},
		begin: begin,
	}
}

// forgetful damages what a node knows of the cluster. It mends that when it starts, or refuses to start, and its operator does as it says:
// empties its directory. As with a node that is replaced, the metadata quorum must be whole before.
func forgetful(ctx context.Context, b *Bench, i int, damage func(i int) error) (undo, error) {
	back := func(context.Context) error { return b.Start(i) }
	client, err := b.client()
	if err != nil {
		return back, err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := b.voters(bounded, client); err != nil {
		b.Log("node %d's metadata is left alone: %v", i+1, err)
		return back, nil
	}
	return func(ctx context.Context) error { return b.startOrEmpty(ctx, i) }, errors.Join(b.Kill(i), damage(i))
}

// startOrEmpty starts a node, and again with an empty directory if it says that it wants one.
func (b *Bench) startOrEmpty(ctx context.Context, i int) error {
	if err := b.Start(i); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	empty := false
	err := harness.Until(bounded, func() (bool, error) {
		ended, refused, err := b.Refused(i)
		if ended || err != nil {
			empty = refused
			return true, err
		}
		return b.serves(bounded, i), nil
	})
	if err != nil {
		b.Log("node %d is slow to start: %v", i+1, err)
		return nil // the wait for the whole cluster says more
	}
	if !empty {
		return b.Start(i)
	}
	b.Log("node %d refuses what it has, and begins with nothing", i+1)
	return errors.Join(os.RemoveAll(b.Data(i)), b.Start(i))
}

// serves says that a node takes connections.
func (b *Bench) serves(ctx context.Context, i int) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.Address(i))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// damage is a way to do it.
type damage struct {
	name string
	do   func(path string, rng *rand.Rand) error
}

// damages are the ways.
var damages = []damage{
	{"bit flipped", flip},
	{"cut short", func(path string, rng *rand.Rand) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, rng.Int64N(max(info.Size(), 1)))
	}},
	{"removed", func(path string, _ *rand.Rand) error { return os.Remove(path) }},
}

func flip(path string, rng *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	at := rng.Int64N(info.Size())
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << rng.IntN(8)
	_, err = f.WriteAt(b[:], at)
	return err
}

// damage does it to one file of the kind. A node without such a file is left alone, and the log says so.
func (b *Bench) damage(node int, kind string, do func(string, *rand.Rand) error, rng *rand.Rand) error {
	var files []string
	for _, pattern := range b.System.Files()[kind] {
		found, err := filepath.Glob(filepath.Join(b.Data(node), pattern))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		return err != nil || info.IsDir() || info.Size() == 0
	})
	if len(files) == 0 {
		b.Log("node %d has no %s to damage", node+1, kind)
		return nil
	}
	path := files[rng.IntN(len(files))]
	b.Log("node %d: %s", node+1, path)
	if err := do(path, rng); err != nil {
		return fmt.Errorf("damage %s: %w", path, err)
	}
	return nil
}
