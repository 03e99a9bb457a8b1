package hosted

import (
	"context"
	"errors"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A stray is what this broker has on its disk of a partition that was moved to others without it: while it was down, or
// while the partition's storage had failed. Nobody is served from it, so nothing but the space that it takes is wrong
// with it, and there is time to be sure before it goes. It is removed when
//
//   - the newest image has this broker active, so holds all that was decided while it was down;
//   - the image does not name it among the replicas, which include those that a reassignment is about to bring and those
//     that may be elected;
//   - another broker leads, so that there is a copy that is known to be whole;
//   - the copy here has seen no leader that the image does not know of. When it has, then older metadata was restored, and
//     this may be all that there is: it stays, and a person decides.
//
// A crash half way leaves what package hot ends at the next start, or a stray.

// Found tells the set of partitions that have a directory; those that are hosted as well are no strays.
func (s *Set) Found(onDisk []kafka.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range onDisk {
		s.strays[p] = struct{}{}
	}
}

// removeStrays removes the strays that may go.
func (s *Set) removeStrays(ctx context.Context) {
	s.following.Lock()
	defer s.following.Unlock()
	if s.image == nil || s.closed {
		return
	}
	if self, ok := s.image.Broker(s.env.Node); !ok || self.State != command.Active {
		return
	}
	for _, p := range s.removable(s.image) {
		if ctx.Err() != nil {
			return
		}
		if err := s.removeStray(p); err != nil {
			s.log.Error("a partition that was moved to other brokers stays on this disk", "partition", p.Partition.String(), "dir", s.dir(p.Partition), "error", err)
		}
	}
}

// removable takes the strays that may go from the list, and forgets those that are none.
func (s *Set) removable(m *image.Image) (list []*image.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.strays {
		p, ok := m.Partition(id)
		if ok && p.Leader == kafka.NoBroker && !slices.Contains(p.Replicas, s.env.Node) {
			continue // until somebody leads
		}
		delete(s.strays, id)
		if ok && !slices.Contains(p.Replicas, s.env.Node) { // without its topic it is for the next start
			list = append(list, p)
		}
	}
	return list
}

// errUnknownLeader says that a log was written to under a leader that the image does not know of.
var errUnknownLeader = errors.New("it holds records of a later leader than the cluster knows: was older metadata restored? Remove its directory when it is not needed")

func (s *Set) removeStray(p *image.Partition) error {
	log, _, err := hot.Open(s.env.Log.Hot, s.dir(p.Partition), p.Partition, hot.Config{}, 0, func(kafka.Offset) {})
	if err != nil {
		return err
	}
	if h := log.Epochs(); len(h) > 0 && h[len(h)-1].Epoch > p.LeaderEpoch {
		return errors.Join(errUnknownLeader, log.Close())
	}
	if err := log.Delete(); err != nil {
		return err
	}
	s.log.Info("removed from this disk: the partition was moved to other brokers", "partition", p.Partition.String(), "replicas", p.Replicas)
	return nil
}
