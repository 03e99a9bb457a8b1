package datadir

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

const path = "/var/lib/qanat"

func open(t *testing.T, fsys vfs.FS, cluster string, node kafka.BrokerID) *Dir {
	t.Helper()
	d, err := Open(fsys, path, cluster, node, true)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closed(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, fsys vfs.FS, name, content string) {
	t.Helper()
	if err := fsys.MkdirAll(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenRW(name)
	if err == nil {
		_, err = f.WriteAt([]byte(content), 0)
		err = errors.Join(err, f.Truncate(int64(len(content))), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A directory would not keep the identity that it was created with, or draw the same cluster id twice.
func TestIdentityIsKept(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"memory": vfs.NewCrash(), "disk": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			at := path
			if name == "disk" {
				at = filepath.Join(t.TempDir(), "a", "b")
			}
			first, err := Open(fsys, at, "", 3, true)
			if err != nil {
				t.Fatal(err)
			}
			if !first.Created || first.Meta.NodeID != 3 || first.Meta.Format != Format || first.Meta.ClusterID == "" {
				t.Errorf("created as %+v", first)
			}
			closed(t, first)
			for _, cluster := range []string{"", first.Meta.ClusterID} {
				again, err := Open(fsys, at, cluster, 3, true)
				if err != nil {
					t.Fatal(err)
				}
				if again.Created || again.Meta != first.Meta {
					t.Errorf("opened as %+v, want %+v", again.Meta, first.Meta)
				}
				closed(t, again)
			}
			other, err := Open(fsys, at+"2", "", 3, true)
			if err != nil {
				t.Fatal(err)
			}
			if other.Meta.ClusterID == first.Meta.ClusterID {
				t.Error("two clusters have one id")
			}
			closed(t, other)
		})
	}
}

// Two brokers could run on one directory, or a refused start would keep the lock.
func TestSecondOpenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewCrash()
		d := open(t, fsys, "c", 1)
		if _, err := Open(fsys, path, "c", 1, true); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Errorf("second open: %v", err)
		}
		closed(t, d)
		if _, err := Open(fsys, path, "c", 2, true); err == nil || errors.Is(err, ErrInUse) {
			t.Errorf("another node: %v", err)
		}
		closed(t, open(t, fsys, "c", 1))
	})
}

// A broker that is started right after it was killed would meet its own lock, and end.
func TestLockThatIsGivenBackIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewCrash()
		d := open(t, fsys, "c", 1)
		time.AfterFunc(lockPatience/2, func() { closed(t, d) })
		began := time.Now()
		closed(t, open(t, fsys, "c", 1))
		if waited := time.Since(began); waited < lockPatience/2 || waited > lockPatience/2+lockPause {
			t.Errorf("opened after %v", waited)
		}
	})
}

// A directory that is not this broker's, or cannot be told to be, would be used, or refused without saying what to do.
func TestForeignDirectoriesAreRefused(t *testing.T) {
	identity := path + "/broker.json"
	for _, c := range []struct{ name, content, remedy string }{
		{"other node", `{"format":1,"cluster_id":"c","node_id":2}`, "set node.id"},
		{"other cluster", `{"format":1,"cluster_id":"d","node_id":1}`, "set cluster.id"},
		{"newer format", `{"format":2,"cluster_id":"c","node_id":1}`, "start the newer program"},
		{"newer format of another shape", `{"format":2,"cluster_id":{"x":1},"node_id":"one"}`, "start the newer program"},
		{"format 0", `{"cluster_id":"c","node_id":1}`, "restore the file"},
		{"no cluster", `{"format":1,"node_id":1}`, "restore the file"},
		{"empty", ``, "restore the file"},
		{"cut short", `{"format":1,"cluster`, "restore the file"},
		{"garbage", "\x00\x00\x00\x00", "restore the file"},
		{"wrong types", `{"format":1,"cluster_id":7,"node_id":1}`, "restore the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := vfs.NewCrash()
			put(t, fsys, identity, c.content)
			if _, err := Open(fsys, path, "c", 1, true); err == nil || !strings.Contains(err.Error(), c.remedy) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v; want it to name %q and %s", err, c.remedy, path)
			}
			put(t, fsys, identity, `{"format":1,"cluster_id":"c","node_id":1}`)
			closed(t, open(t, fsys, "c", 1)) // the refusal has kept nothing
		})
	}
}

