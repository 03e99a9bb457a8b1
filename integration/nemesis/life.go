package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/harness"
)

// What operators do to brokers while clients work.

func lifeFaults() []Fault {
	return []Fault{
		{Name: "rolling restart", class: nodes, shortest: time.Second, longest: 2 * time.Second, needs: needPeers, targets: everybody, begin: roll},
		{Name: "broker replaced", class: nodes, shortest: time.Second, longest: 2 * time.Second, needs: needSpare, targets: one, begin: replace},
	}
}

// needSpare asks for one node more than partitions have replicas, and for a way to empty it.
func needSpare(b *Bench) string {
	if b.Nodes() < 4 || b.System.Admin(b.Cluster, 0) == "" {
		return "needs four nodes of a system that can empty one"
	}
	return ""
}

// patience is how long an operator waits for a step before going on without.
const patience = 30 * time.Second

// roll restarts the nodes one after another, each when the one before it is back in sync, or has not come back for so long that it
// is somebody else's fault.
func roll(ctx context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
	end, _ := each(targets, func(int) error { return nil }, b.Start)
	for _, i := range targets {
		if err := errors.Join(b.Stop(patience, i), b.Start(i)); err != nil {
			return end, err
		}
		bounded, cancel := context.WithTimeout(ctx, patience)
		err := b.Ready(bounded, b.Topic)
		cancel()
		if err != nil {
			b.Log("rolling restart goes on after node %d: %v", i+1, err)
		}
	}
	return end, ctx.Err()
}

// replace empties a node, has the cluster forget it, and starts it under the same id with nothing on its disk. A cluster in trouble
// may refuse: the node stays then, with what it has, and takes replicas again. It is begun only while the metadata quorum is whole: who
// throws away the second of three voters, before another has taken the place of the first, has thrown away the cluster.
func replace(ctx context.Context, b *Bench, targets []int, _ *rand.Rand) (undo, error) {
	i, broker := targets[0], int32(targets[0]+1)
	end := func(context.Context) error { return b.Start(i) }
	client, err := b.client()
	if err != nil {
		return end, err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := b.voters(bounded, client); err != nil {
		b.Log("node %d is not replaced: %v", i+1, err)
		return end, nil
	}
	if err = b.drain(bounded, i, true); err == nil {
		err = b.emptied(bounded, client, broker)
	}
	if err == nil {
		if err := b.Stop(patience, i); err != nil {
			return end, err
		}
		again, cancel := context.WithTimeout(ctx, patience)
		err = forget(again, client, broker)
		cancel()
	}
	if err == nil {
		b.Log("node %d is empty and forgotten", i+1)
		return end, os.RemoveAll(b.Data(i))
	}
	b.Log("node %d is not replaced: %v", i+1, err)
	if err := b.Start(i); err != nil {
		return end, err
	}
	again, cancelAgain := context.WithTimeout(context.WithoutCancel(ctx), 2*patience)
	defer cancelAgain()
	return end, harness.Until(again, func() (bool, error) { return b.drain(again, i, false) == nil, nil })
}

// client is the operator's.
func (b *Bench) client() (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(strings.Split(b.Bootstrap(), ",")...), kgo.DialTimeout(2*time.Second), kgo.RetryTimeout(10*time.Second))
}

// voters waits until the metadata quorum has its three.
func (b *Bench) voters(ctx context.Context, client *kgo.Client) error {
	got := -1
	err := harness.Until(ctx, func() (bool, error) {
		p := kmsg.NewDescribeQuorumRequestTopicPartition()
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic, t.Partitions = "__cluster_metadata", append(t.Partitions, p)
		req := kmsg.NewPtrDescribeQuorumRequest()
		req.Topics = append(req.Topics, t)
		if resp, err := req.RequestWith(ctx, client); err == nil && len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
			got = len(resp.Topics[0].Partitions[0].CurrentVoters)
		}
		return got >= 3, nil
	})
	if err != nil {
		return fmt.Errorf("the metadata quorum has %d voters: %w", got, err)
	}
	return nil
}

// drain asks any other node to have a node emptied, or to end that.
func (b *Bench) drain(ctx context.Context, node int, on bool) (err error) {
	for other := range b.Nodes() {
		if other == node {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = harness.Ask(ask, http.MethodPost, b.System.Admin(b.Cluster, other), fmt.Sprintf("/v1/brokers/%d/drain?on=%t", node+1, on), nil)
		cancel()
		if err == nil {
			return nil
		}
	}
	return err
}

// emptied waits until a broker holds no replica.
func (b *Bench) emptied(ctx context.Context, client *kgo.Client, broker int32) error {
	held := -1
	admin := kadm.NewClient(client)
	err := harness.Until(ctx, func() (bool, error) {
		m, err := admin.Metadata(ctx)
		if err != nil {
			return false, ctx.Err()
		}
		held = 0
		for _, t := range m.Topics {
			if t.IsInternal { // views of the metadata, which every broker is named for and nobody holds
				continue
			}
			for _, p := range t.Partitions {
				if slices.Contains(p.Replicas, broker) {
					held++
				}
			}
		}
		return held == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d replicas are left: %w", held, err)
	}
	return nil
}

// forget unregisters a broker that has ended; until the cluster has noticed that, it refuses.
func forget(ctx context.Context, client *kgo.Client, broker int32) error {
	var refused error
	err := harness.Until(ctx, func() (bool, error) {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = broker
		resp, err := req.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		refused = err
		return err == nil, nil
	})
	return errors.Join(err, refused)
}
