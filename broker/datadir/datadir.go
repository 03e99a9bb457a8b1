package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Format is the newest layout that this program reads and the one it writes.
const Format = 1

// ErrInUse says that another process holds the directory.
var ErrInUse = errors.New("data directory is in use")

// Meta is broker.json.
type Meta struct {
	Format    int            `json:"format"`
	ClusterID string         `json:"cluster_id"` // "" while the broker is on its way into one
	NodeID    kafka.BrokerID `json:"node_id"`
	// DirectoryID tells this directory from others that the same node has had.
	DirectoryID string `json:"directory_id,omitempty"`
}

// Directory is DirectoryID as bytes.
func (m Meta) Directory() [16]byte {
	id, err := kafka.ParseTopicID(m.DirectoryID)
	if err != nil {
		panic("datadir: directory id was checked when it was read")
	}
	return id
}

// Dir is a locked data directory.
type Dir struct {
	Path string
	Meta Meta
	// Created tells whether this start made the directory.
	Created bool

	lock io.Closer
}

// Metadata, Index and Partitions are the paths of the directory's rooms.
func (d *Dir) Metadata() string { return filepath.Join(d.Path, "metadata") }

// Index is described at Metadata.
func (d *Dir) Index() string { return filepath.Join(d.Path, "index") }

// Scrub is the file that says how far the scrub of local segments has come.
func (d *Dir) Scrub() string { return filepath.Join(d.Path, "scrub.json") }

// Partitions is described at Metadata.
func (d *Dir) Partitions() string { return filepath.Join(d.Path, "partitions") }

// Partition is the directory of one partition.
func (d *Dir) Partition(p kafka.Partition) string {
	return filepath.Join(d.Partitions(), p.Topic.String(), fmt.Sprint(p.Index))
}

// Open locks the directory, for which it waits for up to a second, creates it when absent, and checks that it
// belongs to the given node. clusterID "" accepts what is there. A new directory
// that is alone then gets a cluster id of its own, any other when its cluster is known (see Settle).
func Open(fsys vfs.FS, path, clusterID string, node kafka.BrokerID, alone bool) (*Dir, error) {
	if err := fsys.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("create data directory %s: %w (choose another with data.dir, or dev --dir)", path, err)
	}
	lock, err := lockSoon(fsys, filepath.Join(path, "broker.lock"))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("%w: another broker runs on %s; stop it or choose another directory", ErrInUse, path)
	case err != nil:
		return nil, fmt.Errorf("lock data directory %s: %w (the broker must be able to write there)", path, err)
	}
	d := &Dir{Path: path, lock: lock}
	if err := d.identify(fsys, clusterID, node, alone); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// Whoever is killed and started again at once finds the lock of the process that is ending.
const (
	lockPatience = time.Second
	lockPause    = 20 * time.Millisecond
)

// lockSoon locks a file, and waits for one that is locked for no longer than lockPatience.
func lockSoon(fsys vfs.FS, name string) (io.Closer, error) {
	for end := time.Now().Add(lockPatience); ; time.Sleep(lockPause) {
		if lock, err := fsys.Lock(name); !errors.Is(err, vfs.ErrLocked) || !time.Now().Before(end) {
			return lock, err
		}
	}
}

const restore = "restore the file, or move the directory away to begin anew"

