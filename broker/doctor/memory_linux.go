package doctor

import "golang.org/x/sys/unix"

// inMemory tells whether a directory is on no disk at all.
func inMemory(dir string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(dir, &stat) == nil && int64(stat.Type) == unix.TMPFS_MAGIC
}
