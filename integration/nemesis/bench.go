package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/harness"
)

// Bench is what faults are made to.
type Bench struct {
	*cluster.Cluster
	Topic string
	Proxy *harness.S3Proxy // before the bucket; nil without one
	Clock bool             // nodes' clocks can be shifted
	Log   func(format string, args ...any)

	// MendWithin bounds how long a cluster may take to be whole again.
	MendWithin time.Duration
	// Mended are the times that it took.
	Mended []time.Duration

	// scattered says that partitions may have fewer replicas than nodes.
	scattered bool
}

// undo ends a fault.
type undo func(context.Context) error

// Run carries a plan out. The error is the harness's or the cluster's that did not mend; broken promises are for the checker.
func (b *Bench) Run(ctx context.Context, plan []Round) error {
	for i, r := range plan {
		if !sleep(ctx, r.After) {
			return ctx.Err()
		}
		b.Log("round %d %v", i+1, r)
		if err := b.round(ctx, r); err != nil {
			return fmt.Errorf("round %d, %v: %w", i+1, r, err)
		}
		if !r.Mend && i < len(plan)-1 {
			continue
		}
		if err := b.Mend(ctx); err != nil {
			return fmt.Errorf("after round %d, %v: %w", i+1, r, err)
		}
	}
	return nil
}

// round begins its faults, waits, and ends them in reverse.
func (b *Bench) round(ctx context.Context, r Round) error {
	var undos []undo
	var all error
	for _, s := range r.Steps {
		f, ok := Named(s.Fault)
		if !ok {
			return fmt.Errorf("fault %q is not known", s.Fault)
		}
		end, err := f.begin(ctx, b, s.Targets, rand.New(rand.NewPCG(s.Seed, 1)))
		if end != nil {
			undos = append(undos, end)
		}
		if all = errors.Join(all, err); err != nil {
			break
		}
	}
	if all == nil {
		sleep(ctx, r.For)
	}
	// Faults are ended also when the run is being broken off, so that volumes thaw and processes go on.
	end := context.WithoutCancel(ctx)
	for i := len(undos) - 1; i >= 0; i-- {
		all = errors.Join(all, undos[i](end))
	}
	// A node may have ended by itself, for a good reason: a full or hanging disk, a bad file. Somebody starts it again.
	for i := range b.Nodes() {
		all = errors.Join(all, b.Start(i))
	}
	return all
}

// Mend waits until the cluster is whole.
func (b *Bench) Mend(ctx context.Context) error {
	begin := time.Now()
	bounded, cancel := context.WithTimeout(ctx, b.MendWithin)
	defer cancel()
	if b.scattered {
		if err := b.restore(bounded); err != nil {
			return err
		}
		b.scattered = false
	}
	if err := b.Ready(bounded, b.Topic); err != nil {
		return err
	}
	b.Mended = append(b.Mended, time.Since(begin))
	b.Log("whole again after %v", time.Since(begin).Round(time.Millisecond))
	return nil
}

// sleep lets time pass; false says that ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
