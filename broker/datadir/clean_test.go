package datadir

import (
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
)

// A stop counts as clean once, for the start after it; a start that never came to its end is none.
func TestCleanStop(t *testing.T) {
	fsys := vfs.NewCrash()
	open := func() *Dir {
		t.Helper()
		d, err := Open(fsys, "/d", "c", 1, false)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := func(d *Dir, want bool) {
		t.Helper()
		if clean, err := d.TakeClean(fsys); err != nil || clean != want {
			t.Errorf("clean %v, %v; want %v", clean, err, want)
		}
	}
	stop := func(d *Dir, clean bool) {
		t.Helper()
		if clean {
			if err := d.MarkClean(fsys); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d := open()
	want(d, true) // there was none before
	stop(d, false)
	d = open()
	want(d, false)
	stop(d, true)
	d = open()
	want(d, true)
	stop(d, false)
	d = open()
	want(d, false)
	stop(d, true)
}