// A lost identity would be replaced by a new one, and the data beside it be orphaned; or an unreadable room be taken for empty.
func TestMissingIdentityBesideData(t *testing.T) {
	for _, room := range []string{"metadata", "partitions"} {
		fsys := vfs.NewFaulty(vfs.NewCrash())
		put(t, fsys, filepath.Join(path, room, "x"), "data")
		if _, err := Open(fsys, path, "", 1, true); err == nil || !strings.Contains(err.Error(), "restore the file") {
			t.Errorf("%s: %v", room, err)
		}
		fsys.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.KindReadDir {
				return syscall.EIO
			}
			return nil
		})
		if _, err := Open(fsys, path, "", 1, true); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s unreadable: %v", room, err)
		}
		if _, err := fsys.Stat(path + "/broker.json"); err == nil {
			t.Errorf("%s: an identity was written", room)
		}
	}
	// Rooms that are empty, and the index, which may be deleted at will, are no data.
	fsys := vfs.NewCrash()
	put(t, fsys, path+"/index/x", "cache")
	if err := fsys.MkdirAll(path + "/metadata"); err != nil {
		t.Fatal(err)
	}
	closed(t, open(t, fsys, "", 1))
}

// A power cut while the directory is created would leave one that does not open; or one whose identity, or whose name, is
// gone once Open had returned and data was synced below it.
func TestPowerCutDuringCreation(t *testing.T) {
	disk := vfs.NewCrash()
	d := open(t, disk, "", 1)
	created := disk.Ops()
	put(t, disk, d.Metadata()+"/log", "acknowledged")
	f, err := disk.OpenRW(d.Metadata() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), disk.SyncDir(d.Metadata()), disk.SyncDir(path)); err != nil {
		t.Fatal(err)
	}
	end := disk.Ops()
	for _, data := range []vfs.Fate{vfs.Keep, vfs.Lose, vfs.Tear, vfs.Shuffle} {
		for _, names := range []vfs.Fate{vfs.Keep, vfs.Lose, vfs.Tear, vfs.Shuffle} {
			for k := 0; k <= end; k++ {
				cut := vfs.Cut{Data: data, Names: names, Seed: 1}
				after := disk.CutAt(k, cut)
				again, err := Open(after, path, "", 1, true)
				if err != nil {
					t.Fatalf("%v after %d operations: %v", cut, k, err)
				}
				if k >= created && again.Meta != d.Meta {
					t.Fatalf("%v after %d operations: identity %+v, was %+v", cut, k, again.Meta, d.Meta)
				}
				if _, err := after.Stat(d.Metadata() + "/log"); k == end && err != nil {
					t.Fatalf("%v: synced data is gone: %v", cut, err)
				}
				closed(t, again)
			}
		}
	}
}

// A disk that fails while the directory is created would be reported as success, or would leave one that does not open.
func TestFaultsDuringCreation(t *testing.T) {
	for n := 1; ; n++ {
		disk := vfs.NewFaulty(vfs.NewCrash())
		failed := false
		disk.SetHook(func(op vfs.Op) error {
			if op.N == n {
				failed = true
				return syscall.EIO
			}
			return nil
		})
		d, err := Open(disk, path, "c", 1, true)
		if !failed {
			closed(t, d)
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d failed: %v", n, err)
		}
		disk.SetHook(nil)
		closed(t, open(t, disk, "c", 1))
	}
}

// A partition's directory would be placed elsewhere than where it was, and so be found empty.
func TestPlaces(t *testing.T) {
	d := &Dir{Path: "/d"}
	id := kafka.TopicID{1, 2, 3}
	if got, want := d.Partition(kafka.Partition{Topic: id, Index: 12}), "/d/partitions/"+id.String()+"/12"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if d.Metadata() != "/d/metadata" || d.Index() != "/d/index" || d.Partitions() != "/d/partitions" {
		t.Errorf("%s %s %s", d.Metadata(), d.Index(), d.Partitions())
	}
}