func (d *Dir) identify(fsys vfs.FS, clusterID string, node kafka.BrokerID, alone bool) error {
	file := filepath.Join(d.Path, identityFile)
	raw, err := read(fsys, file)
	if errors.Is(err, fs.ErrNotExist) {
		return d.create(fsys, file, clusterID, node, alone)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	err = json.Unmarshal(raw, &d.Meta)
	switch {
	case d.Meta.Format > Format: // whose other fields may mean anything
		return fmt.Errorf("data directory %s has format %d, this program reads up to %d: start the newer program that wrote it", d.Path, d.Meta.Format, Format)
	case err != nil:
		return fmt.Errorf("%s is not readable as a broker's identity: %w (%s)", file, err, restore)
	case d.Meta.Format < 1:
		return fmt.Errorf("%s names format %d, which never existed: %s", file, d.Meta.Format, restore)
	case d.Meta.ClusterID == "" && d.Meta.DirectoryID == "":
		return fmt.Errorf("%s names no cluster: %s", file, restore)
	case d.Meta.NodeID != node:
		return fmt.Errorf("data directory %s belongs to node %d, this broker is configured as node %d: set node.id or choose another directory", d.Path, d.Meta.NodeID, node)
	case clusterID != "" && d.Meta.ClusterID != "" && clusterID != d.Meta.ClusterID:
		return fmt.Errorf("data directory %s belongs to cluster %s, this broker is configured for %s: set cluster.id or choose another directory", d.Path, d.Meta.ClusterID, clusterID)
	}
	before := d.Meta
	if d.Meta.DirectoryID == "" { // written by a release that had none
		d.Meta.DirectoryID = kafka.NewTopicID().String()
	}
	if _, err := kafka.ParseTopicID(d.Meta.DirectoryID); err != nil {
		return fmt.Errorf("%s names directory %q, which is no identity: %s", file, d.Meta.DirectoryID, restore)
	}
	d.settle(clusterID, alone)
	if d.Meta == before {
		return nil
	}
	return d.write(fsys)
}

const identityFile = "broker.json"

// settle names the cluster of a directory that has none.
func (d *Dir) settle(clusterID string, alone bool) {
	if d.Meta.ClusterID != "" {
		return
	}
	if clusterID == "" && alone {
		clusterID = kafka.NewTopicID().String()
	}
	d.Meta.ClusterID = clusterID
}

// Settle notes durably which cluster the directory belongs to, unless that is known already.
func (d *Dir) Settle(fsys vfs.FS, clusterID string) error {
	if d.Meta.ClusterID == clusterID {
		return nil
	}
	if d.Meta.ClusterID != "" {
		return fmt.Errorf("data directory %s belongs to cluster %s, its metadata to %s: restore one or the other, or move the directory away to begin anew", d.Path, d.Meta.ClusterID, clusterID)
	}
	d.settle(clusterID, false)
	return d.write(fsys)
}

func (d *Dir) write(fsys vfs.FS) error {
	file := filepath.Join(d.Path, identityFile)
	raw, err := json.MarshalIndent(d.Meta, "", "  ")
	if err != nil {
		return err
	}
	if err := writeAtomic(fsys, file, append(raw, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func (d *Dir) create(fsys vfs.FS, file, clusterID string, node kafka.BrokerID, alone bool) error {
	// An identity that is missing beside data was lost, and a new one would orphan the data.
	for _, room := range []string{d.Metadata(), d.Partitions()} {
		switch names, err := fsys.ReadDir(room); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%s is missing, and whether %s holds data cannot be seen: %w", file, room, err)
		case len(names) > 0:
			return fmt.Errorf("%s is missing but %s holds data: %s", file, room, restore)
		}
	}
	d.Meta, d.Created = Meta{Format: Format, NodeID: node, DirectoryID: kafka.NewTopicID().String()}, true
	d.settle(clusterID, alone)
	if err := d.write(fsys); err != nil {
		return err
	}
	return syncNames(fsys, d.Path)
}

// syncNames makes the directory's own name durable, and those of the directories
// it lies in, since MkdirAll may have made them: flushes of the data sync nothing above it.
func syncNames(fsys vfs.FS, path string) error {
	for dir := filepath.Clean(path); filepath.Dir(dir) != dir; {
		dir = filepath.Dir(dir)
		err := fsys.SyncDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			return nil // what may not be opened was not made by this broker, nor was anything above it
		}
		if err != nil {
			return fmt.Errorf("make the name of %s durable: %w", path, err)
		}
	}
	return nil
}

// Close gives the directory up.
func (d *Dir) Close() error { return d.lock.Close() }

func read(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, 0, min(size, 1<<20)))
}

func writeAtomic(fsys vfs.FS, name string, b []byte) (err error) {
	f, err := fsys.OpenRW(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	err = errors.Join(err, f.Truncate(int64(len(b))), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := fsys.Rename(name+".tmp", name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}
