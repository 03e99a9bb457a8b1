package admin

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Endpoint is the admin port's name among a broker's endpoints; those of the configuration are in capitals.
const Endpoint = "admin"

// Brokers are the brokers of the cluster, with what each has of it.
func (b *Backend) Brokers() []console.Broker {
	m := b.parts.Quorum.Image()
	list := []console.Broker{}
	at := map[kafka.BrokerID]int{}
	leader := b.parts.Quorum.LeaderID()
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
	members := b.parts.Quorum.Status()
	for _, v := range members.Voters {
		find(v.ID).Voter = true
	}
	for _, v := range members.NonVoters {
		find(v.ID).Observer = true
	}
	return list
}

func listenersOf(r *image.Broker) []console.Listener {
	var list []console.Listener
	for _, e := range r.Endpoints {
		if e.Listener == Endpoint {
			continue
		}
		list = append(list, console.Listener{Name: e.Listener, Advertised: fmt.Sprintf("%s:%d", e.Host, e.Port)})
	}
	return list
}

// adminOf is where a broker's admin port is, as far as it has said.
func adminOf(r *image.Broker) string {
	for _, e := range r.Endpoints {
		if e.Listener == Endpoint {
			return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
		}
	}
	return ""
}
