package cold

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// paced is a store as S3 is one: each GET waits before its first byte, then
// gives so many bytes a second, and all together no more than the line takes.
type paced struct {
	*synthetic
	first           time.Duration
	perGet, perLine int64 // bytes a second

	mu   sync.Mutex
	line time.Time // when the line is free again
}

func (s *paced) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	body, err := s.synthetic.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	time.Sleep(s.first)
	return &pacedBody{body, s}, nil
}

type pacedBody struct {
	io.ReadCloser
	s *paced
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	took := func(rate int64) time.Duration { return time.Duration(int64(n) * int64(time.Second) / rate) }
	b.s.mu.Lock()
	now := time.Now()
	if b.s.line.Before(now) {
		b.s.line = now
	}
	b.s.line = b.s.line.Add(took(b.s.perLine))
	until := max(b.s.line.Sub(now), took(b.s.perGet))
	b.s.mu.Unlock()
	time.Sleep(until)
	return n, err
}

// One partition is replayed at 90 % and more of what the store's line takes,
// and where a single GET is the limit, at several times that: the clock is the
// test's own, so that the machine's load does not matter.
func TestReplayFillsTheLine(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name            string
		perGet, perLine int64
		least           float64 // MiB/s
	}{
		{"line of 300 MiB/s", 90 * mib, 300 * mib, 270},
		{"line without end, 90 MiB/s a GET", 90 * mib, 100_000 * mib, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &paced{synthetic: newSynthetic(t, 16<<10), first: 20 * time.Millisecond, perGet: c.perGet, perLine: c.perLine}
				m := s.partition(t, partition(0), 8, 128*mib)
				r := start(t, s, Config{})
				began := time.Now()
				if err := s.replay(r, partition(0), m, "a", mib); err != nil {
					t.Fatal(err)
				}
				speed := float64(m.Bytes()) / mib / time.Since(began).Seconds()
				t.Logf("%.0f MiB/s, %+v", speed, r.Stats())
				if st := r.Stats(); speed < c.least || st.Cancelled > 0 || st.HeldPeak > 192*mib {
					t.Fatalf("%.0f MiB/s, %+v", speed, st)
				}
			})
		})
	}
}
