package admin

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// worstPartitions bounds the list of partitions with a problem.
const worstPartitions = 100

// ailments are what can be wrong with a partition, the gravest first.
var ailments = []string{"lost: no replica is known to have its data", "nobody leads", "below min.insync.replicas", "under-replicated"}

// Cluster is how the whole is, as this broker knows it.
func (b *Backend) Cluster() console.Cluster {
	m := b.parts.Quorum.Image()
	c := console.Cluster{
		ClusterID: m.ClusterID(), AskedOf: int32(b.parts.Node), Controller: int32(b.parts.Quorum.LeaderID()), Topics: m.TopicCount(), Partitions: m.PartitionCount(),
		MetadataLevel: int(m.Level()), Problems: []string{}, Warnings: []string{}, Worst: []console.PartitionHealth{},
	}
	b.ownHealth(&c)
	partitionHealth(&c, m, control.Rules(b.parts.Config, m))
	ailmentHealth(&c, m, b.Ailments(), b.parts.Session.Ailing())
	brokerHealth(&c, m)
	voterHealth(&c, b.parts.Quorum.Status(), b.parts.Session.Voters())
	c.Healthy = len(c.Problems) == 0
	return c
}

// ownHealth tells what is wrong with the broker that was asked, and what it has noticed of clocks.
func (b *Backend) ownHealth(c *console.Cluster) {
	if c.Controller == int32(kafka.NoBroker) {
		c.Problems = append(c.Problems, fmt.Sprintf("the metadata quorum has no leader that broker %d, which was asked, knows: nothing can be changed there", b.parts.Node))
	} else if !b.parts.Session.Leased() {
		c.Problems = append(c.Problems, fmt.Sprintf("broker %d, which was asked, does not reach the controller, broker %d: what it knows is old", b.parts.Node, c.Controller))
	}
	for _, s := range b.parts.Session.Skews() {
		c.Problems = append(c.Problems, clockProblem(s))
	}
	if b.parts.Full() {
		c.Problems = append(c.Problems, fullProblem(b.parts.Node, b.parts.Config.HasBucket()))
	}
	problems, warnings := b.parts.Certificates()
	c.Problems, c.Warnings = append(c.Problems, problems...), append(c.Warnings, warnings...)
}

func fullProblem(node kafka.BrokerID, bucket bool) string {
	bound := "retention.bytes" // nothing else has what goes
	if bucket {
		bound = "local.retention.bytes"
	}
	return fmt.Sprintf("the data volume of broker %d, which was asked, is full: it takes no records until there is room (a larger volume, or `qanat topic alter TOPIC --set %s=…`)", node, bound)
}

// partitionHealth counts partitions by what is wrong with them, and names the worst.
func partitionHealth(c *console.Cluster, m *image.Image, rules func(topic string) controller.Rules) {
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
}

func brokerHealth(c *console.Cluster, m *image.Image) {
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
}

// voterHealth tells of votes that are missing; wanted is how many the controller wants: as many as its cluster.peers names. A broker that was replaced is active long before it votes
// again: who empties the next voter then has thrown away the majority.
func voterHealth(c *console.Cluster, s quorum.Status, wanted int) {
	have := len(s.Voters)
	switch {
	case s.LeaderID == kafka.NoBroker || have == 0 || have >= wanted: // without a leader nothing of this counts
	case len(s.NonVoters) > 0:
		c.Problems = append(c.Problems, fmt.Sprintf("%d of the %d voters of the metadata that cluster.peers names: another broker becomes one when it has been healthy for a while, until then stop none (`qanat quorum status`)", have, wanted))
	default:
		c.Warnings = append(c.Warnings, fmt.Sprintf("%d of the %d voters of the metadata that cluster.peers names, and no broker that could become one: start another", have, wanted))
	}
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
