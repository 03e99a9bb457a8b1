package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ClockFile is the file from which a node's faked clock reads by how much it is off.
func (c *Cluster) ClockFile(node int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("node%d.clock", node+1))
}

// Shift puts a node's wall clock off by so much; its monotonic clock goes on. It fails when the system has no faked clock.
func (c *Cluster) Shift(node int, by time.Duration) error {
	text := fmt.Sprintf("%+.3f\n", by.Seconds())
	beside := c.ClockFile(node) + ".new"
	if err := os.WriteFile(beside, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(beside, c.ClockFile(node))
}
