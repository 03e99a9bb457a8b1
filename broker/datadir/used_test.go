package datadir

import (
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
)

// False if: a directory on which no start has come as far as partitions passes for one that was used, at its second opening too; or
// one that was used does not.
func TestUsed(t *testing.T) {
	fsys := vfs.NewCrash()
	for _, want := range []bool{false, false, true} {
		d, err := Open(fsys, path, "", 1, true)
		if err != nil {
			t.Fatal(err)
		}
		if want {
			if err := fsys.MkdirAll(d.Partitions()); err != nil {
				t.Fatal(err)
			}
		}
		if used, err := d.Used(fsys); err != nil || used != want {
			t.Errorf("used: %v, %v, want %v", used, err, want)
		}
		closed(t, d)
	}
}
