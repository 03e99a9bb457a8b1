package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Volume is a node's disk: ext4 in an image, on a loop device, over a tmpfs. What a sync has not reached is in the page
// cache above the image, so that a power cut can take it; and the tmpfs can be filled, so that the device fails.
type Volume struct {
	Dir string // where it is mounted

	backing string
	size    int64
	failed  bool // since the last check: what ext4 has written of its own may be missing, too
}

// NewVolume makes and mounts a volume below dir.
func NewVolume(dir string, size int64) (*Volume, error) {
	v := &Volume{Dir: filepath.Join(dir, "disk"), backing: filepath.Join(dir, "backing"), size: size}
	for _, d := range []string{v.Dir, v.backing} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := syscall.Mount("tmpfs", v.backing, "tmpfs", 0, fmt.Sprintf("size=%d", size+size/8)); err != nil {
		return nil, fmt.Errorf("mount the backing of a volume: %w", err)
	}
	f, err := os.Create(v.image())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	// The tables are written now, so that only data fails when Fail says so; nothing is kept back for root, as whom nodes run.
	if err := run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", v.image()); err != nil {
		return nil, err
	}
	return v, v.Mount()
}

func (v *Volume) image() string { return filepath.Join(v.backing, "image") }

// Mount mounts the volume, after a check when it was not left clean: a whole one, as an operator makes it, when the device had failed, since
// ext4 itself does not know what it has lost.
func (v *Volume) Mount() error {
	check := []string{"-p"}
	if v.failed {
		check = append(check, "-f")
	}
	out, err := exec.Command("e2fsck", append(check, v.image())...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 1 {
		// What cannot be mended without questions is mended with every answer yes: the node finds what is left.
		out, err = exec.Command("e2fsck", "-f", "-y", v.image()).CombinedOutput()
	}
	if errors.As(err, &exit) && exit.ExitCode() > 2 {
		return fmt.Errorf("check the volume: %w: %s", err, out)
	}
	if err := run("mount", "-o", "loop,errors=remount-ro", v.image(), v.Dir); err != nil {
		return err
	}
	v.failed = false
	return nil
}

// Unmount takes the volume away; no process may use it.
func (v *Volume) Unmount() error { return run("umount", v.Dir) }

// Close unmounts everything.
func (v *Volume) Close() error {
	return errors.Join(v.Unmount(), run("umount", v.backing))
}

// Fill leaves at most left bytes free.
func (v *Volume) Fill(left int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(v.Dir, &s); err != nil {
		return err
	}
	n := int64(s.Bavail)*s.Bsize - left
	if n <= 0 {
		return nil
	}
	f, err := os.Create(v.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, n)
}

func (v *Volume) filler() string { return filepath.Join(v.Dir, "filler") }

// Free ends Fill.
func (v *Volume) Free() error { return gone(os.Remove(v.filler())) }

func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Freeze makes every write wait until Thaw.
func (v *Volume) Freeze() error { return run("fsfreeze", "-f", v.Dir) }

// Thaw ends Freeze. It is tried again: a signal that ends the tool must not leave the nodes, and whoever waits for their end, hanging.
func (v *Volume) Thaw() error {
	var err error
	for range 3 {
		if err = run("fsfreeze", "-u", v.Dir); err == nil {
			return nil
		}
	}
	return err
}

// Cut takes the power away: nothing more reaches the device, not even the journal. The node must be killed, then Remount.
func (v *Volume) Cut() error {
	f, err := os.Open(v.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN; EXT4_GOING_FLAGS_NOLOGFLUSH
	how := uint32(noLogFlush)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); e != 0 {
		return fmt.Errorf("shut the volume down: %w", e)
	}
	return nil
}

// Fail makes writes to what the device has not allocated yet fail with EIO, as on a disk that has run out of spare sectors.
func (v *Volume) Fail() error {
	v.failed = true
	f, err := os.Create(v.spare())
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		var s unix.Statfs_t
		if err := unix.Statfs(v.backing, &s); err != nil {
			return err
		}
		// The device may be taking up room itself at this moment.
		if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail)*s.Bsize); err == nil || !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
}

func (v *Volume) spare() string { return filepath.Join(v.backing, "spare") }

// Replaced ends Fail: the device works again. What it has lost stays lost.
func (v *Volume) Replaced() error { return gone(os.Remove(v.spare())) }

// Remount is what a machine does when it comes up: no process may use the volume.
func (v *Volume) Remount() error {
	if err := v.Unmount(); err != nil {
		return err
	}
	return v.Mount()
}
