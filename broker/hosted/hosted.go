package hosted

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Tiers is the archive as the set needs it.
type Tiers interface {
	Add(archive.Source)
	Remove(kafka.Partition)
	RemovePartition(kafka.Partition)
	Poke(kafka.Partition)
}

// Followers fetches what partitions follow; see package replica.
type Followers interface {
	Follow(*partition.Partition)
	Forget(kafka.Partition)
	Go()
}

// Set is safe for concurrent use: Get by anyone, Apply by one goroutine at a time.
type Set struct {
	env   partition.Env
	dir   func(kafka.Partition) string
	cfg   *config.Broker
	tiers Tiers
	log   *slog.Logger
	// followers may be nil: a cluster of one.
	followers Followers

	partitions sync.Map // kafka.Partition → *partition.Partition
	count      atomic.Int64

	// following is held while the set follows an image.
	following sync.Mutex
	image     *image.Image // the newest followed
	closed    bool

	mu sync.Mutex
	// failed are partitions whose storage could not be opened.
	failed map[kafka.Partition]error
	// strays may be on this disk although others have them: see removeStrays.
	strays map[kafka.Partition]struct{}
	// applied is closed and replaced each time Apply has finished.
	applied chan struct{}
}

// New returns an empty set. dir places a partition's directory.
func New(env partition.Env, dir func(kafka.Partition) string, cfg *config.Broker, tiers Tiers, log *slog.Logger) *Set {
	return &Set{env: env, dir: dir, cfg: cfg, tiers: tiers, log: log, failed: map[kafka.Partition]error{}, applied: make(chan struct{}), strays: map[kafka.Partition]struct{}{}}
}

// SetFollowers says who fetches for the partitions that follow. Before Load.
func (s *Set) SetFollowers(f Followers) { s.followers = f }

// Get returns nil when the broker does not host p. Lock-free.
func (s *Set) Get(p kafka.Partition) *partition.Partition {
	if v, ok := s.partitions.Load(p); ok {
		return v.(*partition.Partition)
	}
	return nil
}

