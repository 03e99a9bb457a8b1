package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// tidyPartitions ends deletions that a crash has interrupted, and sets aside
// the directories of topics that the image does not know: their topic was
// deleted in the moment of a crash, or an older copy of the metadata was
// restored. Which of the two a broker cannot tell, so it leaves the last step to a person.
// It returns the partitions of other topics that have a directory.
func (b *Broker) tidyPartitions() (found []kafka.Partition, err error) {
	root := b.dir.Partitions()
	if err := hot.RemoveDeleted(b.fs, root); err != nil {
		return nil, err
	}
	names, err := b.fs.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("look for partitions of deleted topics: %w", err)
	}
	m := b.quorum.Image()
	for _, name := range names {
		id, err := kafka.ParseTopicID(name)
		if err != nil {
			continue // not a topic's directory
		}
		if _, ok := m.TopicByID(id); ok {
			if found, err = b.partitionsIn(found, id); err != nil {
				return nil, err
			}
			continue
		}
		if err := b.setAside(filepath.Join(root, name), filepath.Join(b.dir.Strays(), name)); err != nil {
			return nil, fmt.Errorf("set the partitions of a topic that does not exist aside: %w", err)
		}
	}
	return found, nil
}

// partitionsIn adds those that a topic's directory holds.
func (b *Broker) partitionsIn(list []kafka.Partition, id kafka.TopicID) ([]kafka.Partition, error) {
	names, err := b.fs.ReadDir(filepath.Join(b.dir.Partitions(), id.String()))
	if err != nil {
		return nil, fmt.Errorf("look for partitions of topic %s: %w", id, err)
	}
	for _, name := range names {
		p := kafka.Partition{Topic: id}
		if n, err := strconv.ParseInt(name, 10, 32); err == nil && n >= 0 {
			p.Index = int32(n)
			list = append(list, p)
		}
	}
	return list, nil
}

func (b *Broker) setAside(from, to string) error {
	left, err := b.fs.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(left) == 0 { // what a deletion leaves
		return b.fs.RemoveAll(from)
	}
	if err := b.fs.MkdirAll(filepath.Dir(to)); err != nil {
		return err
	}
	if err := b.fs.Rename(from, to); err != nil {
		return err
	}
	b.log.Warn("local data of a topic that does not exist was set aside: remove it when the topic was deleted", "from", from, "to", to)
	return errors.Join(b.fs.SyncDir(filepath.Dir(to)), b.fs.SyncDir(filepath.Dir(from)))
}
