package cold

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// consumer reads partitions as a client with one connection does: each fetch takes what is ready, up to 16 MiB of a
// partition and 50 MiB in all, and the next one begins when that has been sent.
type consumer struct {
	key   any
	rate  int64 // bytes a second that its connection takes
	parts []consumed
	woken chan struct{}
}

type consumed struct {
	id kafka.Partition
	m  manifest.Manifest
	at kafka.Offset
}

const (
	fetchMost     = 50 << 20
	fetchMostEach = 16 << 20
)

// run consumes everything.
func (c *consumer) run(r *Reader) error {
	c.woken = make(chan struct{}, 1)
	first := 0
	for {
		var runs []batch.Run
		sum, left := 0, 0
		for k := range c.parts {
			p := &c.parts[(first+k)%len(c.parts)]
			if p.at == p.m.End() {
				continue
			}
			left++
			if sum >= fetchMost {
				continue
			}
			run, err := r.Read(p.id, p.m, c.key, p.at, min(fetchMostEach, fetchMost-sum), c.wake)
			if errors.Is(err, ErrLoading) {
				continue
			}
			if err != nil {
				return err
			}
			if p.at, err = follow(run, p.at); err != nil {
				return err
			}
			runs = append(runs, run)
			sum += run.N
		}
		if left == 0 {
			return nil
		}
		if len(runs) == 0 {
			<-c.woken
			continue
		}
		first++
		time.Sleep(time.Duration(int64(sum) * int64(time.Second) / c.rate))
		for _, run := range runs {
			run.Release()
		}
	}
}

func (c *consumer) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// follow walks a run's batches, which continue at from, and returns the offset behind them.
func follow(run batch.Run, from kafka.Offset) (kafka.Offset, error) {
	for rest := run.Bytes; len(rest) > 0; {
		v, more, err := batch.Next(rest)
		if err != nil {
			return 0, err
		}
		if v.BaseOffset() != from {
			return 0, fmt.Errorf("offset %d follows %d", v.BaseOffset(), from)
		}
		from, rest = v.NextOffset(), more
	}
	return from, nil
}

// A replay of 1 GiB takes at most 130 GETs, footers included, and downloads nothing twice: from one partition or many, for
// the first reader and for those after it, whatever the memory keeps between them; and for readers at the same time, all of
// them together.
func TestRequestBudget(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		partitions, segments int
		segmentBytes         int64
		cache                int64
		readers              int
		rate                 int64
	}{
		{1, 8, 128 * mib, -1, 1, 300 * mib},
		{1, 16, 64 * mib, 128 * mib, 1, 300 * mib},
		{16, 1, 64 * mib, 128 * mib, 1, 300 * mib},
		{16, 1, 64 * mib, -1, 1, 30 * mib},
		{16, 1, 64 * mib, 64 * mib, 1, 3000 * mib},
		{40, 1, 64 * mib, 128 * mib, 1, 300 * mib},
		{1, 8, 128 * mib, -1, 4, 100 * mib},
		{16, 1, 64 * mib, 128 * mib, 4, 100 * mib},
		{16, 1, 64 * mib, -1, 4, 1000 * mib},
	} {
		name := fmt.Sprintf("%d partitions of %d segments, %d readers at %d MiB/s, cache %d MiB", c.partitions, c.segments, c.readers, c.rate/mib, c.cache/mib)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &paced{synthetic: newSynthetic(t, 256<<10), first: 20 * time.Millisecond, perGet: 90 * mib, perLine: 500 * mib}
				m := s.partition(t, partition(0), c.segments, c.segmentBytes)
				parts := []consumed{{partition(0), m, 0}}
				for i := 1; i < c.partitions; i++ {
					parts = append(parts, consumed{partition(i), s.copy(t, m, partition(0), partition(i)), 0})
				}
				gib := float64(m.Bytes()) * float64(c.partitions) / (1 << 30)
				r := start(t, s, Config{CacheBytes: c.cache})
				for round := range 2 {
					gets, down, began := s.gets.Load(), s.down.Load(), time.Now()
					var all sync.WaitGroup
					for i := range c.readers {
						all.Go(func() {
							key := fmt.Sprint(round, i)
							reader := consumer{key: key, rate: c.rate, parts: append([]consumed(nil), parts...)}
							if err := reader.run(r); err != nil {
								t.Error(err)
							}
							r.Forget(key)
						})
					}
					all.Wait()
					perGiB := float64(s.gets.Load()-gets) / gib
					twice := float64(s.down.Load()-down) / (1 << 30) / gib
					t.Logf("round %d: %.0f GETs per GiB, %.2f of the bytes, %v", round, perGiB, twice, time.Since(began).Round(time.Millisecond))
					if perGiB > 130 || twice > 1.01 {
						t.Errorf("round %d: %.0f GETs per GiB, %.2f of the bytes: %+v", round, perGiB, twice, r.Stats())
					}
				}
			})
		})
	}
}
