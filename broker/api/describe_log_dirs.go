package api

import (
	"log/slog"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// DescribeLogDirs (key 35, v1-4; KIP-113, 827): how many bytes each hosted partition takes, in the data directory and, as a
// second "directory" that is named by its URL, in the bucket, so that tools that know nothing of tiers show both. A null list
// of topics means all. The volume's size is told from v4; a bucket has none: -1.

// unknownBytes is what the protocol says for sizes that are not known.
const unknownBytes = -1

func (h *Handler) describeLogDirs(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeLogDirsRequest)
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	local, remote := kmsg.NewDescribeLogDirsResponseDir(), kmsg.NewDescribeLogDirsResponseDir()
	local.Dir, remote.Dir = h.Volume.Dir, h.BucketURL
	local.TotalBytes, local.UsableBytes = unknownBytes, unknownBytes
	remote.TotalBytes, remote.UsableBytes = unknownBytes, unknownBytes
	if h.Volume.Space != nil {
		total, usable, err := h.Volume.Space()
		if err != nil {
			h.complain(x, slog.LevelWarn, "the data volume's space is not known", "dir", h.Volume.Dir, "error", err)
		} else {
			local.TotalBytes, local.UsableBytes = total, usable
		}
	}
	m := h.quorum.Image()
	add := func(t *image.Topic, partitions []int32, all bool) {
		l, r := h.topicSizes(t, partitions, all)
		if len(l.Partitions) > 0 {
			local.Topics, remote.Topics = append(local.Topics, l), append(remote.Topics, r)
		}
	}
	if req.Topics == nil {
		m.Topics(func(t *image.Topic) bool {
			add(t, nil, true)
			return true
		})
	}
	for i := range req.Topics {
		if t, ok := m.TopicByName(req.Topics[i].Topic); ok {
			add(t, req.Topics[i].Partitions, false)
		}
	}
	resp.Dirs = append(resp.Dirs, local)
	if h.BucketURL != "" {
		resp.Dirs = append(resp.Dirs, remote)
	}
	reply(x, resp)
}

// topicSizes are the sizes of a topic's partitions that are hosted here, in both tiers.
func (h *Handler) topicSizes(t *image.Topic, partitions []int32, all bool) (local, remote kmsg.DescribeLogDirsResponseDirTopic) {
	local, remote = kmsg.NewDescribeLogDirsResponseDirTopic(), kmsg.NewDescribeLogDirsResponseDirTopic()
	local.Topic, remote.Topic = t.Name, t.Name
	add := func(index int32) {
		l, err := h.leading(t, index)
		if err != nil {
			return // not here: not in this broker's directories
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition = index
		inBucket := p
		p.Size, inBucket.Size = l.Sizes()
		local.Partitions, remote.Partitions = append(local.Partitions, p), append(remote.Partitions, inBucket)
	}
	if all {
		for i := range t.Partitions {
			add(i)
		}
	}
	for _, i := range partitions {
		add(i)
	}
	return local, remote
}
