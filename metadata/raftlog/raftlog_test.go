package raftlog

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
		store, err := Open(dir, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		f(store)
		if err := store.Close(); err != nil {
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

// A node whose metadata was cut short, or lost in part, would crash at every start, and not say of which file that is and what to do, with others or alone.
func TestDamagedLogIsRefused(t *testing.T) {
	for what, harm := range map[string]func(file string) error{
		"cut short": func(file string) error { return os.Truncate(file, 8192) },
		"cut":       func(file string) error { return os.Truncate(file, 5000) },
		"emptied":   func(file string) error { return os.Truncate(file, 0) },
		"removed":   os.Remove,
	} {
		dir := t.TempDir()
		store, err := Open(dir, hclog.NewNullLogger())
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
		if err := harm(filepath.Join(dir, "wal-meta.db")); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, hclog.NewNullLogger())
		for _, want := range []string{"wal-meta.db", "empty directory", "from a copy", "docs/operations.md"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v: want %q", what, err, want)
			}
		}
	}
}

// filled is a log whose file is as full as raft-wal fills it, and not rotated: its last entry, and where that begins in the file.
func filled(t *testing.T, dir string, entryBytes int) (file string, last uint64, at int64) {
	t.Helper()
	store, err := Open(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	meta := &metadb.BoltMetaDB{}
	state, err := meta.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := segment.NewFiler(dir, fs.New()).RecoverTail(state.Segments[0])
	if err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		last++
		var b bytes.Buffer
		if err := (&wal.BinaryCodec{}).Encode(&raft.Log{Index: last, Data: bytes.Repeat([]byte{7}, entryBytes)}, &b); err != nil {
			t.Fatal(err)
		}
		if err := tail.Append([]types.LogEntry{{Index: last, Data: b.Bytes()}}); err != nil {
			t.Fatal(err)
		}
		if full, _, err = tail.Sealed(); err != nil {
			t.Fatal(err)
		}
	}
	offset, err := tail.(*segment.Writer).OffsetForFrame(last)
	if err := errors.Join(err, tail.Close(), meta.Close()); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, segment.FileName(state.Segments[0])), last, int64(offset)
}

// goesOn opens a log that must end at last, and adds to it, twice.
func goesOn(t *testing.T, dir string, last uint64) {
	t.Helper()
	for range 2 {
		store, err := Open(dir, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := store.LastIndex(); got != last || err != nil {
			t.Errorf("the log ends at %d (%v), not at %d", got, err, last)
		}
		last++
		if err := store.StoreLog(&raft.Log{Index: last, Data: []byte("x")}); err != nil {
			t.Error(err)
		}
		for i := range last {
			if err := store.GetLog(i+1, new(raft.Log)); err != nil {
				t.Errorf("entry %d: %v", i+1, err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A node that ended between the entry that fills a file of its log and the beginning of the next file would store nothing any more, at every start.
func TestFullFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	_, last, _ := filled(t, dir, segmentBytes/8)
	goesOn(t, dir, last)
}

// A node whose disk was full, or whose power was cut, while it stored the entry that fills a file of its log would take the piece of an
// index that is there for the file's end: it would not start again, or store nothing any more.
func TestTornSealIsCut(t *testing.T) {
	const entries = 32
	whole := t.TempDir()
	file, last, at := filled(t, whole, segmentBytes/entries)
	full, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(len(full))
	index := end - frameHeaderBytes - (int64(4*last)+frameHeaderBytes-1)/frameHeaderBytes*frameHeaderBytes - frameHeaderBytes
	tear := func(b []byte, from, to int64) []byte {
		b = bytes.Clone(b)
		clear(b[from:to])
		return b
	}
	for what, torn := range map[string][]byte{
		"nothing of the entry":    tear(full, at, end),
		"half an entry":           tear(full, (at+index)/2, end),
		"an entry":                tear(full, index, end),
		"an index's header":       tear(full, index+frameHeaderBytes, end),
		"half an index":           tear(full, (index+end)/2, end),
		"no commit":               tear(full, end-frameHeaderBytes, end),
		"all but the entry":       tear(full, at+frameHeaderBytes, index),
		"all but a piece of it":   tear(full, at+4096, at+8192),
		"an index that is no end": tear(full, at, index),
		"cut after the header":    full[:index+frameHeaderBytes],
		"cut in the index":        full[:(index+end)/2],
		"cut before the commit":   full[:end-frameHeaderBytes],
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), torn, 0o644); err != nil {
				t.Fatal(err)
			}
			goesOn(t, dir, last-1)
		})
	}
}

// What a disk has changed or lost in the middle of a log, or in a file that is complete, would be taken for an end that was never stored: the
// node would vote on what it has forgotten.
func TestChangedLogIsRefused(t *testing.T) {
	whole := t.TempDir()
	first, last, _ := filled(t, whole, segmentBytes/32)
	store, err := Open(whole, hclog.NewNullLogger()) // begins the second file
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		last++
		if err := store.StoreLog(&raft.Log{Index: last, Data: bytes.Repeat([]byte{7}, 50_000)}); err != nil {
			t.Fatal(err)
		}
	}
	state, err := store.meta.Load(whole)
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(whole, segment.FileName(state.Segments[1]))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string]struct {
		file string
		do   func(b []byte) []byte
	}{
		"a bit in a full file":           {first, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }},
		"a bit in a full file's index":   {first, func(b []byte) []byte { b[len(b)-40] ^= 4; return b }},
		"a full file cut":                {first, func(b []byte) []byte { return b[:len(b)/2] }},
		"a full file emptied":            {first, func(b []byte) []byte { return nil }},
		"a bit in the file written to":   {second, func(b []byte) []byte { b[60_000] ^= 1; return b }},
		"a bit in its header's checksum": {second, func(b []byte) []byte { b[12] ^= 1; return b }},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, filepath.Base(x.file))
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, x.do(b), 0o644); err != nil {
				t.Fatal(err)
			}
			if store, err := Open(dir, hclog.NewNullLogger()); err == nil {
				end, err := store.LastIndex()
				t.Errorf("opened, ends at %d of %d, %v", end, last, errors.Join(err, store.Close()))
			} else if !strings.Contains(err.Error(), "empty directory") {
				t.Errorf("no remedy: %v", err)
			}
		})
	}
}

// Reading a log file that is anything would not end, or count what is not there: what is behind its last whole commit makes no difference.
func FuzzReadThrough(f *testing.F) {
	for _, entries := range []int{0, 1, 20} {
		dir := f.TempDir()
		store, err := Open(dir, hclog.NewNullLogger())
		if err != nil {
			f.Fatal(err)
		}
		for i := range entries {
			if err := store.StoreLog(&raft.Log{Index: uint64(i + 1), Data: fmt.Appendf(nil, "entry %d", i)}); err != nil {
				f.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			f.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
		if err != nil || len(names) == 0 {
			f.Fatalf("%d files, %v", len(names), err)
		}
		whole, err := os.ReadFile(names[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole[:min(len(whole), 2<<10)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := readThrough(bytes.NewReader(b), "log")
		switch {
		case errors.Is(err, types.ErrCorrupt):
			return
		case err != nil:
			t.Fatal(err)
		case found.end > int64(len(b)) || found.index > found.end || found.entries > uint64(len(b)/frameHeaderBytes):
			t.Fatalf("%+v in %d bytes", found, len(b))
		}
		if again, err := readThrough(bytes.NewReader(b[:found.end]), "log"); err != nil || again != found {
			t.Errorf("%+v, and without what is behind it %+v, %v", found, again, err)
		}
	})
}
