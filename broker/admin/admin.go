package admin

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/datadir"
	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/scrub"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Parts are what is asked. All of them are there before the port is served; the functions may be called at any time.
type Parts struct {
	Node      kafka.BrokerID
	Version   string
	Started   time.Time
	Config    *config.Broker
	Dir       *datadir.Dir
	BucketURL string // "" without a bucket
	Listeners []net.Addr

	Quorum   *quorum.Quorum
	Session  *control.Session
	Hosted   *hosted.Set
	Archive  *archive.Archive
	Cold     *cold.Reader
	Bucket   *object.Counting
	Scrubber *scrub.Scrubber
	// Groups is the coordinator, which is built last.
	Groups func() *coordinator.Coordinator

	// Serving tells why nobody is served: the broker is starting, or stopping.
	Serving func() error
	// Full tells whether the data volume takes no records.
	Full func() bool
	// Certificates are what is wrong, and what soon will be, with what the listeners show.
	Certificates func() (problems, warnings []string)
}

// Backend is console.Backend over a broker's parts. It keeps no state, and is safe for concurrent use.
type Backend struct{ parts Parts }

var _ console.Backend = (*Backend)(nil)

// New returns what answers for the broker that has these parts.
func New(p Parts) *Backend { return &Backend{p} }

// Live is always true of a process that answers: what must not be survived ends it by itself.
func (b *Backend) Live() error { return nil }

// Ready returns why clients should be sent elsewhere. A partition that is damaged, or whose part in the bucket is, sends nobody away: the
// broker serves the others as it should, and those as well as anybody (Cluster tells of them).
func (b *Backend) Ready() error {
	if err := b.parts.Serving(); err != nil {
		return err
	}
	switch {
	case b.parts.Quorum.LeaderID() == kafka.NoBroker:
		return errors.New("the metadata quorum has no leader")
	case b.parts.Session.State() == command.Fenced:
		return errors.New("the broker is fenced: the controller does not hear it, or it has not caught up")
	}
	if failed := b.parts.Hosted.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d partitions are offline; see /v1/status", len(failed))
	}
	return b.parts.Groups().Serving()
}

// Status is who this broker is.
func (b *Backend) Status() console.Status {
	m := b.parts.Quorum.Image()
	s := console.Status{
		Version: b.parts.Version, ClusterID: b.parts.Dir.Meta.ClusterID, NodeID: int32(b.parts.Node), Started: b.parts.Started,
		DataDir: b.parts.Dir.Path, Bucket: b.parts.BucketURL, Topics: m.TopicCount(), Partitions: b.parts.Hosted.Len(),
		Offline: []console.OfflinePartition{},
	}
	if self, ok := m.Broker(b.parts.Node); ok {
		s.Listeners = listenersOf(self)
	}
	for i, l := range b.parts.Listeners {
		if i < len(s.Listeners) {
			s.Listeners[i].Address = l.String()
		}
	}
	for id, err := range b.parts.Hosted.Failed() {
		s.Offline = append(s.Offline, console.OfflinePartition{Topic: topicName(m, id), Partition: id.Index, Error: err.Error()})
	}
	b.parts.Hosted.Each(func(p *partition.Partition) {
		if err := p.Damage(); err != nil {
			s.Offline = append(s.Offline, console.OfflinePartition{Topic: p.Topic(), Partition: p.ID().Index, Error: err.Error()})
		}
	})
	return s
}

func topicName(m *image.Image, p kafka.Partition) string {
	if t, ok := m.TopicByID(p.Topic); ok {
		return t.Name
	}
	return p.Topic.String()
}

// Quorum is the metadata quorum as this broker sees it.
func (b *Backend) Quorum() console.Quorum {
	s := b.parts.Quorum.Status()
	q := console.Quorum{
		Leader: int32(s.LeaderID), Term: s.Term, Last: s.LastIndex, Commit: s.CommitIndex, Applied: s.AppliedIndex, Snapshot: s.SnapshotIndex,
	}
	for _, m := range s.Voters {
		q.Members = append(q.Members, console.Member{ID: int32(m.ID), Address: m.Addr, Voter: true})
	}
	for _, m := range s.NonVoters {
		q.Members = append(q.Members, console.Member{ID: int32(m.ID), Address: m.Addr})
	}
	return q
}
