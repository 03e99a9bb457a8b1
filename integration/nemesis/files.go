package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// fileFaults damage a file of a node that has been killed, of each kind that the system names, on a minority: what
// a majority holds must mend it, or the node must refuse to start.
func fileFaults() []Fault {
	var all []Fault
	for _, kind := range []string{"segment", "index", "state", "raft log", "snapshot"} {
		for _, how := range damages {
			all = append(all, Fault{Name: kind + ": " + how.name, class: nodes, Loses: true, shortest: 100 * time.Millisecond, longest: 2 * time.Second, targets: minority,
				needs: func(b *Bench) string {
					if len(b.System.Files()[kind]) == 0 {
						return "the system has no such file, or is not expected to mend it"
					}
					return needPeers(b)
				},
				begin: func(_ context.Context, b *Bench, targets []int, rng *rand.Rand) (undo, error) {
					return each(targets, func(i int) error {
						return errors.Join(b.Kill(i), b.damage(i, kind, how.do, rng))
					}, b.Start)
				}})
		}
	}
	return all
}

// damages are the ways.
var damages = []struct {
	name string
	do   func(path string, rng *rand.Rand) error
}{
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
