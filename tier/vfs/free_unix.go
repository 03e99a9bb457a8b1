//go:build linux || darwin

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is what an unprivileged writer may still use.
func freeBytes(f *os.File) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil
}
