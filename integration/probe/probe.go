package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/integration/cluster"
)

// Topic is what is looked at.
type Topic struct {
	Name       string
	ID         [16]byte
	Partitions int32
}

// Finding is something that is not as it must be.
type Finding struct {
	Probe string
	What  string
}

// All runs every probe on a cluster that is whole and idle: first those that ask, then, with the nodes stopped, those that
// read files, then those that start nodes again. bucket is the directory of the bucket's objects, "" for none. looked says what was
// looked at, in words with numbers. The error is the cluster's, such as not stopping.
func All(ctx context.Context, c *cluster.Cluster, t Topic, bucket string) (findings []Finding, looked []string, err error) {
	p := &probing{c, t, bucket, nil, nil}
	before, err := p.lookups(ctx)
	if err != nil {
		return nil, nil, err
	}
	ranges, err := p.sweep(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i := range c.Nodes() {
		if err := c.Kill(i); err != nil {
			return nil, nil, err
		}
	}
	if err := errors.Join(p.replicas(), p.objects(ranges)); err != nil {
		return p.findings, p.looked, err
	}
	return p.findings, p.looked, p.rebuilt(ctx, before)
}

type probing struct {
	*cluster.Cluster
	topic    Topic
	bucket   string
	findings []Finding
	looked   []string
}

func (p *probing) found(probe, format string, args ...any) {
	p.findings = append(p.findings, Finding{probe, fmt.Sprintf(format, args...)})
}

func (p *probing) look(format string, args ...any) {
	p.looked = append(p.looked, fmt.Sprintf(format, args...))
}
