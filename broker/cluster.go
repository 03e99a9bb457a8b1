package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What the admin port says of all brokers together, and changes.

func (b backend) Brokers() []console.Broker {
	m := b.quorum.Image()
	list := []console.Broker{}
	at := map[kafka.BrokerID]int{}
	leader := b.quorum.LeaderID()
	m.Brokers(func(r *image.Broker) bool {
		at[r.ID] = len(list)
		release, level := command.SplitLevel(r.Version)
		x := console.Broker{
			ID: int32(r.ID), State: r.State.String(), Drain: r.Drain, Epoch: int64(r.Epoch), Rack: r.Rack, Listeners: listenersOf(r),
			Cluster: r.Cluster, Admin: adminOf(r), Version: release, MetadataLevel: int(level), Controller: r.ID == leader,
		}
		if r.Drain {
			d := controller.Draining(m, r.ID)
			x.Moving, x.Stuck, x.Throttle = d.Moving, d.Stuck, b.moveRate(m)
		}
		list = append(list, x)
		return true
	})
	find := func(id kafka.BrokerID) *console.Broker {
		if i, ok := at[id]; ok {
			return &list[i]
		}
		return &console.Broker{} // not registered: nobody's
	}
	m.AllPartitions(func(p *image.Partition) bool {
		find(p.Leader).Leaders++
		find(p.Replicas[0]).Preferred++
		for _, id := range p.Replicas {
			x := find(id)
			x.Replicas++
			if !slices.Contains(p.ISR, id) {
				x.OutOfSync++
			}
		}
		return true
	})
	for shard := range int32(image.CoordinatorShards) {
		find(m.Coordinator(shard).Broker).Groups++
	}
	members := b.quorum.Status()
	for _, v := range members.Voters {
		find(v.ID).Voter = true
	}
	for _, v := range members.NonVoters {
		find(v.ID).Observer = true
	}
	return list
}

// worstPartitions bounds the list of partitions with a problem.
const worstPartitions = 100

// ailments are what can be wrong with a partition, the gravest first.
var ailments = []string{"lost: no replica is known to have its data", "nobody leads", "below min.insync.replicas", "under-replicated"}

func (b backend) Cluster() console.Cluster {
	m := b.quorum.Image()
	c := console.Cluster{
		ClusterID: m.ClusterID(), AskedOf: int32(b.node), Controller: int32(b.quorum.LeaderID()), Topics: m.TopicCount(), Partitions: m.PartitionCount(),
		MetadataLevel: int(m.Level()), Problems: []string{}, Warnings: []string{}, Worst: []console.PartitionHealth{},
	}
	if c.Controller == int32(kafka.NoBroker) {
		c.Problems = append(c.Problems, fmt.Sprintf("the metadata quorum has no leader that broker %d, which was asked, knows: nothing can be changed there", b.node))
	} else if !b.leased() {
		c.Problems = append(c.Problems, fmt.Sprintf("broker %d, which was asked, does not reach the controller, broker %d: what it knows is old", b.node, c.Controller))
	}
	for _, s := range b.session.Skews() {
		c.Problems = append(c.Problems, clockProblem(s))
	}
	if b.full.Load() {
		c.Problems = append(c.Problems, fmt.Sprintf("the data volume of broker %d, which was asked, is full: it takes no records until there is room (a larger volume, or `qanat topic alter TOPIC --set local.retention.bytes=…`)", b.node))
	}
	problems, warnings := b.certificates()
	c.Problems, c.Warnings = append(c.Problems, problems...), append(c.Warnings, warnings...)
	rules := control.Rules(b.cfg, m)
	found := make([][]console.PartitionHealth, len(ailments))
	counts := make([]int, len(ailments))
	m.Topics(func(t *image.Topic) bool {
		r := rules(t.Name)
		m.Partitions(t.ID, func(p *image.Partition) bool {
			if len(p.Adding)+len(p.Removing) > 0 {
				c.Moving++
			}
			if p.Leader != p.Replicas[0] {
				c.NotPreferred++
			}
			if i := ailment(p, r); i >= 0 {
				if counts[i]++; counts[i] <= worstPartitions {
					found[i] = append(found[i], console.PartitionHealth{
						Topic: t.Name, Partition: p.Index, Problem: ailments[i], Leader: int32(p.Leader),
						Replicas: numbers(p.Replicas), ISR: numbers(p.ISR), ELR: numbers(p.ELR),
					})
				}
			}
			return true
		})
		return true
	})
	c.Lost, c.Leaderless, c.UnderMinISR, c.UnderReplicated = counts[0], counts[0]+counts[1], counts[2], counts[2]+counts[3]
	for i, list := range found {
		if counts[i] > 0 {
			c.Problems = append(c.Problems, partitionProblem(i, counts[i]))
		}
		c.Worst = append(c.Worst, list[:min(len(list), worstPartitions-len(c.Worst))]...)
	}
	m.Brokers(func(r *image.Broker) bool {
		c.Brokers++
		switch r.State {
		case command.Active:
			c.Active++
		case command.Stopping:
			c.Problems = append(c.Problems, fmt.Sprintf("broker %d is stopping", r.ID))
		case command.Fenced:
			c.Problems = append(c.Problems, fmt.Sprintf("broker %d is fenced: it is not there, or has not caught up", r.ID))
		}
		return true
	})
	c.Healthy = len(c.Problems) == 0
	return c
}

func clockProblem(s control.Skew) string {
	by, where := s.By().Round(time.Second), "ahead of"
	if by < 0 {
		by, where = -by, "behind"
	}
	return fmt.Sprintf("the clock of broker %d is %s %s most brokers': timestamps that it gives and checks are wrong (set it, and have NTP keep it)", s.Broker, by, where)
}

