package quorum

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/qanat-io/qanat/metadata/raftlog"
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

// anew is what to do about files that only a copy brings back.
const anew = "restore it from a copy; " + raftlog.TakenInAnew

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

// Identity is what node.json holds: whose directory it is, and how it came into its cluster.
type Identity struct {
	Format  int            `json:"format"`
	Cluster string         `json:"cluster"`
	Node    kafka.BrokerID `json:"node"`

	// Directory is drawn with the data directory; base64. Absent in directories of older releases.
	Directory Directory `json:"directory,omitzero"`
	// Admission is what the leader said when it admitted this directory; see place.
	Admission uint64 `json:"admission,omitempty"`
	// Floor is where the cluster was recovered after it had lost its majority: members admitted before are none any more.
	Floor uint64 `json:"floor,omitempty"`
	// Founders formed the cluster together with this node; empty of one that formed it alone or joined later.
	Founders []Founder `json:"founders,omitempty"`
	// Joined is set of a node that a leader has admitted: it never forms a cluster.
	Joined bool `json:"joined,omitempty"`
}

// Directory is a data directory's identity.
type Directory [16]byte

// MarshalText implements encoding.TextMarshaler.
func (d Directory) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(d[:])), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Directory) UnmarshalText(b []byte) error {
	raw, err := base64.RawURLEncoding.DecodeString(string(b))
	if err != nil || len(raw) != len(d) {
		return fmt.Errorf("%q is not a directory's identity", b)
	}
	copy(d[:], raw)
	return nil
}

// Founder is one of those who form a cluster.
type Founder struct {
	Node      kafka.BrokerID `json:"node" cbor:"1,keyasint"`
	Address   string         `json:"address" cbor:"2,keyasint"`
	Directory Directory      `json:"directory" cbor:"3,keyasint"`
}

// ReadIdentity reads a metadata directory's identity; ok is false when it is new.
func ReadIdentity(dir string) (who Identity, ok bool, err error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("read metadata directory's identity: %w", err)
	}
	if err := json.Unmarshal(b, &who); err != nil {
		return Identity{}, false, fmt.Errorf("%w: %s: %w: %s", ErrFormat, path, err, anew)
	}
	switch {
	case who.Format != identityFormat:
		return Identity{}, false, fmt.Errorf("%w: %s has format %d, this release reads %d: start the release that wrote it", ErrFormat, path, who.Format, identityFormat)
	case who.Cluster == "":
		return Identity{}, false, fmt.Errorf("%w: %s names no cluster: %s", ErrFormat, path, anew)
	}
	return who, true, nil
}

// claim checks that dir is ours, or makes it ours when it is new. want.Cluster
// "" takes what is there; a new directory then gets a new cluster id, if this
// node may form a cluster.
func claim(dir string, want Identity, form bool) (Identity, error) {
	path := filepath.Join(dir, identityFile)
	have, ok, err := ReadIdentity(dir)
	if err != nil {
		return Identity{}, err
	}
	if !ok {
		return settleIdentity(dir, want, form)
	}
	switch {
	case want.Cluster != "" && have.Cluster != want.Cluster:
		return Identity{}, fmt.Errorf("%w: %s is of cluster %q, the configuration says %q", ErrForeignDirectory, path, have.Cluster, want.Cluster)
	case have.Node != want.Node:
		return Identity{}, fmt.Errorf("%w: %s is of node %d, the configuration says %d", ErrForeignDirectory, path, have.Node, want.Node)
	case have.Directory == Directory{}:
		have.Directory = want.Directory // written by a release that had none
	case want.Directory != Directory{} && have.Directory != want.Directory:
		return Identity{}, fmt.Errorf("%w: %s is of another data directory: restore the one that it belongs to, or begin with an empty one", ErrForeignDirectory, path)
	}
	return have, nil
}

// settleIdentity writes the identity of a new directory. It is durable before anything else is written there.
func settleIdentity(dir string, who Identity, form bool) (Identity, error) {
	if who.Cluster == "" {
		if !form {
			return Identity{}, fmt.Errorf("%w: directory %s is new, and no cluster id is configured to join", ErrForeignDirectory, dir)
		}
		who.Cluster = newClusterID()
	}
	return who, writeIdentity(dir, who)
}

func newClusterID() string { return kafka.NewTopicID().String() }

func writeIdentity(dir string, who Identity) error {
	who.Format = identityFormat
	b, err := json.Marshal(who)
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create metadata directory: %w", err)
	}
	if err := writeDurably(dir, identityFile, append(b, '\n')); err != nil {
		return fmt.Errorf("write metadata directory's identity: %w", err)
	}
	return nil
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
