package quorum

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The directory says whose it is, so that neither another node's log nor
// another cluster's is ever mixed with this one's.
const (
	identityFile   = "node.json"
	identityFormat = 1
	lockFile       = "lock"
	logDir         = "log"
)

var (
	// ErrForeignDirectory says that the directory belongs to another cluster or node.
	ErrForeignDirectory = errors.New("metadata directory belongs to another node")

	// ErrFormat says that the directory was written by a later release, or is damaged.
	ErrFormat = errors.New("metadata directory has a format that this release cannot read")
)

// ErrLost says that a directory which had the cluster's metadata has it no more.
var ErrLost = errors.New("metadata is missing")

func lost(dir string) error {
	return fmt.Errorf("%w: %s held the cluster's topics, offsets and places of segments, and is empty now: restore it, or move the whole data directory away to begin anew", ErrLost, dir)
}

// ErrInUse says that another process has the directory open.
var ErrInUse = errors.New("metadata directory is in use by another process")

// lockDir creates the directory and takes it for this process. The lock goes with the file, however the process ends.
func lockDir(dir string) (io.Closer, error) {
	if err := os.MkdirAll(filepath.Join(dir, logDir), 0o755); err != nil {
		return nil, fmt.Errorf("create metadata directory: %w", err)
	}
	l, err := vfs.OS{}.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock metadata directory: %w", err)
	}
	return l, nil
}

// identity is what node.json holds.
type identity struct {
	Format  int            `json:"format"`
	Cluster string         `json:"cluster"`
	Node    kafka.BrokerID `json:"node"`
}

// claim checks that dir is ours, or makes it ours when it is new. want.Cluster
// "" takes what is there; a new directory then gets a new cluster id, if this
// node may form a cluster.
func claim(dir string, want identity, form bool) (identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return settle(dir, want, form)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read metadata directory's identity: %w", err)
	}
	var have identity
	if err := json.Unmarshal(b, &have); err != nil {
		return identity{}, fmt.Errorf("%w: %s: %w", ErrFormat, path, err)
	}
	switch {
	case have.Format != identityFormat:
		return identity{}, fmt.Errorf("%w: %s has format %d, this release reads %d", ErrFormat, path, have.Format, identityFormat)
	case have.Cluster == "":
		return identity{}, fmt.Errorf("%w: %s names no cluster", ErrFormat, path)
	case want.Cluster != "" && have.Cluster != want.Cluster:
		return identity{}, fmt.Errorf("%w: %s is of cluster %q, the configuration says %q", ErrForeignDirectory, path, have.Cluster, want.Cluster)
	case have.Node != want.Node:
		return identity{}, fmt.Errorf("%w: %s is of node %d, the configuration says %d", ErrForeignDirectory, path, have.Node, want.Node)
	}
	return have, nil
}

// settle writes the identity of a new directory. It is durable before anything else is written there.
func settle(dir string, who identity, form bool) (identity, error) {
	who.Format = identityFormat
	if who.Cluster == "" {
		if !form {
			return identity{}, fmt.Errorf("%w: directory %s is new, and no cluster id is configured to join", ErrForeignDirectory, dir)
		}
		var id [16]byte
		if _, err := rand.Read(id[:]); err != nil {
			return identity{}, fmt.Errorf("draw cluster id: %w", err)
		}
		who.Cluster = base64.RawURLEncoding.EncodeToString(id[:])
	}
	b, err := json.Marshal(who)
	if err != nil {
		return identity{}, fmt.Errorf("encode identity: %w", err)
	}
	if err := writeDurably(dir, identityFile, append(b, '\n')); err != nil {
		return identity{}, fmt.Errorf("write metadata directory's identity: %w", err)
	}
	return who, nil
}

// writeDurably puts a whole file into place, or nothing.
func writeDurably(dir, name string, b []byte) (err error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
