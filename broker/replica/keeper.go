package replica

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Quorum is the metadata quorum as this package needs it.
type Quorum interface {
	Image() *image.Image
	ProposeAsync(c command.Command, done func(result any, err error))
}

// Keeper keeps the in-sync replicas of the partitions that this broker leads: who has caught up comes in at once, who has fallen
// behind for too long goes out at the next look.
type Keeper struct {
	quorum Quorum
	each   func(func(*partition.Partition)) // all hosted partitions
	lag    time.Duration
	log    *slog.Logger

	mu   sync.Mutex
	told map[*partition.Partition]struct{}
	all  bool          // all of them are to be looked at
	wake chan struct{} // holds a token while there may be something to look at
}

const (
	// changesPerCommand bounds a command to some 100 KiB.
	changesPerCommand = 1000
	// retryAfter is how long after a change that did not happen the next is tried: what spoke against it is on its way here.
	retryAfter = 200 * time.Millisecond
)

// NewKeeper returns a keeper; lag is replica.lag.time.max.ms.
func NewKeeper(q Quorum, each func(func(*partition.Partition)), lag time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{quorum: q, each: each, lag: lag, log: log, told: map[*partition.Partition]struct{}{}, wake: make(chan struct{}, 1)}
}

// Tell has a partition looked at soon. It does not block.
func (k *Keeper) Tell(p *partition.Partition) {
	k.mu.Lock()
	k.told[p] = struct{}{}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// TellAll has all partitions looked at soon: a broker may have become fit to be in sync. A follower in a cluster at rest has fetched all
// that there is while it was still fenced, and its leader hears nothing more of it.
func (k *Keeper) TellAll() {
	k.mu.Lock()
	k.all = true
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run proposes changes until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(max(k.lag/2, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			k.TellAll()
		case <-k.wake:
			k.propose(k.take())
		}
	}
}

func (k *Keeper) take() (list []*partition.Partition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all {
		k.each(func(p *partition.Partition) { list = append(list, p) })
	} else {
		for p := range k.told {
			list = append(list, p)
		}
	}
	k.all = false
	clear(k.told)
	return list
}

// propose proposes what the partitions want changed.
func (k *Keeper) propose(list []*partition.Partition) {
	m := k.quorum.Image()
	fit := func(r partition.Replica) bool {
		b, ok := m.Broker(r.ID)
		return ok && b.State == command.Active && b.Epoch == r.Epoch
	}
	var changes []command.ISRChange
	var of []*partition.Partition
	for _, p := range list {
		if c, ok := p.ProposeISR(k.lag, fit); ok {
			changes, of = append(changes, c), append(of, p)
		}
		if len(changes) == changesPerCommand {
			k.send(changes, of)
			changes, of = nil, nil
		}
	}
	if len(changes) > 0 {
		k.send(changes, of)
	}
}

// send proposes the changes and settles each.
func (k *Keeper) send(changes []command.ISRChange, of []*partition.Partition) {
	k.quorum.ProposeAsync(command.AlterISR{Changes: changes}, func(result any, err error) {
		left := map[kafka.Partition]bool{}
		list, _ := result.([]kafka.Partition)
		for _, id := range list {
			left[id] = true
		}
		if err != nil {
			k.log.Warn("change of in-sync replicas not settled", "partitions", len(changes), "error", err)
		}
		var again []*partition.Partition
		for i, c := range changes {
			outcome := partition.ISRApplied
			switch {
			case err != nil:
				outcome = partition.ISRUnsettled
			case left[c.Partition]:
				outcome = partition.ISRRefused
			default:
				k.log.Info("in-sync replicas changed", "topic", of[i].Topic(), "partition", c.Partition.Index, "isr", ids(c.ISR), "elr", c.ELR)
			}
			of[i].SettleISR(c, outcome)
			if outcome != partition.ISRApplied {
				again = append(again, of[i])
			}
		}
		if len(again) > 0 {
			time.AfterFunc(retryAfter, func() {
				for _, p := range again {
					k.Tell(p)
				}
			})
		}
	})
}

func ids(members []command.ISRMember) (list []kafka.BrokerID) {
	for _, m := range members {
		list = append(list, m.ID)
	}
	return list
}
