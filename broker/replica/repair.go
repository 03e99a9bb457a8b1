package replica

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Repair mends replicas of this broker that are damaged, or that do not open: what the bucket could stand in for has been mended
// before. In this order, and each step only when the image shows the one before:
//
//	leads? ─▸ another in-sync replica leads ─▸ out of ISR and ELR ─▸ the log begins anew, and is fetched
//
// While nobody else is in sync nothing is done: the damaged copy is the best there is, and a person decides.
//
// A broker whose volume is full steps back from its partitions in the same way, as long as enough others are in sync to go on without
// it: it can neither append nor acknowledge. Its followers catch up when there is room again. It does so once for each partition and
// time that the volume is full, so that brokers which are all full do not hand partitions to each other for ever.
type Repair struct {
	node   kafka.BrokerID
	quorum Quorum
	each   func(func(*partition.Partition))
	failed func() map[kafka.Partition]error
	full   func() bool
	log    *slog.Logger

	stepped map[kafka.Partition]struct{} // out since the volume is full
}

const (
	repairInterval = time.Second
	rebaseTimeout  = 30 * time.Second
)

// NewRepair returns what mends the partitions that each tells of, and takes the roles from those that failed to open, and from all while
// the volume is full.
func NewRepair(node kafka.BrokerID, q Quorum, each func(func(*partition.Partition)), failed func() map[kafka.Partition]error, full func() bool, log *slog.Logger) *Repair {
	return &Repair{node: node, quorum: q, each: each, failed: failed, full: full, log: log, stepped: map[kafka.Partition]struct{}{}}
}

// Run looks once a second until ctx ends.
func (r *Repair) Run(ctx context.Context) error {
	ticker := time.NewTicker(repairInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.look(ctx)
		}
	}
}

func (r *Repair) look(ctx context.Context) {
	m := r.quorum.Image()
	var hurt []*partition.Partition
	r.each(func(p *partition.Partition) {
		if p.Damage() != nil {
			hurt = append(hurt, p)
		}
	})
	var elections command.ElectLeaders
	var changes command.AlterISR
	step := func(id kafka.Partition) (out bool) {
		p, ok := m.Partition(id)
		if !ok {
			return false
		}
		e, c, out := r.withdraw(m, p)
		if e != nil {
			elections.Elections = append(elections.Elections, *e)
		}
		if c != nil {
			changes.Changes = append(changes.Changes, *c)
		}
		return out
	}
	for id := range r.failed() {
		step(id)
	}
	for _, id := range r.cramped(m) {
		step(id)
	}
	var out []*partition.Partition
	for _, p := range hurt {
		if step(p.ID()) {
			out = append(out, p)
		}
	}
	for list := range slices.Chunk(elections.Elections, changesPerCommand) {
		r.propose(command.ElectLeaders{Elections: list})
	}
	for list := range slices.Chunk(changes.Changes, changesPerCommand) {
		r.propose(command.AlterISR{Changes: list})
	}
	for _, p := range out { // last: each may wait for the bucket, and nobody is to be led by a damaged replica meanwhile
		r.renew(ctx, p)
	}
}

// cramped are the partitions that this broker is to step back from because its volume is full.
func (r *Repair) cramped(m *image.Image) (list []kafka.Partition) {
	if !r.full() {
		clear(r.stepped)
		return nil
	}
	r.each(func(p *partition.Partition) {
		ip, ok := m.Partition(p.ID())
		if _, done := r.stepped[p.ID()]; done || !ok || p.Damage() != nil {
			return
		}
		if ip.Leader != r.node && !slices.Contains(ip.ISR, r.node) {
			r.stepped[p.ID()] = struct{}{}
			return
		}
		if slices.Contains(ip.ISR, r.node) && len(ip.ISR)-1 >= max(p.MinISR(), 1) {
			list = append(list, p.ID())
		}
	})
	return list
}

// withdraw takes this broker out of what must have everything; out tells that it is out.
func (r *Repair) withdraw(m *image.Image, p *image.Partition) (e *command.Election, c *command.ISRChange, out bool) {
	if !slices.Contains(p.ISR, r.node) && !slices.Contains(p.ELR, r.node) {
		return nil, nil, p.Leader != r.node
	}
	not := func(ids []kafka.BrokerID) []kafka.BrokerID {
		return slices.DeleteFunc(slices.Clone(ids), func(id kafka.BrokerID) bool { return id == r.node })
	}
	isr, elr := not(p.ISR), not(p.ELR)
	if len(isr) == 0 {
		return nil, nil, false
	}
	if p.Leader != r.node {
		c := &command.ISRChange{Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch, ELR: elr}
		for _, id := range isr {
			c.ISR = append(c.ISR, command.ISRMember{ID: id})
		}
		return nil, c, false
	}
	i := slices.IndexFunc(isr, func(id kafka.BrokerID) bool {
		b, ok := m.Broker(id)
		return ok && b.State == command.Active
	})
	if i < 0 {
		return nil, nil, false
	}
	return &command.Election{Partition: p.Partition, Leader: isr[i], ISR: isr, ELR: elr, Expected: p.PartitionEpoch}, nil, false
}

// renew begins a damaged log anew; its fetcher goes on from there.
func (r *Repair) renew(ctx context.Context, p *partition.Partition) {
	_, epoch, follows := p.Following()
	if !follows {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rebaseTimeout)
	defer cancel()
	damage := p.Damage()
	if err := p.Rebase(ctx, epoch); err != nil {
		r.log.Error("replace a damaged replica", "topic", p.Topic(), "partition", p.ID().Index, "error", err)
		return
	}
	r.log.Warn("a damaged replica is fetched anew", "topic", p.Topic(), "partition", p.ID().Index, "damage", damage)
}

// propose proposes a step; what does not happen is decided anew at the next look.
func (r *Repair) propose(c command.Command) {
	r.quorum.ProposeAsync(c, func(_ any, err error) {
		if err != nil {
			r.log.Warn("step back from damaged replicas, or for want of room", "error", err)
		}
	})
}
