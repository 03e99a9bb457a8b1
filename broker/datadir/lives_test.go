package datadir

import (
	"errors"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
)

// A directory that was copied back could pass for the one that it was copied from; or one that is what it seems be refused.
func TestOlderCopyIsRefused(t *testing.T) {
	fsys := vfs.NewCrash()
	d, err := Open(fsys, "/d", "c", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	lives := map[int][16]byte{}
	life := func(n int) [16]byte {
		if _, ok := lives[n]; !ok {
			lives[n] = NewLife()
		}
		return lives[n]
	}
	begin := func(n, last int) {
		t.Helper()
		if err := d.Begin(fsys, life(n), life(last)); err != nil {
			t.Fatal(err)
		}
	}
	passes := func(n int) {
		t.Helper()
		if err := d.Outlived(fsys, life(n)); err != nil {
			t.Error(err)
		}
	}
	passes(1) // an older release's directory says nothing
	begin(1, 0)
	passes(1)
	begin(2, 1) // and ends before it has registered
	passes(1)
	passes(2)
	err = d.Outlived(fsys, life(3))
	if !errors.Is(err, ErrOldCopy) || !strings.Contains(err.Error(), "empty directory") {
		t.Errorf("a life that the directory does not know: %v", err)
	}
	if err := d.Outlived(fsys, [16]byte{3}); err != nil {
		t.Errorf("after a life under an older release: %v", err)
	}
	for n := 4; n < 100; n++ { // none of them registers
		begin(n, 1)
	}
	passes(1)
	begin(100, 99)
	if list, err := d.Lives(fsys); err != nil || len(list) != 2 {
		t.Errorf("%d lives are named: %v", len(list), err)
	}
	passes(99)
}
