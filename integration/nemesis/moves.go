package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// leaders moves the leaders of random partitions again and again: the replicas are put into another order, and the
// first of them is elected.
func leaders(ctx context.Context, b *Bench, _ []int, rng *rand.Rand) (undo, error) {
	b.scattered = true // a broker that another fault has stopped is not among all, and loses its replicas
	return b.storm(ctx, rng, func(ctx context.Context, admin *kadm.Client, partition int32, all []int32) error {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if err := b.reassign(ctx, admin, partition, all); err != nil {
			return err
		}
		set := kadm.TopicsSet{}
		set.Add(b.Topic, partition)
		_, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
		return err
	})
}

// replicas takes a replica of random partitions away, or gives it back; all are given back when the cluster is mended.
func replicas(ctx context.Context, b *Bench, _ []int, rng *rand.Rand) (undo, error) {
	b.scattered = true
	return b.storm(ctx, rng, func(ctx context.Context, admin *kadm.Client, partition int32, all []int32) error {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if rng.IntN(2) == 0 {
			all = all[:len(all)-1]
		}
		return b.reassign(ctx, admin, partition, all)
	})
}

func (b *Bench) reassign(ctx context.Context, admin *kadm.Client, partition int32, to []int32) error {
	var req kadm.AlterPartitionAssignmentsReq
	req.Assign(b.Topic, partition, to)
	resp, err := admin.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return err
	}
	return resp.Error()
}

// move does something to a partition that may have any of these replicas.
type move func(ctx context.Context, admin *kadm.Client, partition int32, all []int32) error

// storm does it to random partitions until it is undone. A cluster in trouble may refuse: how often is logged.
func (b *Bench) storm(ctx context.Context, rng *rand.Rand, do move) (undo, error) {
	admin, err := b.Admin()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	done, refused := 0, 0
	go func() {
		defer close(ended)
		for sleep(ctx, 300*time.Millisecond) {
			ask, cancel := context.WithTimeout(ctx, 3*time.Second)
			partitions, all, err := b.layout(ask, admin)
			if err == nil {
				err = do(ask, admin, partitions[rng.IntN(len(partitions))], all)
			}
			if cancel(); err == nil {
				done++
			} else {
				refused++
			}
		}
	}()
	return func(context.Context) error {
		defer admin.Close()
		cancel()
		<-ended
		b.Log("%d moves done, %d refused", done, refused)
		return nil
	}, nil
}

// restore gives every partition replicas on all nodes.
func (b *Bench) restore(ctx context.Context) error {
	admin, err := b.Admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	for {
		partitions, all, err := b.layout(ctx, admin)
		if err == nil && len(all) < b.Nodes() {
			err = fmt.Errorf("%d of %d brokers", len(all), b.Nodes())
		}
		for _, p := range partitions {
			if err == nil {
				err = b.reassign(ctx, admin, p, all)
			}
		}
		if err == nil {
			return nil
		}
		if !sleep(ctx, 500*time.Millisecond) {
			return fmt.Errorf("give the replicas back: %w", err)
		}
	}
}

// layout is the topic's partitions and all brokers.
func (b *Bench) layout(ctx context.Context, admin *kadm.Client) (partitions, brokers []int32, err error) {
	m, err := admin.Metadata(ctx, b.Topic)
	if err != nil {
		return nil, nil, err
	}
	t := m.Topics[b.Topic]
	if t.Err != nil {
		return nil, nil, t.Err
	}
	for _, p := range t.Partitions.Sorted() {
		partitions = append(partitions, p.Partition)
	}
	if len(partitions) == 0 {
		return nil, nil, context.DeadlineExceeded
	}
	for _, d := range m.Brokers {
		brokers = append(brokers, d.NodeID)
	}
	slices.Sort(brokers)
	return partitions, brokers, nil
}
