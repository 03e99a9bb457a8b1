package controller

import (
	"fmt"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Scope says what has changed since the last decision, so that one partition's change does not cost a look at all of them.
type Scope struct {
	// All partitions are looked at: brokers or configurations have changed, or nothing is known.
	All        bool
	Partitions []kafka.Partition
}

// maxRounds bounds Decide. Fencing, elections, the end of reassignments and the beginning of others follow from one another,
// and then nothing more does: no world has been found that takes more than five.
const maxRounds = 16

// Decide returns the commands that the world asks for, in the order in which they are to be proposed. Decided on the image
// that they make, nothing more would be asked for (but for what Scope left out).
//
// What of it is refused or left out, because the image has moved on meanwhile, is decided again on the image that then is.
func Decide(w World, s Scope) []command.Command {
	var all []command.Command
	for range maxRounds {
		cs := newDecider(w).round(&s)
		if len(cs) == 0 {
			break
		}
		all = append(all, cs...)
		w.Image = foresee(w.Image, cs)
	}
	return all
}

// foresee is the image after the commands.
func foresee(m *image.Image, cs []command.Command) *image.Image {
	tx := image.Begin(m)
	for _, c := range cs {
		if _, err := tx.Apply(m.Index()+1, command.Envelope{}, c); err != nil {
			panic(fmt.Sprintf("controller: decided on %s, which would be refused: %v", c.Kind(), err))
		}
	}
	next, _ := tx.Commit()
	return next
}

// round decides what follows from the image at once.
func (d *decider) round(s *Scope) []command.Command {
	if cs := d.fence(); len(cs) > 0 {
		s.All = true // whoever was fenced may be in any of them
		return cs
	}
	if common := d.Image.Supported(); s.All && common > d.Image.Level() {
		return []command.Command{command.SetLevel{Level: common}}
	}
	var b chunks
	d.each(s, func(p *image.Partition) {
		r := d.rulesOf(p.Topic)
		if e, c := d.settle(p, r); e != nil {
			b.elect(*e)
		} else if c != nil {
			b.alter(*c)
		} else if f := d.finish(p); f != nil {
			b.finish(*f)
		}
	})
	if shards := d.placeCoordinators(); len(shards) > 0 {
		b.add(command.PlaceCoordinators{Shards: shards})
	}
	cs := b.commands()
	if len(cs) > 0 || d.Moves == 0 {
		return cs
	}
	changes := d.moves()
	for _, c := range changes {
		s.Partitions = append(s.Partitions, c.Partition) // a new order of the same replicas is finished at once
		b.assign(c)
	}
	return b.commands()
}

// each calls f for what the scope names.
func (d *decider) each(s *Scope, f func(*image.Partition)) {
	if s.All {
		d.Image.AllPartitions(func(p *image.Partition) bool { f(p); return true })
		return
	}
	seen := make(map[kafka.Partition]bool, len(s.Partitions))
	for _, id := range s.Partitions {
		if p, ok := d.Image.Partition(id); ok && !seen[id] {
			seen[id] = true
			f(p)
		}
	}
}

// fence ends the membership of who is dead.
func (d *decider) fence() (cs []command.Command) {
	if d.Dead == nil {
		return nil
	}
	d.Image.Brokers(func(b *image.Broker) bool {
		if b.State != command.Fenced && d.Dead(b.ID, b.Epoch) {
			cs = append(cs, command.SetBrokerState{ID: b.ID, Epoch: b.Epoch, State: command.Fenced})
		}
		return true
	})
	return cs
}

// changesPerCommand bounds a command to some 100 KiB: what a broker with a hundred thousand partitions asks for must not
// become one Raft entry.
const changesPerCommand = 1000

// chunks gathers changes into commands of a bounded size.
type chunks struct {
	list     []command.Command
	elected  []command.Election
	altered  []command.ISRChange
	finished []command.Finish
	assigned []command.Assignment
}

func (b *chunks) add(c command.Command) { b.list = append(b.list, c) }

func (b *chunks) elect(e command.Election) {
	if b.elected = append(b.elected, e); len(b.elected) == changesPerCommand {
		b.cut()
	}
}

func (b *chunks) alter(c command.ISRChange) {
	if b.altered = append(b.altered, c); len(b.altered) == changesPerCommand {
		b.cut()
	}
}

func (b *chunks) finish(f command.Finish) {
	if b.finished = append(b.finished, f); len(b.finished) == changesPerCommand {
		b.cut()
	}
}

func (b *chunks) assign(a command.Assignment) {
	if b.assigned = append(b.assigned, a); len(b.assigned) == changesPerCommand {
		b.cut()
	}
}

// cut makes commands of what is gathered.
func (b *chunks) cut() {
	if len(b.elected) > 0 {
		b.add(command.ElectLeaders{Elections: b.elected})
	}
	if len(b.altered) > 0 {
		b.add(command.AlterISR{Changes: b.altered})
	}
	if len(b.finished) > 0 {
		b.add(command.FinishAssignments{Changes: b.finished})
	}
	if len(b.assigned) > 0 {
		b.add(command.AssignReplicas{Changes: b.assigned})
	}
	b.elected, b.altered, b.finished, b.assigned = nil, nil, nil, nil
}

// commands are all of them; the next ones begin anew.
func (b *chunks) commands() []command.Command {
	b.cut()
	cs := b.list
	b.list = nil
	return cs
}
