package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// A node whose log was cut to the leader's could never be started again.
func TestCutLogIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	open := func(f func(s raft.LogStore)) {
		t.Helper()
		meta := &metadb.BoltMetaDB{}
		store, err := openLog(dir, meta, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		f(store)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := meta.Close(); err != nil {
			t.Fatal(err)
		}
	}
	store := func(s raft.LogStore, from, to uint64, what string) {
		t.Helper()
		for i := from; i <= to; i++ {
			if err := s.StoreLog(&raft.Log{Index: i, Data: fmt.Appendf(nil, "%s %d", what, i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(func(s raft.LogStore) {
		store(s, 1, 10, "old")
		if err := s.DeleteRange(8, 10); err != nil {
			t.Fatal(err)
		}
		store(s, 8, 9, "new")
	})
	for range 2 {
		open(func(s raft.LogStore) {
			for i := uint64(1); i <= 9; i++ {
				want := fmt.Sprintf("old %d", i)
				if i >= 8 {
					want = fmt.Sprintf("new %d", i)
				}
				var l raft.Log
				if err := s.GetLog(i, &l); err != nil || string(l.Data) != want {
					t.Errorf("entry %d is %q, %v", i, l.Data, err)
				}
			}
			if last, err := s.LastIndex(); last != 9 || err != nil {
				t.Errorf("the log ends at %d, %v", last, err)
			}
		})
	}
	// Cut again within what was cut before, and from its head.
	open(func(s raft.LogStore) {
		if err := s.DeleteRange(5, 9); err != nil {
			t.Fatal(err)
		}
		store(s, 5, 6, "newer")
		if err := s.DeleteRange(1, 2); err != nil {
			t.Fatal(err)
		}
	})
	open(func(s raft.LogStore) {
		for i, want := range map[uint64]string{3: "old 3", 4: "old 4", 5: "newer 5", 6: "newer 6"} {
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil || string(l.Data) != want {
				t.Errorf("entry %d is %q, %v", i, l.Data, err)
			}
		}
		if first, err := s.FirstIndex(); first != 3 || err != nil {
			t.Errorf("the log begins at %d, %v", first, err)
		}
	})
}

// A node whose metadata was cut short, or lost in part, would crash at every start and not say what to do.
func TestDamagedLogIsRefused(t *testing.T) {
	for what, harm := range map[string]func(file string) error{
		"cut short": func(file string) error { return os.Truncate(file, 8192) },
		"cut":       func(file string) error { return os.Truncate(file, 5000) },
		"removed":   os.Remove,
	} {
		dir := t.TempDir()
		meta := &metadb.BoltMetaDB{}
		store, err := openLog(dir, meta, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(50) {
			if err := store.StoreLog(&raft.Log{Index: i + 1, Data: make([]byte, 100)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := meta.Close(); err != nil {
			t.Fatal(err)
		}
		if err := harm(filepath.Join(dir, "wal-meta.db")); err != nil {
			t.Fatal(err)
		}
		if _, err := openLog(dir, &metadb.BoltMetaDB{}, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "empty directory") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A node that ended between the entry that fills a file of its log and the beginning of the next file would store nothing any more, at every start.
func TestFullFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	meta := &metadb.BoltMetaDB{}
	store, err := openLog(dir, meta, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// Filled as raft-wal fills it, and not rotated.
	state, err := meta.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := segment.NewFiler(dir, fs.New()).RecoverTail(state.Segments[0])
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for full := false; !full; {
		last++
		var b bytes.Buffer
		if err := (&wal.BinaryCodec{}).Encode(&raft.Log{Index: last, Data: make([]byte, segmentBytes/8)}, &b); err != nil {
			t.Fatal(err)
		}
		if err := tail.Append([]types.LogEntry{{Index: last, Data: b.Bytes()}}); err != nil {
			t.Fatal(err)
		}
		if full, _, err = tail.Sealed(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tail.Close(), meta.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		meta := &metadb.BoltMetaDB{}
		store, err := openLog(dir, meta, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		last++
		if err := store.StoreLog(&raft.Log{Index: last, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		for i := range last {
			if err := store.GetLog(i+1, new(raft.Log)); err != nil {
				t.Errorf("entry %d: %v", i+1, err)
			}
		}
		if err := errors.Join(store.Close(), meta.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
