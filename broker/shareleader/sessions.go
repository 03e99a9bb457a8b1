package shareleader

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Share sessions: which partitions a member reads here, and the epoch that its next request bears, by which a request that comes twice, or late, is
// known. A session ends with its connection, and what its member has here is given back.

// Epochs that begin and end a session.
const (
	InitialEpoch int32 = 0
	FinalEpoch   int32 = -1
)

// maxPartitions bounds a session that grows with its requests, each of which is bounded by who takes it. Those it has and names again count twice.
const maxPartitions = 400_000

type sessionKey struct{ group, member string }

// session is guarded by sessions.mu.
type session struct {
	sessionKey
	epoch      int32 // that the next request bears
	partitions []kafka.Partition
	has        map[kafka.Partition]struct{}
	first      int         // the partition that is looked at first, in turn
	unwatch    func() bool // stops watching for the connection's end
}

type sessions struct {
	smu  sync.Mutex
	open map[sessionKey]*session
}

// Visit is one request of a session.
type Visit struct {
	Group, Member string
	Epoch         int32
	// Gone is done when the connection has ended.
	Gone context.Context
}

// OpenSession begins a session, in place of the one that the member has, and returns its partitions.
func (l *Leader) OpenSession(v Visit, partitions []kafka.Partition) ([]kafka.Partition, error) {
	k := sessionKey{v.Group, v.Member}
	l.smu.Lock()
	defer l.smu.Unlock()
	if old := l.open[k]; old != nil {
		old.unwatch()
		delete(l.open, k)
	}
	if len(l.open) >= l.cfg.Sessions {
		return nil, fmt.Errorf("%w: there are %d, the most that this broker has", share.ErrSessionLimit, len(l.open))
	}
	s := &session{sessionKey: k, epoch: InitialEpoch + 1, has: map[kafka.Partition]struct{}{}}
	s.add(partitions)
	s.unwatch = context.AfterFunc(v.Gone, func() { l.lost(s) })
	l.open[k] = s
	return slices.Clone(s.partitions), nil
}

// UseSession admits a request, takes partitions in and out, and returns those that the session has, another one first each time.
func (l *Leader) UseSession(v Visit, add, forget []kafka.Partition) ([]kafka.Partition, error) {
	l.smu.Lock()
	defer l.smu.Unlock()
	s := l.open[sessionKey{v.Group, v.Member}]
	switch {
	case s == nil:
		return nil, share.ErrSessionNotFound
	case v.Epoch == FinalEpoch:
		return nil, nil
	case v.Epoch != s.epoch:
		return nil, fmt.Errorf("%w: it is %d, the request's is %d", share.ErrSessionEpoch, s.epoch, v.Epoch)
	}
	if len(s.partitions)+len(add) > maxPartitions {
		return nil, fmt.Errorf("%w: more than %d partitions in one share session", share.ErrInvalidRequest, maxPartitions)
	}
	if s.epoch++; s.epoch == math.MaxInt32 {
		s.epoch = 1
	}
	s.add(add)
	s.remove(forget)
	n := len(s.partitions)
	if n == 0 {
		return nil, nil
	}
	s.first = (s.first + 1) % n
	return slices.Concat(s.partitions[s.first:], s.partitions[:s.first]), nil
}

// add takes partitions in that are not there.
func (s *session) add(partitions []kafka.Partition) {
	for _, p := range partitions {
		if _, ok := s.has[p]; !ok {
			s.has[p] = struct{}{}
			s.partitions = append(s.partitions, p)
		}
	}
}

func (s *session) remove(partitions []kafka.Partition) {
	for _, p := range partitions {
		delete(s.has, p)
	}
	if len(partitions) > 0 {
		s.partitions = slices.DeleteFunc(s.partitions, func(p kafka.Partition) bool { _, ok := s.has[p]; return !ok })
	}
}

// CloseSession ends a member's session and gives back what the member has here.
func (l *Leader) CloseSession(group, member string) {
	k := sessionKey{group, member}
	l.smu.Lock()
	s := l.open[k]
	if s != nil {
		s.unwatch()
		delete(l.open, k)
	}
	l.smu.Unlock()
	if s != nil {
		l.release(k)
	}
}

// lost ends a session whose connection has ended.
func (l *Leader) lost(s *session) {
	l.smu.Lock()
	current := l.open[s.sessionKey] == s
	if current {
		delete(l.open, s.sessionKey)
	}
	l.smu.Unlock()
	if current {
		l.release(s.sessionKey)
	}
}

// release gives back all that a member has here.
func (l *Leader) release(k sessionKey) {
	for _, e := range l.all() {
		if e.group != k.group {
			continue
		}
		_ = e.with(func(_ time.Time, out *share.PartitionEffects) { // dropped: it has nothing any more
			if e.p != nil {
				e.p.Release(k.member, e.limits, out)
			}
		})
	}
}