// ailment is the position in ailments of what is wrong with a partition, -1 for nothing. Replicas that a reassignment is
// about to bring are not missed.
func ailment(p *image.Partition, r controller.Rules) int {
	wanted := len(p.Replicas) - len(p.Adding)
	switch {
	case p.Leader == kafka.NoBroker && len(p.ISR)+len(p.ELR) == 0:
		return 0
	case p.Leader == kafka.NoBroker:
		return 1
	case len(p.ISR) < min(r.MinISR, len(p.Replicas)):
		return 2
	case len(p.ISR) < wanted:
		return 3
	}
	return -1
}

func partitionProblem(i, n int) string {
	if n == 1 {
		return "1 partition: " + ailments[i]
	}
	return fmt.Sprintf("%d partitions: %s", n, ailments[i])
}

func numbers(ids []kafka.BrokerID) []int32 {
	list := make([]int32, len(ids))
	for i, id := range ids {
		list[i] = int32(id)
	}
	return list
}

// localBytes is what a partition takes on this broker's disk; 0 when it is not here.
func (b *Broker) localBytes(p kafka.Partition) int64 {
	if hosted := b.hosted.Get(p); hosted != nil {
		local, _ := hosted.Sizes()
		return local
	}
	return 0
}

func (b backend) Balance() console.Balance {
	m := b.quorum.Image()
	out := console.Balance{
		Mode: b.cfg.Dynamic("cluster.balance", m.Configs(command.Broker, "")), Moving: controller.Moving(m), Throttle: b.moveRate(m), Moves: []console.BalanceMove{},
	}
	w := controller.World{Image: m, Rules: control.Rules(b.cfg, m), Bytes: b.localBytes}
	for _, mv := range controller.Plan(w, math.MaxInt) {
		p, _ := m.Partition(mv.Partition)
		move := console.BalanceMove{
			Topic: topicName(m, mv.Partition), Partition: mv.Partition.Index, Replicas: numbers(p.Replicas), Target: numbers(mv.Target), Bytes: mv.Bytes,
		}
		if b.hosted.Get(mv.Partition) == nil { // it is not on this disk
			move.Bytes = -1
			out.Unknown++
		}
		out.Moves = append(out.Moves, move)
		out.Bytes += max(move.Bytes, 0)
	}
	return out
}

// moveRate is what bounds moves in an image; 0: nothing.
func (b backend) moveRate(m *image.Image) int64 {
	n, err := strconv.ParseInt(b.cfg.Dynamic(control.ThrottleKey, m.Configs(command.Broker, "")), 10, 64)
	if err != nil || n == math.MaxInt64 {
		return 0
	}
	return n
}

func (b backend) SetBalance(ctx context.Context, mode string, throttle int64) error {
	c := command.SetConfigs{Type: command.Broker, Set: map[string]string{"cluster.balance": mode}}
	if throttle > 0 {
		c.Set[control.ThrottleKey] = strconv.FormatInt(throttle, 10)
	}
	_, err := b.quorum.Propose(ctx, c)
	return asked(err)
}

func (b backend) SetThrottle(ctx context.Context, throttle int64) error {
	c := command.SetConfigs{Type: command.Broker, Delete: []string{control.ThrottleKey}}
	if throttle > 0 {
		c = command.SetConfigs{Type: command.Broker, Set: map[string]string{control.ThrottleKey: strconv.FormatInt(throttle, 10)}}
	}
	_, err := b.quorum.Propose(ctx, c)
	return asked(err)
}

// Drain sets the throttle behind the drain: with nothing to move it would be taken back at once.
func (b backend) Drain(ctx context.Context, id int32, on bool, throttle int64) error {
	if on {
		others := slices.DeleteFunc(controller.Takers(b.quorum.Image()), func(o kafka.BrokerID) bool { return o == kafka.BrokerID(id) })
		if len(others) == 0 {
			return fmt.Errorf("%w: no other active broker could take what broker %d has", console.ErrRefused, id)
		}
	}
	_, err := b.quorum.Propose(ctx, command.DrainBroker{ID: kafka.BrokerID(id), Drain: on})
	if err == nil && throttle > 0 {
		return b.SetThrottle(ctx, throttle)
	}
	return asked(err)
}

// transferTries bounds how often a transfer is decided anew because the partition has moved on.
const transferTries = 5

func (b backend) Transfer(ctx context.Context, topic string, index, to int32) error {
	for range transferTries {
		m := b.quorum.Image()
		t, ok := m.TopicByName(topic)
		if !ok {
			return fmt.Errorf("%w: topic %q", console.ErrNotFound, topic)
		}
		p, ok := m.Partition(kafka.Partition{Topic: t.ID, Index: index})
		if !ok {
			return fmt.Errorf("%w: partition %d of topic %q", console.ErrNotFound, index, topic)
		}
		e, err := controller.Transfer(m, p, kafka.BrokerID(to))
		if errors.Is(err, controller.ErrNotNeeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w; it must be an active replica that is in sync (%v are)", console.ErrRefused, err, p.ISR)
		}
		left, err := b.quorum.Propose(ctx, command.ElectLeaders{Elections: []command.Election{e}})
		if err != nil || left == nil {
			return asked(err)
		}
	}
	return fmt.Errorf("%w: partition %d of topic %q keeps changing: try again", console.ErrRefused, index, topic)
}

// asked puts a refusal into the admin port's words.
func asked(err error) error {
	var refusal *image.Refusal
	switch {
	case errors.Is(err, image.ErrUnknownBroker):
		return fmt.Errorf("%w: %w", console.ErrNotFound, err)
	case errors.As(err, &refusal):
		return fmt.Errorf("%w: %w", console.ErrRefused, err)
	}
	return err
}
