package sources

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/broker/telemetry"
)

// processState is what the system says of this process. Memory and files only where there is a /proc.
func processState() telemetry.ProcessState {
	var s telemetry.ProcessState
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		s.CPU = (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			s.RSS = pages * int64(os.Getpagesize())
		}
	}
	if dir, err := os.Open("/proc/self/fd"); err == nil {
		if names, err := dir.Readdirnames(-1); err == nil {
			s.Files = int64(len(names)) - 1 // the directory itself
		}
		_ = dir.Close()
	}
	return s
}
