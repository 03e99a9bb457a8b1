package vfs

import (
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

type crashTest struct {
	*testing.T
	*Crash
}

func newCrashTest(t *testing.T) crashTest { return crashTest{t, NewCrash()} }

func (c crashTest) file(name string) File {
	c.Helper()
	f, err := c.OpenRW(name)
	if err != nil {
		c.Fatal(err)
	}
	return f
}

func (c crashTest) write(f File, off int64, s string) {
	c.Helper()
	if _, err := f.WriteAt([]byte(s), off); err != nil {
		c.Fatal(err)
	}
}

func (c crashTest) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// after lists "name=content" of the root after a cut.
func after(t *testing.T, c *Crash) []string {
	t.Helper()
	names, err := c.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		f, err := c.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, size)
		if n, err := f.ReadAt(p, 0); n != len(p) {
			t.Fatal(err)
		}
		names[i] += "=" + string(p)
	}
	return names
}

// False if it failed: "a cut keeps exactly what was synced: bytes by File.Sync, names by SyncDir, both by Volume.Sync".
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	c := newCrashTest(t)
	f := c.file("f")
	c.write(f, 0, "one")
	lost := Cut{Data: Lose, Names: Lose}
	check := func(cut Cut, want ...string) {
		t.Helper()
		if got := after(t, c.CutNow(cut)); !slices.Equal(got, want) {
			t.Fatalf("after %v: %q, want %q", cut, got, want)
		}
	}
	check(lost)
	check(Cut{}, "f=one")
	c.must(f.Sync())
	check(lost) // the name is not durable
	check(Cut{Data: Lose}, "f=one")
	c.must(c.SyncDir("/"))
	check(lost, "f=one")
	c.write(f, 3, "two")
	c.must(f.Truncate(5))
	check(lost, "f=one")
	check(Cut{Names: Lose}, "f=onetw")
	c.must(c.Rename("f", "g"))
	check(lost, "f=one")
	v, err := c.OpenVolume("/")
	c.must(err)
	if ok, err := v.Sync(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	check(lost, "g=onetw")
	c.must(c.Remove("g"))
	check(lost, "g=onetw")
	check(Cut{})
	c.must(c.SyncDir("/"))
	check(lost)
}

// False if it failed: "a torn write is cut at any byte, and shuffled writes survive earlier ones that are lost".
func TestCrashTearsAndShuffles(t *testing.T) {
	c := newCrashTest(t)
	f := c.file("f")
	c.must(c.SyncDir("/"))
	c.must(f.WriteVAt([][]byte{[]byte("ab"), []byte("cd")}, 0))
	c.write(f, 4, "ef")
	torn, shuffled := map[string]bool{}, map[string]bool{}
	for seed := range uint64(300) {
		torn[after(t, c.CutNow(Cut{Data: Tear, Seed: seed}))[0]] = true
		shuffled[after(t, c.CutNow(Cut{Data: Shuffle, Seed: seed}))[0]] = true
	}
	for _, want := range []string{"f=", "f=a", "f=abc", "f=abcd", "f=abcde", "f=abcdef"} {
		if !torn[want] {
			t.Errorf("never torn to %q", want)
		}
	}
	if torn["f=\x00\x00\x00\x00ef"] || !shuffled["f=\x00\x00\x00\x00ef"] || !shuffled["f=\x00\x00\x00\x00"] {
		t.Errorf("torn %v\nshuffled %v", torn, shuffled)
	}
}

// False if it failed: "a cut at operation k sees the first k operations, whatever came later, and the same seed gives the same cut".
func TestCrashCutAt(t *testing.T) {
	c := newCrashTest(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var want [][]string
	note := func() {
		for len(want) < c.Ops() {
			want = append(want, nil)
		}
		want = append(want[:c.Ops()], after(t, c.CutNow(Cut{})))
	}
	note()
	for range 100 {
		name := string(rune('a' + rng.IntN(4)))
		switch rng.IntN(4) {
		case 0:
			if err := c.Remove(name); err != nil {
				continue
			}
		case 1:
			c.must(c.file(name).Truncate(rng.Int64N(9)))
		default:
			c.write(c.file(name), rng.Int64N(9), "xyz")
		}
		note()
	}
	for _, k := range rng.Perm(len(want)) {
		if want[k] == nil {
			continue // inside of one step
		}
		if got := after(t, c.CutAt(k, Cut{})); !slices.Equal(got, want[k]) {
			t.Fatalf("at %d: %q, want %q", k, got, want[k])
		}
		cut := Cut{Data: Shuffle, Names: Shuffle, Seed: 7}
		if a, b := after(t, c.CutAt(k, cut)), after(t, c.CutAt(k, cut)); !slices.Equal(a, b) {
			t.Fatalf("at %d: %q, then %q", k, a, b)
		}
	}
}

// False if it failed: "writes beyond the capacity fail with ENOSPC after what fits, and work again when there is room".
func TestCrashCapacity(t *testing.T) {
	c := newCrashTest(t)
	c.SetCapacity(5)
	f := c.file("f")
	n, err := f.WriteAt([]byte("too much"), 0)
	if n != 5 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d, %v", n, err)
	}
	c.write(f, 0, "again") // overwriting needs no room
	if err := f.Allocate(6); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("allocated beyond it: %v", err)
	}
	c.SetCapacity(10)
	c.must(f.Allocate(9))
	g := c.file("g")
	if n, err := g.WriteAt([]byte("ab"), 0); n != 1 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("beside what is allocated: %d, %v", n, err)
	}
	c.write(f, 5, "more") // there is room for it
	c.must(f.Truncate(5))
	c.write(g, 1, "bcde")
	c.SetCapacity(0)
	c.write(f, 5, "more than was allocated")
}

// False if it failed: "Faulty refuses what its hook refuses and nothing else, lets through what a Partial allows, and counts".
func TestFaulty(t *testing.T) {
	c := newCrashTest(t)
	f := NewFaulty(c.Crash)
	file, err := f.OpenRW("f")
	c.must(err)
	f.SetHook(f.FailNth(KindWrite, 2, syscall.EIO))
	c.must(file.WriteVAt([][]byte{[]byte("ok")}, 0))
	if err := file.WriteVAt([][]byte{[]byte("no")}, 0); !errors.Is(err, syscall.EIO) {
		t.Fatalf("second write: %v", err)
	}
	c.must(file.WriteVAt([][]byte{[]byte("OK")}, 0))
	f.SetHook(f.FailNth(KindWrite, 1, &Partial{N: 3, Err: syscall.ENOSPC}))
	if err := file.WriteVAt([][]byte{[]byte("12"), []byte("34")}, 2); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("partial write: %v", err)
	}
	f.SetHook(nil)
	c.must(file.Sync())
	if got := after(t, c.Crash); !slices.Equal(got, []string{"f=OK123"}) || f.Count(KindWrite) != 4 || f.Count(KindSync) != 1 {
		t.Fatalf("%q, %d writes", got, f.Count(KindWrite))
	}
}