// Await returns when p is hosted or its storage has failed, after a creation was committed.
func (s *Set) Await(ctx context.Context, p kafka.Partition) error {
	for {
		s.mu.Lock()
		next, err := s.applied, s.failed[p]
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if s.Get(p) != nil {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Followed is closed when the set has followed another image.
func (s *Set) Followed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// Each calls f for every hosted partition, in no order.
func (s *Set) Each(f func(*partition.Partition)) {
	s.partitions.Range(func(_, v any) bool {
		f(v.(*partition.Partition))
		return true
	})
}

// Len is the number of hosted partitions.
func (s *Set) Len() int { return int(s.count.Load()) }

// Failed lists the partitions whose storage is offline, with the reason.
func (s *Set) Failed() map[kafka.Partition]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.failed)
}

// Load opens everything that the image places here, many at a time. A
// partition that does not open is reported and left out; the others go on.
func (s *Set) Load(ctx context.Context, m *image.Image) {
	s.following.Lock()
	defer s.following.Unlock()
	s.image = m
	var all []*image.Partition
	m.Topics(func(t *image.Topic) bool {
		m.Partitions(t.ID, func(p *image.Partition) bool {
			all = append(all, p)
			return true
		})
		return true
	})
	s.each(ctx, m, all)
	s.fetch()
}

// fetch makes what each has told the followers take effect at once.
func (s *Set) fetch() {
	if s.followers != nil {
		s.followers.Go()
	}
}

// Apply follows the image. It is given to the quorum as a subscriber.
func (s *Set) Apply(ctx context.Context, m *image.Image, ch quorum.Changes) {
	s.following.Lock()
	defer s.following.Unlock()
	if s.closed {
		return // the parts below are going: the next start follows
	}
	s.image = m
	var changed []*image.Partition
	seen := map[kafka.Partition]bool{}
	add := func(p *image.Partition) {
		if !seen[p.Partition] {
			seen[p.Partition] = true
			changed = append(changed, p)
		}
	}
	var gone []kafka.Partition
	for _, id := range ch.Topics {
		if _, ok := m.TopicByID(id); !ok {
			gone = s.ofTopic(gone, id)
			continue
		}
		m.Partitions(id, func(p *image.Partition) bool { add(p); return true })
	}
	for _, id := range ch.Partitions {
		if p, ok := m.Partition(id); ok {
			add(p)
		}
	}
	for _, id := range gone {
		s.delete(id, s.tiers.RemovePartition)
	}
	s.dropFailed(m)
	s.each(ctx, m, changed)
	s.fetch()
	s.reconfigure(m, ch.Configs)
	s.mu.Lock()
	close(s.applied)
	s.applied = make(chan struct{})
	s.mu.Unlock()
}

func (s *Set) ofTopic(to []kafka.Partition, id kafka.TopicID) []kafka.Partition {
	s.partitions.Range(func(k, _ any) bool {
		if p := k.(kafka.Partition); p.Topic == id {
			to = append(to, p)
		}
		return true
	})
	return to
}

// each brings the given partitions in line with the image, in parallel.
func (s *Set) each(ctx context.Context, m *image.Image, list []*image.Partition) {
	if len(list) == 1 {
		s.follow(ctx, m, list[0])
		return
	}
	var g errgroup.Group
	g.SetLimit(4 * runtime.GOMAXPROCS(0))
	for _, p := range list {
		g.Go(func() error {
			s.follow(ctx, m, p)
			return nil
		})
	}
	_ = g.Wait() // never fails: follow keeps its errors per partition
}

// follow brings one partition in line with the image.
func (s *Set) follow(ctx context.Context, m *image.Image, want *image.Partition) {
	if !slices.Contains(want.Replicas, s.env.Node) {
		s.leave(want.Partition)
		return
	}
	p, err := s.Get(want.Partition), error(nil)
	if p == nil {
		p, err = s.open(ctx, m, want)
	}
	if err == nil {
		p.Publish(want.Remote, want.LogStart)
		err = s.assume(ctx, p, want)
	}
	s.mu.Lock()
	if err != nil {
		s.failed[want.Partition] = err
	} else {
		delete(s.failed, want.Partition)
	}
	s.mu.Unlock()
	if err != nil {
		s.log.Error("partition is offline", "partition", want.Partition.String(), "error", err)
	}
	if p == nil {
		return
	}
	if s.Get(want.Partition) == nil {
		s.partitions.Store(want.Partition, p)
		s.count.Add(1)
		s.tiers.Add(p.Log())
	} else {
		s.tiers.Poke(want.Partition)
	}
}

// assume has a partition lead, follow, or neither, as the image says.
func (s *Set) assume(ctx context.Context, p *partition.Partition, want *image.Partition) error {
	switch want.Leader {
	case s.env.Node:
		if p.LocalEnd() < want.Remote.End() { // elected uncleanly: what it lacks is in the bucket
			p.Resign()
			if err := p.Rebase(ctx, kafka.NoEpoch); err != nil {
				return fmt.Errorf("lead from where the bucket ends: %w", err)
			}
		}
		p.Lead(partition.Leadership{
			Epoch: want.LeaderEpoch, PartitionEpoch: want.PartitionEpoch, Replicas: want.Replicas, ISR: want.ISR, ELR: want.ELR,
		})
	case kafka.NoBroker:
		p.Resign()
	default:
		p.Follow(want.Leader, want.LeaderEpoch)
	}
	if s.followers != nil {
		s.followers.Follow(p)
	}
	return nil
}

func (s *Set) open(ctx context.Context, m *image.Image, want *image.Partition) (*partition.Partition, error) {
	topic, ok := m.TopicByID(want.Topic)
	if !ok {
		return nil, fmt.Errorf("topic %s is not in the image", want.Topic)
	}
	p, rec, err := partition.Open(ctx, s.env, partition.Spec{
		Partition: want.Partition,
		Topic:     topic.Name,
		Dir:       s.dir(want.Partition),
		Settings:  s.settings(m, topic.Name),
		Manifest:  want.Remote,
		LogStart:  want.LogStart,
		Only:      len(want.Replicas) == 1,
	})
	if err != nil {
		return nil, err
	}
	if rec.Truncated > 0 || rec.Damage != nil {
		s.log.Warn("partition recovered", "topic", topic.Name, "partition", want.Index,
			"scanned_bytes", rec.Scanned, "torn_bytes", rec.Truncated, "damage", rec.Damage)
	}
	return p, nil
}

// leave removes a partition that was moved to others, who are in sync: the bucket's part is theirs. One whose storage had
// failed is a stray.
func (s *Set) leave(id kafka.Partition) {
	s.mu.Lock()
	_, failed := s.failed[id]
	delete(s.failed, id)
	s.mu.Unlock()
	if s.Get(id) == nil && failed {
		s.Found([]kafka.Partition{id})
		return
	}
	s.delete(id, s.tiers.Remove)
}

// delete removes what this broker has of a partition; remove ends its tiers' work.
func (s *Set) delete(id kafka.Partition, remove func(kafka.Partition)) {
	v, ok := s.partitions.LoadAndDelete(id)
	if !ok {
		return
	}
	s.count.Add(-1)
	if s.followers != nil {
		s.followers.Forget(id)
	}
	remove(id)
	if err := v.(*partition.Partition).Delete(); err != nil {
		s.log.Error("delete partition", "partition", id.String(), "error", err)
		s.Found([]kafka.Partition{id})
	}
}

// dropFailed forgets partitions that failed and no longer exist.
func (s *Set) dropFailed(m *image.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.failed {
		if _, ok := m.Partition(id); !ok {
			delete(s.failed, id)
			s.log.Warn("a partition that was offline is deleted; its directory stays for a person to look at", "partition", id.String(), "dir", s.dir(id))
		}
	}
}

// retryFailed tries partitions anew whose storage failed: a bucket may answer again, a disk may have room. Those that the disk still does not
// give, and others have, begin anew.
func (s *Set) retryFailed(ctx context.Context) {
	s.following.Lock()
	defer s.following.Unlock()
	if s.image == nil || s.closed {
		return
	}
	var list []*image.Partition
	for id := range s.Failed() {
		if p, ok := s.image.Partition(id); ok {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return
	}
	s.each(ctx, s.image, list)
	s.each(ctx, s.image, s.renew(s.image))
	s.fetch()
}

// reconfigure resolves the settings anew where a change touches them.
func (s *Set) reconfigure(m *image.Image, changed []quorum.ConfigKey) {
	all, topics := false, map[string]bool{}
	for _, c := range changed {
		switch c.Type {
		case command.Topic:
			topics[c.Name] = true
		case command.Broker:
			all = true
		}
	}
	if !all && len(topics) == 0 {
		return
	}
	s.Each(func(p *partition.Partition) {
		if all || topics[p.Topic()] {
			p.SetSettings(s.settings(m, p.Topic()))
			s.tiers.Poke(p.ID())
		}
	})
}

func (s *Set) settings(m *image.Image, topic string) *config.Topic {
	return s.cfg.Resolve(
		m.Configs(command.Topic, topic),
		m.Configs(command.Broker, fmt.Sprint(s.env.Node)),
		m.Configs(command.Broker, ""))
}

// retryEvery is how often a partition whose storage failed is tried again, and a stray looked at.
const retryEvery = 10 * time.Second

// Run rolls segments by age and forgets producers, once a second, tries failed partitions again and removes strays, until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
			s.retryFailed(ctx)
			s.removeStrays(ctx)
			continue
		case <-ticker.C:
		}
		now := s.env.Clock()
		s.Each(func(p *partition.Partition) {
			if err := p.Tick(now); err != nil {
				s.log.Error("look after a partition", "topic", p.Topic(), "partition", p.ID().Index, "error", err)
			}
		})
	}
}

// Close closes every partition cleanly.
func (s *Set) Close() error {
	s.following.Lock() // a change that is being followed is followed to its end
	defer s.following.Unlock()
	s.closed = true
	var g errgroup.Group
	g.SetLimit(4 * runtime.GOMAXPROCS(0))
	s.partitions.Range(func(k, v any) bool {
		s.tiers.Remove(k.(kafka.Partition))
		g.Go(v.(*partition.Partition).Close)
		return true
	})
	return g.Wait()
}
