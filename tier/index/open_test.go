package index

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Files that were cut short or have rubbish in them cost entries, never a wrong
// answer, and never keep the index from opening. (The process that a damaged
// file kills is the marker's business: see TestDamagedDirectoryIsMadeAnew.)
func TestDamagedFiles(t *testing.T) {
	made := t.TempDir()
	x := mustOpen(t, made)
	for i := range 20 {
		x.Put(partition(i), 0, entriesFrom(0, 500))
	}
	mustClose(t, x)
	names, err := filepath.Glob(filepath.Join(made, "badger", "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < min(len(whole), 20_000); at += 1 + min(len(whole), 20_000)/3 {
			bad := append([]byte(nil), whole...)
			bad[at] ^= 0x41
			probeDamaged(t, made, filepath.Base(name), bad, fmt.Sprint("byte ", at))
		}
		if len(whole) > 64 { // shorter files of Badger's end the process: the marker
			probeDamaged(t, made, filepath.Base(name), whole[:len(whole)/2], "cut")
		}
	}
}

func probeDamaged(t *testing.T, made, name string, bad []byte, what string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "badger", name), bad, 0o644); err != nil {
		t.Fatal(err)
	}
	x, err := Open(dir, quiet)
	if err != nil {
		t.Fatalf("%s, %s: %v", name, what, err)
	}
	want := entriesFrom(0, 500)
	for i := range 20 {
		for k := 0; k < 500; k += 37 {
			if e, ok := x.Lookup(partition(i), 0, want[k].Offset+1); ok && e != want[k] {
				t.Fatalf("%s, %s: %+v for %+v", name, what, e, want[k])
			}
		}
	}
	// The writer reads the old pages, too.
	for i := range 20 {
		x.Drop(partition(i), 0)
	}
	x.Flush()
	x.Put(partition(1), 0, want)
	x.Flush()
	if e, ok := x.Lookup(partition(1), 0, want[7].Offset); ok && e != want[7] {
		t.Fatalf("%s, %s: %+v for %+v, put anew", name, what, e, want[7])
	}
	mustClose(t, x)
}

// BenchmarkOpen tells how long opening takes and what it holds: empty, and with
// the entries of a TiB in 128 MiB segments.
func BenchmarkOpen(b *testing.B) {
	for _, segments := range []int{0, 8192} {
		b.Run(fmt.Sprint(segments), func(b *testing.B) {
			dir := b.TempDir()
			x := mustOpen(b, dir)
			for i := range segments {
				x.Put(partition(i%500), kafka.Offset(i), entriesFrom(kafka.Offset(i), 2048))
				if i%64 == 0 {
					x.Flush()
				}
			}
			mustClose(b, x)
			took := time.Duration(0)
			n := 0
			for b.Loop() {
				began := time.Now()
				x := mustOpen(b, dir)
				took += time.Since(began)
				n++
				x.Lookup(partition(1), 1, 5)
				if n == 1 {
					runtime.GC()
					debug.FreeOSMemory()
					b.ReportMetric(anonymousMiB(b), "anon-MiB")
				}
				mustClose(b, x)
			}
			b.ReportMetric(float64(took.Microseconds())/float64(n)/1000, "open-ms")
		})
	}
}

// anonymousMiB is the process's anonymous resident memory.
func anonymousMiB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc")
	}
	var kib float64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}

// Badger's tables stay few, although nothing but the index's own writer merges them, and what was put stays known.
func TestTablesAreMerged(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 { // each closing makes a table
		x := mustOpen(t, dir)
		x.Put(partition(i), 0, entriesFrom(0, 100))
		x.Flush()
		if n := x.db.Load().Levels()[0].NumTables; n > 3 {
			t.Fatalf("%d tables after %d openings", n, i)
		}
		if failed := x.Stats().Failed; failed > 0 {
			t.Fatalf("%d rounds failed", failed)
		}
		for j := range i + 1 {
			if e, ok := x.Lookup(partition(j), 0, 6_000); !ok || e.Offset > 6_000 {
				t.Fatalf("after %d openings: what was put at the %dth is not known: %+v, %v", i, j, e, ok)
			}
		}
		mustClose(t, x)
	}
}
