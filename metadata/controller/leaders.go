package controller

import (
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// electionsPerCommand bounds a command to some 100 KiB: a broker that starts
// with a hundred thousand partitions must not make one Raft entry of them.
const electionsPerCommand = 1000

// StartLeaders are the elections that a broker's (re)registration asks for:
// every partition that it leads gets a new leader epoch, so that what it wrote
// before it stopped and what it writes now never share one (KAFKA-10527); and
// every partition without a leader that it can lead, being in sync, gets one.
// They come in partition order, at most electionsPerCommand to a command.
func StartLeaders(m *image.Image, b kafka.BrokerID) []command.Command {
	var commands []command.Command
	var chunk []command.Election
	cut := func() {
		if len(chunk) > 0 {
			commands = append(commands, command.ElectLeaders{Elections: chunk})
			chunk = nil
		}
	}
	m.AllPartitions(func(p *image.Partition) bool {
		leads := p.Leader == b
		canLead := p.Leader == kafka.NoBroker && slices.Contains(p.ISR, b)
		if leads || canLead {
			chunk = append(chunk, command.Election{Partition: p.Partition, Leader: b, ISR: p.ISR, Expected: p.PartitionEpoch})
		}
		if len(chunk) == electionsPerCommand {
			cut()
		}
		return true
	})
	cut()
	return commands
}
