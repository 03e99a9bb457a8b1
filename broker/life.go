package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/broker/member"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/peer"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A broker's life in its cluster: it registers, fenced; opens its partitions and its listeners; becomes active; sends
// heartbeats; and, told to stop, gives away what it leads before it goes. See broker/control.

// controls are what this broker and the controller have to do with each other.
type controls struct {
	session    *control.Session
	clock      control.Clock
	controller *control.Controller
	doubts     *control.Doubts
}

// openControl makes the session with the controller, and the controller that this node may be. Both act from startLife on.
func (b *Broker) openControl(context.Context) error {
	cfg := control.Config{Node: b.node, Settings: b.cfg}
	log := b.log.With("part", "control")
	q, p := controlQuorum{b.quorum, b.node}, controlPeers{b.member, b.member.Hub.NewClient()}
	b.control.controller = control.NewController(cfg, q, p, log)
	b.control.session = control.NewSession(cfg, q, p, b.control.controller, log)
	b.control.session.Sizes, b.control.session.Clock = b.ledSizes, &b.control.clock
	b.control.doubts = control.NewDoubts(b.node, q, p)
	b.member.Mux.Register(peer.KeyPing, func(context.Context, wire.Peer, int16, []byte) ([]byte, error) { return b.control.doubts.Answer(), nil })
	b.member.Mux.Register(peer.KeyHeartbeat, func(_ context.Context, from wire.Peer, _ int16, body []byte) ([]byte, error) {
		answer, err := b.control.controller.Heartbeat(from.Node, body)
		if errors.Is(err, control.ErrNotLeader) {
			err = peer.Refuse(peer.CodeNotLeader, "%v", err)
		}
		return answer, err
	})
	return nil
}

// startLife runs controller and session until stop is called; failed is closed when the session has ended by itself.
func (b *Broker) startLife() (stop func() error, failed <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	g, ended := errgroup.WithContext(ctx)
	g.Go(func() error { return b.control.controller.Run(ended) })
	g.Go(func() error { return b.control.session.Run(ended) })
	return func() error {
		cancel()
		return g.Wait()
	}, ended.Done()
}

const (
	// joinPause is between two attempts to register.
	joinPause = 100 * time.Millisecond

	// hintTime is how long a broker that has given everything away goes on telling its clients where to go: a few of their
	// round trips.
	hintTime = 100 * time.Millisecond

	// leaveTime bounds the last word to the cluster.
	leaveTime = time.Second
)

// join registers this broker, which gives it its epoch.
func (b *Broker) join(ctx context.Context) error {
	clean, err := b.dir.TakeClean(b.fs)
	if err != nil {
		return err
	}
	b.clean = clean
	r := b.registration()
	if err := b.dir.Begin(b.fs, r.Incarnation, b.lastLife()); err != nil {
		return err
	}
	r.Unclean = !clean
	for {
		err := b.control.session.Register(ctx, r)
		if !errors.Is(err, quorum.ErrNotReady) {
			b.clean = b.clean || err == nil
			return err
		}
		b.log.Info("not registered yet", "error", err)
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// lastLife is the incarnation that registered last from this directory, as far as is known here; zero for none.
func (b *Broker) lastLife() (life [16]byte) {
	if r, ok := b.quorum.Image().Broker(b.node); ok && r.Directory == b.dir.Meta.Directory() {
		life = r.Incarnation
	}
	return life
}

// leave is the controlled stop: others take over while this broker still serves.
func (b *Broker) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.Duration("controlled.shutdown.timeout.ms"))
	defer cancel()
	moved, err := b.control.session.Stop(ctx)
	if err != nil {
		b.log.Warn("stopping before others have taken over everything", "error", err)
	}
	if moved {
		time.Sleep(hintTime)
	}
}

// farewell is the last word to the cluster, when nothing is served any more.
func (b *Broker) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if err := b.control.session.Leave(ctx); err != nil {
		b.log.Info("the cluster will find out by itself that this broker has gone", "error", err)
	}
}

// ledSizes tells what the partitions that this broker leads take on its disk.
func (b *Broker) ledSizes(tell func(kafka.Partition, int64)) {
	b.hosted.Each(func(p *partition.Partition) {
		if p.LeaderEpoch() >= 0 {
			local, _ := p.Sizes()
			tell(p.ID(), local)
		}
	})
}

// dismiss takes a broker that is forgotten out of the metadata quorum.
func (b *Broker) dismiss(ctx context.Context, node kafka.BrokerID) error {
	s := b.quorum.Status()
	for _, m := range append(s.Voters, s.NonVoters...) {
		if m.ID == node {
			return b.quorum.RemoveServer(ctx, node)
		}
	}
	return nil
}

// controlQuorum is the quorum as package control sees it.
type controlQuorum struct {
	*quorum.Quorum
	node kafka.BrokerID
}

func (q controlQuorum) Leader() (control.Leader, <-chan struct{}) {
	l, changed := q.Quorum.Leader()
	return control.Leader{ID: l.ID, Term: l.Term, Ready: l.Ready && l.ID == q.node}, changed
}

func (q controlQuorum) TransferLeadership(ctx context.Context) error {
	return q.Quorum.TransferLeadership(ctx, kafka.NoBroker)
}

// controlPeers is the way to other brokers as package control sees it.
type controlPeers struct {
	*member.Member
	pings *peer.Client
}

func (p controlPeers) Heartbeat(ctx context.Context, to kafka.BrokerID, body []byte) ([]byte, error) {
	answer, err := p.Client.Do(ctx, to, peer.KeyHeartbeat, 0, body)
	if peer.CodeOf(err) == peer.CodeNotLeader {
		err = fmt.Errorf("%w: %w", control.ErrNotLeader, err)
	}
	return answer, err
}

func (p controlPeers) Probe(ctx context.Context, node kafka.BrokerID) control.Found {
	switch p.Hub.Probe(ctx, node).State {
	case peer.Dead:
		return control.Gone
	case peer.Alive:
		return control.There
	}
	return control.Silent // somebody else at its address says nothing about it
}

// Ping asks on connections of its own, so that nothing that takes long is before it.
func (p controlPeers) Ping(ctx context.Context, node kafka.BrokerID) ([]byte, error) {
	return p.pings.Do(ctx, node, peer.KeyPing, 0, nil)
}

func (p controlPeers) OnClose(f func(kafka.BrokerID)) { p.Hub.OnClose(f) }
