package quorum

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Proposals answered per second, each on disk, by the number of goroutines that wait for their own.
func BenchmarkPropose(b *testing.B) {
	for _, proposers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%d_proposers", proposers), func(b *testing.B) {
			q := start(b, Config{Dir: b.TempDir(), ID: 1})
			c := topic("a")
			propose(b, q, c)
			before := q.raft.LastIndex()
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			b.ResetTimer()
			for g := range proposers {
				go func() {
					defer func() { done <- struct{}{} }()
					offsets := command.CommitOffsets{Group: fmt.Sprint(g), Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: c.ID}, Offset: 5}}}
					for left.Add(-1) >= 0 {
						if _, err := q.Propose(context.Background(), offsets); err != nil {
							b.Error(err)
						}
					}
				}()
			}
			for range proposers {
				<-done
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
			b.ReportMetric(float64(b.N)/float64(q.raft.LastIndex()-before), "proposals/entry")
		})
	}
}

// From Open to Ready in an empty directory, and in one with a log.
func BenchmarkStart(b *testing.B) {
	b.Run("empty", func(b *testing.B) {
		for b.Loop() {
			q := start(b, Config{Dir: b.TempDir(), ID: 1})
			b.StopTimer()
			b.ReportMetric(float64(diskUse(b, q.cfg.Dir))/(1<<20), "MiB-on-disk")
			closeQuorum(b, q)
			b.StartTimer()
		}
	})
	b.Run("2000_entries", func(b *testing.B) {
		dir := b.TempDir()
		q := start(b, Config{Dir: dir, ID: 1})
		for i := range 2000 {
			propose(b, q, command.PutGroup{Group: fmt.Sprint(i), State: []byte("state")})
		}
		closeQuorum(b, q)
		for b.Loop() {
			q := start(b, Config{Dir: dir, ID: 1})
			b.StopTimer()
			closeQuorum(b, q)
			b.StartTimer()
		}
	})
}

func diskUse(b *testing.B, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// CPU that a leader of itself takes while nothing is proposed, in percent of one core.
func BenchmarkIdle(b *testing.B) {
	start(b, Config{Dir: b.TempDir(), ID: 1})
	cpu := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := cpu()
	began := time.Now()
	for b.Loop() {
		time.Sleep(5 * time.Second) // what is measured is that nothing happens
	}
	b.ReportMetric(100*float64(cpu()-before)/float64(time.Since(began)), "%cpu")
}
