package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Balance is what moves, and what would move to balance the cluster as it is now.
func (b *Backend) Balance() console.Balance {
	m := b.parts.Quorum.Image()
	out := console.Balance{
		Mode: b.parts.Config.Dynamic("cluster.balance", m.Configs(command.Broker, "")), Moving: controller.Moving(m), Throttle: b.moveRate(m), Moves: []console.BalanceMove{},
	}
	w := controller.World{Image: m, Rules: control.Rules(b.parts.Config, m), Bytes: b.localBytes}
	for _, mv := range controller.Plan(w, math.MaxInt) {
		p, _ := m.Partition(mv.Partition)
		move := console.BalanceMove{
			Topic: topicName(m, mv.Partition), Partition: mv.Partition.Index, Replicas: numbers(p.Replicas), Target: numbers(mv.Target), Bytes: mv.Bytes,
		}
		if b.parts.Hosted.Get(mv.Partition) == nil { // it is not on this disk
			move.Bytes = -1
			out.Unknown++
		}
		out.Moves = append(out.Moves, move)
		out.Bytes += max(move.Bytes, 0)
	}
	return out
}

// localBytes is what a partition takes on this broker's disk; 0 when it is not here.
func (b *Backend) localBytes(p kafka.Partition) int64 {
	if hosted := b.parts.Hosted.Get(p); hosted != nil {
		local, _ := hosted.Sizes()
		return local
	}
	return 0
}

// moveRate is what bounds moves in an image; 0: nothing.
func (b *Backend) moveRate(m *image.Image) int64 {
	n, err := strconv.ParseInt(b.parts.Config.Dynamic(control.ThrottleKey, m.Configs(command.Broker, "")), 10, 64)
	if err != nil || n == math.MaxInt64 {
		return 0
	}
	return n
}

// SetBalance changes cluster.balance, and with throttle > 0 what bounds moves.
func (b *Backend) SetBalance(ctx context.Context, mode string, throttle int64) error {
	c := command.SetConfigs{Type: command.Broker, Set: map[string]string{"cluster.balance": mode}}
	if throttle > 0 {
		c.Set[control.ThrottleKey] = strconv.FormatInt(throttle, 10)
	}
	_, err := b.parts.Quorum.Propose(ctx, c)
	return asked(err)
}

// SetThrottle bounds what is moved already; 0 takes the bound away.
func (b *Backend) SetThrottle(ctx context.Context, throttle int64) error {
	c := command.SetConfigs{Type: command.Broker, Delete: []string{control.ThrottleKey}}
	if throttle > 0 {
		c = command.SetConfigs{Type: command.Broker, Set: map[string]string{control.ThrottleKey: strconv.FormatInt(throttle, 10)}}
	}
	_, err := b.parts.Quorum.Propose(ctx, c)
	return asked(err)
}

// Drain has a broker emptied, or no longer. It sets the throttle behind the drain: with nothing to move it would be taken back at once.
func (b *Backend) Drain(ctx context.Context, id int32, on bool, throttle int64) error {
	if on {
		others := slices.DeleteFunc(controller.Takers(b.parts.Quorum.Image()), func(o kafka.BrokerID) bool { return o == kafka.BrokerID(id) })
		if len(others) == 0 {
			return fmt.Errorf("%w: no other active broker could take what broker %d has", console.ErrRefused, id)
		}
	}
	_, err := b.parts.Quorum.Propose(ctx, command.DrainBroker{ID: kafka.BrokerID(id), Drain: on})
	if err == nil && throttle > 0 {
		return b.SetThrottle(ctx, throttle)
	}
	return asked(err)
}

// transferTries bounds how often a transfer is decided anew because the partition has moved on.
const transferTries = 5

// Transfer gives the leadership of a partition to an in-sync replica.
func (b *Backend) Transfer(ctx context.Context, topic string, index, to int32) error {
	for range transferTries {
		m := b.parts.Quorum.Image()
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
		left, err := b.parts.Quorum.Propose(ctx, command.ElectLeaders{Elections: []command.Election{e}})
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
