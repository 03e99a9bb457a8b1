package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What a disk is measured with: enough to tell a good one from a bad one, and no more.
const (
	flushes      = 200
	flushTime    = 2 * time.Second
	flushBytes   = 4 << 10
	streamBytes  = 128 << 20
	streamChunk  = 1 << 20
	roomToStream = 8 * streamBytes
)

// When a disk is slow: an acknowledgement waits for a flush, and a follower's beside it.
const (
	slowMedian = 10 * time.Millisecond
	slowTail   = 100 * time.Millisecond
	slowStream = 50 // MiB/s
)

const diskRemedy = "every acknowledgement waits for a flush: use a local SSD or NVMe, or a cloud volume with more provisioned IOPS and throughput, with nothing else on it"

// Disk looks at the volume of a data directory, which need not exist yet.
func Disk(ctx context.Context, dir string) []Finding {
	at, err := existing(dir)
	if err != nil {
		return []Finding{problem("disk", "correct data.dir, or let the broker's user reach it", "%v", err)}
	}
	list := append([]Finding{space(at)}, files(at)...)
	if inMemory(at) {
		list = append(list, warning("disk", "put data.dir on a disk", "%s is in memory: what is acknowledged there does not outlive the machine", at))
	}
	name, err := scratch(at)
	if err != nil {
		return append(list, problem("disk", mend(err, "let the broker's user write there (chown), and look whether the volume is mounted read-only"), "%v", err))
	}
	defer func() { _ = os.Remove(name) }() // it was told of where it matters: a file that cannot be removed could not be made
	list = append(list, flush(ctx, name))
	if free, _, err := room(at); err != nil || free < roomToStream {
		return append(list, skipped("disk throughput", "there is too little room to measure it"))
	}
	return append(list, stream(ctx, name))
}

// existing is the directory, or the nearest above it that there is.
func existing(dir string) (string, error) {
	at, err := filepath.Abs(dir)
	for err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(at); err == nil {
			if info.IsDir() {
				return at, nil
			}
			return "", fmt.Errorf("%s is no directory", at)
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		at, err = filepath.Dir(at), nil
	}
	return "", err
}

// mend is what to do about a write that failed; otherwise, where its error does not say.
func mend(err error, otherwise string) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "make room: enlarge the volume, or remove what on it is not Qanat's; nothing in the data directory itself"
	case errors.Is(err, unix.EDQUOT):
		return "raise the quota of the broker's user on this volume"
	case errors.Is(err, unix.EROFS):
		return "the volume is mounted read-only: the kernel's log (dmesg) says why, if it was not mounted so; then mount it anew"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "let the broker's user write there (chown); run doctor as that user"
	}
	return otherwise
}

func scratch(dir string) (string, error) {
	f, err := os.CreateTemp(dir, ".qanat-doctor-*")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func room(dir string) (free, total int64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, 0, fmt.Errorf("space of %s: %w", dir, err)
	}
	return int64(stat.Bavail) * int64(stat.Bsize), int64(stat.Blocks) * int64(stat.Bsize), nil
}

// Shares of a volume that are little, and too little.
const (
	littleRoom = 0.15
	noRoom     = 0.05
)

func space(dir string) Finding {
	const check, remedy = "disk space", "a larger volume, or a shorter local.retention.bytes, so that closed segments are only in the bucket"
	free, total, err := room(dir)
	if err != nil {
		return problem(check, "", "%v", err)
	}
	share := float64(free) / float64(max(total, 1))
	text := fmt.Sprintf("%s free of %s (%.0f %%) at %s", bytes(free), bytes(total), share*100, dir)
	switch {
	case share < noRoom:
		return problem(check, remedy, "%s", text)
	case share < littleRoom:
		return warning(check, remedy, "%s", text)
	}
	return ok(check, "%s", text)
}

// files tells of a volume that has bytes left and no file: each segment is several.
func files(dir string) []Finding {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return nil // space has told of it
	}
	return judgeInodes(stat.Ffree, stat.Files)
}

