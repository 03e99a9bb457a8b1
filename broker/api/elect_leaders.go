package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ElectLeaders (key 43, v0-2; KIP-183, 460): the preferred replicas lead, or, as an unclean election, somebody where nobody
// does.
//
//   - Preferred: a replica that is not active and in sync is PREFERRED_LEADER_NOT_AVAILABLE.
//   - Unclean: whoever has everything if there is one, else any active replica, and what it lacks is lost.
//     ELIGIBLE_LEADERS_NOT_AVAILABLE when no replica is active.
//   - Where the leader is the one that was asked for already: ELECTION_NOT_NEEDED. When the topics are null all partitions are
//     meant, and only those are answered where something was to be done.

const (
	preferredElection = 0
	uncleanElection   = 1
)

func (h *Handler) electLeaders(x *wire.Exchange) {
	req := x.Request.(*kmsg.ElectLeadersRequest)
	resp := kmsg.NewPtrElectLeadersResponse()
	if req.ElectionType != preferredElection && req.ElectionType != uncleanElection {
		resp.ErrorCode = kerr.InvalidRequest.Code
		reply(x, resp)
		return
	}
	ctx, cancel := within(x, req.TimeoutMillis)
	defer cancel()
	m := h.quorum.Image()
	all := req.Topics == nil
	wanted := req.Topics
	if all {
		wanted = everyPartition(m)
	}
	list := make([]changing, 0, len(wanted))
	for _, t := range wanted {
		for _, index := range t.Partitions {
			list = append(list, changing{topic: t.Topic, index: index})
		}
	}
	h.change(ctx, list, func(m *image.Image, p *image.Partition, _ *changing) (any, error) {
		if req.ElectionType == preferredElection {
			return controller.Preferred(m, p)
		}
		return controller.Unclean(controller.World{Image: m, Rules: control.Rules(h.Config, m)}, p)
	})
	for i := range list {
		c := &list[i]
		if all && errors.Is(c.err, controller.ErrNotNeeded) {
			continue
		}
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != c.topic {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = c.topic
			resp.Topics = append(resp.Topics, rt)
		}
		rp := kmsg.NewElectLeadersResponseTopicPartition()
		rp.Partition, rp.ErrorCode, rp.ErrorMessage = c.index, code(c.err), message(c.err)
		rt := &resp.Topics[len(resp.Topics)-1]
		rt.Partitions = append(rt.Partitions, rp)
	}
	reply(x, resp)
}

func everyPartition(m *image.Image) (list []kmsg.ElectLeadersRequestTopic) {
	m.Topics(func(t *image.Topic) bool {
		rt := kmsg.NewElectLeadersRequestTopic()
		rt.Topic = t.Name
		for i := range t.Partitions {
			rt.Partitions = append(rt.Partitions, i)
		}
		list = append(list, rt)
		return true
	})
	return list
}

// changing is one partition that a request wants changed, and what became of it.
type changing struct {
	topic    string
	index    int32
	replicas []int32 // of a reassignment

	id   kafka.Partition
	done bool
	err  error
}

// changeTries bounds how often a change is decided anew because the partition has moved on meanwhile.
const changeTries = 5

// changesPerProposal bounds one command of many changes.
const changesPerProposal = 1000

// change has every partition changed as decide says: a command.Election or a command.Assignment made from the newest image,
// and made anew when the partition has moved on before it was applied.
func (h *Handler) change(ctx context.Context, list []changing, decide func(*image.Image, *image.Partition, *changing) (any, error)) {
	for range changeTries {
		m := h.quorum.Image()
		var elections []command.Election
		var assignments []command.Assignment
		var open []*changing
		named := map[kafka.Partition]bool{}
		for i := range list {
			c := &list[i]
			if c.done {
				continue
			}
			var change any
			p, err := partitionNamed(m, c.topic, c.index)
			if err == nil {
				c.id = p.Partition
				if change, err = decide(m, p, c); err == nil && named[c.id] { // each would undo the other, time and again
					err = refuse(kerr.InvalidRequest, "partition %d of topic %q is named twice in one request", c.index, c.topic)
				}
			}
			if c.err = err; err != nil {
				c.done = true
				continue
			}
			open, named[c.id] = append(open, c), true
			switch change := change.(type) {
			case command.Election:
				elections = append(elections, change)
			case command.Assignment:
				assignments = append(assignments, change)
			}
		}
		if len(open) == 0 {
			return
		}
		left, err := h.proposeChanges(ctx, elections, assignments)
		for _, c := range open {
			c.err = err
			if err == nil && left[c.id] {
				c.err = refuse(kerr.RequestTimedOut, "partition %d of topic %q keeps changing: try again", c.index, c.topic)
			}
			c.done = err != nil || !left[c.id]
		}
	}
}

// proposeChanges returns the partitions that had moved on.
func (h *Handler) proposeChanges(ctx context.Context, elections []command.Election, assignments []command.Assignment) (map[kafka.Partition]bool, error) {
	var commands []command.Command
	for len(elections) > 0 {
		n := min(len(elections), changesPerProposal)
		commands = append(commands, command.ElectLeaders{Elections: elections[:n:n]})
		elections = elections[n:]
	}
	for len(assignments) > 0 {
		n := min(len(assignments), changesPerProposal)
		commands = append(commands, command.AssignReplicas{Changes: assignments[:n:n]})
		assignments = assignments[n:]
	}
	left := map[kafka.Partition]bool{}
	for _, c := range commands {
		result, err := h.quorum.Propose(ctx, c)
		if err != nil {
			return left, fmt.Errorf("change partitions: %w", err)
		}
		out, _ := result.([]kafka.Partition)
		for _, p := range out {
			left[p] = true
		}
	}
	return left, nil
}

// partitionNamed finds a partition by its topic's name.
func partitionNamed(m *image.Image, topic string, index int32) (*image.Partition, error) {
	t, err := topicNamed(m, topic)
	if err != nil {
		return nil, err
	}
	if p, ok := m.Partition(kafka.Partition{Topic: t.ID, Index: index}); ok {
		return p, nil
	}
	return nil, errNoPartition
}
