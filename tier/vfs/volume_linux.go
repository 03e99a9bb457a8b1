package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// osVolume flushes with syncfs.
//
// syncfs reports write-back errors since Linux 5.8, once per open descriptor,
// if the descriptor was open when they happened: hence one descriptor, opened
// before the first write and kept. Before 6.13 it may return success on an
// ext4 that has shut itself down; an fsync of the directory, which does tell,
// follows it there.
type osVolume struct {
	dir     *os.File
	device  uint64
	syncfs  bool // usable at all
	witness bool // needs the fsync behind it
}

func openVolume(dir string) (Volume, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	v := &osVolume{dir: d}
	if err := v.look(); err != nil {
		_ = d.Close() // the first error is the news
		return nil, fmt.Errorf("open volume of %s: %w", dir, err)
	}
	return v, nil
}

// look finds out what kernel and file system this is.
func (v *osVolume) look() error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(v.dir.Fd()), &stat); err != nil {
		return err
	}
	v.device = uint64(stat.Dev)
	var fsStat unix.Statfs_t
	if err := unix.Fstatfs(int(v.dir.Fd()), &fsStat); err != nil {
		return err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	release := string(bytes.TrimRight(name.Release[:], "\x00"))
	v.syncfs = kernelAtLeast(release, 5, 8) && reportsWriteBack(int64(fsStat.Type))
	v.witness = !kernelAtLeast(release, 6, 13)
	return nil
}

// reportsWriteBack lists the file systems whose syncfs both waits for data and
// reports its loss. Others (overlayfs keeps the error on the lower super block;
// FUSE and network file systems may not pass the flush on) are synced file by file.
func reportsWriteBack(magic int64) bool {
	switch uint32(magic) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// kernelAtLeast reads "6.18.44-something". What cannot be read counts as old.
func kernelAtLeast(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	a, err := strconv.Atoi(first)
	if err != nil {
		return false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	b, err := strconv.Atoi(rest[:end])
	if err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// Sync implements Volume.
func (v *osVolume) Sync() (bool, error) {
	if !v.syncfs {
		return false, nil
	}
	fd := int(v.dir.Fd())
	err := unix.Syncfs(fd)
	for errors.Is(err, unix.EINTR) {
		err = unix.Syncfs(fd)
	}
	if err != nil {
		return true, &os.PathError{Op: "syncfs", Path: v.dir.Name(), Err: err}
	}
	if v.witness {
		return true, v.dir.Sync()
	}
	return true, nil
}

// Whole implements Volume.
func (v *osVolume) Whole() bool { return v.syncfs }

// Covers implements Volume.
func (v *osVolume) Covers(dir string) (bool, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return false, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return uint64(stat.Dev) == v.device, nil
}

// Free implements Volume.
func (v *osVolume) Free() (int64, error) { return freeBytes(v.dir) }

// Close implements Volume.
func (v *osVolume) Close() error { return v.dir.Close() }
