package controller

import (
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// StartLeaders are the elections that a broker's (re)registration asks for:
// every partition that it leads gets a new leader epoch, so that what it wrote
// before it stopped and what it writes now never share one (KAFKA-10527); and
// every partition without a leader that it can lead, being in sync, gets one.
// They come in partition order, at most changesPerCommand to a command.
func StartLeaders(m *image.Image, b kafka.BrokerID) []command.Command {
	var chunks chunks
	m.AllPartitions(func(p *image.Partition) bool {
		leads := p.Leader == b
		canLead := p.Leader == kafka.NoBroker && slices.Contains(p.ISR, b)
		if leads || canLead {
			chunks.elect(command.Election{Partition: p.Partition, Leader: b, ISR: p.ISR, ELR: p.ELR, Expected: p.PartitionEpoch})
		}
		return true
	})
	return chunks.commands()
}
