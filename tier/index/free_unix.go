//go:build unix

package index

import "golang.org/x/sys/unix"

// freeBytes is the space left for us on dir's volume.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
