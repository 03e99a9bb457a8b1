package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// OpenDurable opens with O_DIRECT and O_DSYNC: one write, and where it goes over what was written before, no metadata with it. File systems
// that do not know O_DIRECT (tmpfs, for one) write through the page cache.
func (o OS) OpenDurable(name string) (File, error) {
	f, err := openOS(name, os.O_RDWR|os.O_CREATE|unix.O_DSYNC|unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) {
		return openOS(name, os.O_RDWR|os.O_CREATE|unix.O_DSYNC)
	}
	return f, err
}
