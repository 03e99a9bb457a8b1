package coordinator

import (
	"time"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/broker/streams"
)

// machine is a group of any protocol, as far as all are alike. What a protocol's own requests ask of it is in the file of that protocol.
type machine interface {
	Exists() bool
	Idle() bool
	Empty() bool
	Next() time.Time
	Kill(now time.Time)
	Revive()
	CheckDelete() error
	CheckOffsetDelete() error
	Commit(now time.Time, who group.Identity) error
	CommitWithin(now time.Time, who group.Identity) error // a transaction
	Subscribed(topic string) bool
	OffsetExpiry() (group.Expiry, time.Time)
	ProtocolType() string

	kind() string  // its type in the image
	state() string // its state, with Kafka's name
	advance(now time.Time, out *effects)
	abort(now time.Time, why error, out *effects)
}

// effects are what a call of any protocol asks for.
type effects struct {
	classic  group.Effects
	consumer consumer.Effects
	share    share.Effects
	streams  streams.Effects
}

type classicGroup struct{ *group.Group }

func (classicGroup) kind() string                               { return classicType }
func (g classicGroup) state() string                            { return g.State().String() }
func (g classicGroup) advance(now time.Time, out *effects)      { g.Advance(now, &out.classic) }
func (g classicGroup) abort(now time.Time, e error, o *effects) { g.Abort(now, e, &o.classic) }

type consumerGroup struct{ *consumer.Group }

func (consumerGroup) kind() string                               { return consumer.GroupType }
func (g consumerGroup) state() string                            { return g.State().String() }
func (g consumerGroup) advance(now time.Time, out *effects)      { g.Advance(now, &out.consumer) }
func (g consumerGroup) abort(now time.Time, e error, o *effects) { g.Abort(now, e, &o.consumer) }

type shareGroup struct{ *share.Group }

func (shareGroup) kind() string                             { return share.GroupType }
func (g shareGroup) state() string                          { return g.State().String() }
func (g shareGroup) advance(now time.Time, out *effects)    { g.Advance(now, &out.share) }
func (g shareGroup) abort(_ time.Time, e error, o *effects) { g.Abort(e, &o.share) }

type streamsGroup struct{ *streams.Group }

func (streamsGroup) kind() string                               { return streams.GroupType }
func (g streamsGroup) state() string                            { return g.State().String() }
func (g streamsGroup) advance(now time.Time, out *effects)      { g.Advance(now, &out.streams) }
func (g streamsGroup) abort(now time.Time, e error, o *effects) { g.Abort(now, e, &o.streams) }