// judgeInodes judges how many more files there may be; some file systems (btrfs) tell of none, as they have no bound.
func judgeInodes(free, total uint64) []Finding {
	const check, remedy = "disk files", "make the file system anew with more inodes (mkfs.ext4 -N), or remove what on it is not Qanat's"
	switch text := fmt.Sprintf("%d more files of %d", free, total); {
	case total == 0 || float64(free) >= littleRoom*float64(total):
		return nil
	case float64(free) < noRoom*float64(total):
		return []Finding{problem(check, remedy, "%s", text)}
	default:
		return []Finding{warning(check, remedy, "%s", text)}
	}
}

func bytes(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// flush measures small writes that are made durable one after the other.
func flush(ctx context.Context, name string) Finding {
	const check = "disk flush"
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return problem(check, "", "%v", err)
	}
	defer func() { _ = f.Close() }() // all of it was flushed
	block := make([]byte, flushBytes)
	var took []time.Duration
	for began := time.Now(); len(took) < flushes && time.Since(began) < flushTime && ctx.Err() == nil; {
		start := time.Now()
		_, err := f.WriteAt(block, int64(len(took))*flushBytes)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return problem(check, mend(err, "look at the kernel's log (dmesg): a disk that fails a flush loses data"), "%v", err)
		}
		took = append(took, time.Since(start))
	}
	if len(took) == 0 {
		return skipped(check, "there was no time for it")
	}
	slices.Sort(took)
	median, tail := took[len(took)/2], took[len(took)*99/100]
	text := fmt.Sprintf("%s (p50), %s (p99) for %d KiB, %d times", short(median), short(tail), flushBytes>>10, len(took))
	if median > slowMedian || tail > slowTail {
		return warning(check, diskRemedy, "%s", text)
	}
	return ok(check, "%s", text)
}

func short(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// stream measures one long write with a flush at its end.
func stream(ctx context.Context, name string) Finding {
	const check = "disk throughput"
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return problem(check, "", "%v", err)
	}
	defer func() { _ = f.Close() }()
	chunk := make([]byte, streamChunk)
	for i := range chunk { // what is the same everywhere may be stored as nothing
		chunk[i] = byte(i * 7)
	}
	began, n := time.Now(), 0
	for ; n < streamBytes && ctx.Err() == nil; n += len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			return problem(check, mend(err, "look at the kernel's log (dmesg)"), "%v", err)
		}
	}
	if err := f.Sync(); err != nil {
		return problem(check, mend(err, "look at the kernel's log (dmesg)"), "%v", err)
	}
	speed := float64(n) / (1 << 20) / time.Since(began).Seconds()
	text := fmt.Sprintf("%.0f MiB/s for %s, written and flushed", speed, bytes(int64(n)))
	if speed < slowStream {
		return warning(check, diskRemedy, "%s", text)
	}
	return ok(check, "%s", text)
}

// Files that a broker wants to be able to open, and cannot do without: a segment has up to three, a connection one.
const (
	wantFiles = 65536
	needFiles = 4096
)

// Limits looks at what this process may have, which is what a broker that is started the same way may.
func Limits() []Finding {
	const check, remedy = "open files", "LimitNOFILE=1048576 in the systemd unit, or ulimit -n"
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return []Finding{problem(check, "", "%v", err)}
	}
	return []Finding{judgeFiles(uint64(limit.Max), check, remedy)}
}

// judgeFiles judges the hard limit, to which Go programs raise their own.
func judgeFiles(limit uint64, check, remedy string) Finding {
	text := fmt.Sprintf("%d at most", limit)
	if limit > 1<<40 {
		text = "without limit"
	}
	switch {
	case limit < needFiles:
		return problem(check, remedy, "%s", text)
	case limit < wantFiles:
		return warning(check, remedy, "%s", text)
	}
	return ok(check, "%s", text)
}
