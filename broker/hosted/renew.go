package hosted

import (
	"errors"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// renew sets those aside of the partitions that have failed whose files the disk does not give although it was asked twice, when others
// have them. It returns them: they can be opened anew, and are fetched from their leaders. following is held.
//
// Others have a partition when the newest image has this broker active, another broker leading, and this one neither in the in-sync
// replicas nor among those that may be elected, which package replica sees to. Until then the files may be the best copy that there is, and
// a person decides.
func (s *Set) renew(m *image.Image) (list []*image.Partition) {
	if self, ok := m.Broker(s.env.Node); !ok || self.State != command.Active {
		return nil
	}
	for id, reason := range s.Failed() {
		p, ok := m.Partition(id)
		if !ok || s.Get(id) != nil || !errors.Is(reason, hot.ErrUnreadable) && !errors.Is(reason, hot.ErrDamaged) {
			continue
		}
		if p.Leader == kafka.NoBroker || p.Leader == s.env.Node || slices.Contains(p.ISR, s.env.Node) || slices.Contains(p.ELR, s.env.Node) {
			continue
		}
		if err := hot.SetAside(s.env.Log.Hot, s.dir(id), id); err != nil {
			s.log.Error("set a replica aside that cannot be read", "partition", id.String(), "dir", s.dir(id), "error", err)
			continue
		}
		s.log.Warn("a replica that cannot be read is fetched anew; its files are in its directory's quarantine", "partition", id.String(), "dir", s.dir(id), "error", reason)
		list = append(list, p)
	}
	return list
}
