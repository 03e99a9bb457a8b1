package controller

import (
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Rules are a topic's settings, as far as they decide who leads.
type Rules struct {
	MinISR  int  // min.insync.replicas
	Unclean bool // unclean.leader.election.enable
	Async   bool // flush.mode=async: a broker that stopped uncleanly may lack what it acknowledged
}

// minISR is the minimum of one partition: it never asks for more replicas than there are.
func (r Rules) minISR(p *image.Partition) int { return min(r.MinISR, len(p.Replicas)) }

// World is what a decision is made from.
type World struct {
	Image *image.Image

	// Dead tells whether a broker is known to be gone, or has not been heard from, under that epoch. nil: nobody is.
	Dead func(kafka.BrokerID, kafka.BrokerEpoch) bool

	// Heard tells whether a broker has been heard from since this controller began. Whom the image calls active may have died before that,
	// together with everybody else. nil: all have been.
	Heard func(kafka.BrokerID) bool

	// Rules are a topic's. They must be the same for the same image.
	Rules func(topic string) Rules

	// Moves bounds the reassignments that are under way at one time, as far as they are begun here: for drains and for
	// balance. 0: none are begun.
	Moves int

	// Balance also begins what Plan finds.
	Balance bool

	// Bytes is about how much a partition's replicas hold locally. nil: not known.
	Bytes func(kafka.Partition) int64
}

// standing is what a decision may expect of a broker.
type standing uint8

const (
	gone     standing = iota // not registered, or fenced
	stopping                 // up, on its way out
	active
)

// standing of a broker as the image has it: who is dead is fenced first.
func standingOf(m *image.Image, id kafka.BrokerID) standing {
	b, ok := m.Broker(id)
	switch {
	case !ok || b.State == command.Fenced:
		return gone
	case b.State == command.Stopping:
		return stopping
	}
	return active
}

// decider holds what the decisions of one round share.
type decider struct {
	World
	brokers map[kafka.BrokerID]*image.Broker
	rules   map[kafka.TopicID]Rules
}

func newDecider(w World) *decider {
	d := &decider{World: w, brokers: map[kafka.BrokerID]*image.Broker{}, rules: map[kafka.TopicID]Rules{}}
	w.Image.Brokers(func(b *image.Broker) bool {
		d.brokers[b.ID] = b
		return true
	})
	return d
}

func (d *decider) standing(id kafka.BrokerID) standing { return standingOf(d.Image, id) }

func (d *decider) isActive(id kafka.BrokerID) bool { return d.standing(id) == active }

func (d *decider) isUp(id kafka.BrokerID) bool { return d.standing(id) != gone }

func (d *decider) rulesOf(id kafka.TopicID) Rules {
	r, ok := d.rules[id]
	if !ok {
		if t, known := d.Image.TopicByID(id); known {
			r = d.Rules(t.Name)
		}
		r.MinISR = max(r.MinISR, 1)
		d.rules[id] = r
	}
	return r
}

// takers are the brokers that new replicas and coordinators may come to, in id order.
func (d *decider) takers() []kafka.BrokerID { return Takers(d.Image) }

// Takers are the brokers that new replicas may be placed on, in id order: active, and not to be emptied.
func Takers(m *image.Image) (ids []kafka.BrokerID) {
	m.Brokers(func(b *image.Broker) bool {
		if b.State == command.Active && !b.Drain {
			ids = append(ids, b.ID)
		}
		return true
	})
	return ids
}

// Spares are the brokers that are registered and expected back, in id order: not active, and not to be emptied. New replicas are placed on
// them where the takers do not suffice, as Kafka does: a topic that is created while a broker restarts has its replica there when it is back.
func Spares(m *image.Image) (ids []kafka.BrokerID) {
	m.Brokers(func(b *image.Broker) bool {
		if b.State != command.Active && !b.Drain {
			ids = append(ids, b.ID)
		}
		return true
	})
	return ids
}

func filter(ids []kafka.BrokerID, keep func(kafka.BrokerID) bool) (kept []kafka.BrokerID) {
	for _, id := range ids {
		if keep(id) {
			kept = append(kept, id)
		}
	}
	return kept
}

func without(ids []kafka.BrokerID, gone ...kafka.BrokerID) []kafka.BrokerID {
	return filter(ids, func(id kafka.BrokerID) bool { return !slices.Contains(gone, id) })
}

func subset(a, b []kafka.BrokerID) bool { return len(without(a, b...)) == 0 }

// first finds the first id that suits; kafka.NoBroker when none does.
func first(ids []kafka.BrokerID, suits func(kafka.BrokerID) bool) kafka.BrokerID {
	if i := slices.IndexFunc(ids, suits); i >= 0 {
		return ids[i]
	}
	return kafka.NoBroker
}
