package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// volume is the one that the data directory is on: how full it is decides whether records are accepted.
type volume struct {
	dir  string
	log  *slog.Logger
	full atomic.Bool
}

// reserve is what records leave of a volume of the given size: the metadata log, the index and the recovery points have
// to be written for retention and uploads to make room again.
func reserve(total int64) int64 { return min(64<<20, total/8) }

// space is the volume's size and what of it this process may still write.
func (v *volume) space() (total, usable int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(v.dir, &s); err != nil {
		return 0, 0, fmt.Errorf("space on %s: %w", v.dir, err)
	}
	return int64(s.Blocks) * int64(s.Bsize), int64(s.Bavail) * int64(s.Bsize), nil
}

// look sees how full the volume is: after each flush, and once a second, so that produce goes on when there is room.
func (v *volume) look() {
	total, free, err := v.space()
	if err != nil {
		return // unknown: what does not fit is refused when it is written
	}
	v.note(total, free)
}

func (v *volume) note(total, free int64) {
	if full := free < reserve(total); v.full.Swap(full) != full {
		if full {
			v.log.Error("data volume is full: records are refused until there is room", "free_bytes", free, "dir", v.dir)
		} else {
			v.log.Info("data volume has room again: records are accepted", "free_bytes", free)
		}
	}
}

// run looks once a second until ctx ends.
func (v *volume) run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			v.look()
		}
	}
}
