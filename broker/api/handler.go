package api

import (
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Partitions finds the partitions that this broker hosts; broker passes them in.
type Partitions interface {
	// Get returns nil when the broker does not host p (yet). Lock-free.
	Get(p kafka.Partition) *partition.Partition
}

// Deps are the parts that answers are made from.
type Deps struct {
	Node       kafka.BrokerID
	Quorum     *quorum.Quorum
	Partitions Partitions
}

// Handler answers every served API.
type Handler struct {
	Deps
}

// New returns a handler over its parts.
func New(d Deps) *Handler { return &Handler{Deps: d} }

// Handle implements wire.Handler.
func (h *Handler) Handle(x *wire.Exchange) {
	if f := handlers[x.Key]; f != nil {
		f(h, x)
	}
}

// handlers has one line per API key; the functions live in the file named after the API.
var handlers = map[int16]func(*Handler, *wire.Exchange){}
