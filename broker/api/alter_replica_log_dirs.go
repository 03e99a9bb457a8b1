package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// AlterReplicaLogDirs (key 34, v1-2; KIP-113): a broker has one directory, so a replica is, or will be, where it is asked to be, or
// cannot be. The bucket counts as well, since DescribeLogDirs tells of it as of another one. kafka-reassign-partitions.sh asks
// for it when it rolls a reassignment back: it writes the directories into the file that it says to keep for that.

func (h *Handler) alterReplicaLogDirs(x *wire.Exchange) {
	req := x.Request.(*kmsg.AlterReplicaLogDirsRequest)
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	m := h.quorum.Image()
	at := map[string]int{}
	for i := range req.Dirs {
		d := &req.Dirs[i]
		for j := range d.Topics {
			name := d.Topics[j].Topic
			k, ok := at[name]
			if !ok {
				k = len(resp.Topics)
				at[name] = k
				t := kmsg.NewAlterReplicaLogDirsResponseTopic()
				t.Topic = name
				resp.Topics = append(resp.Topics, t)
			}
			for _, index := range d.Topics[j].Partitions {
				p := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				p.Partition = index
				if t, err := topicNamed(m, name); err != nil || index < 0 || index >= t.Partitions {
					p.ErrorCode = kerr.UnknownTopicOrPartition.Code
				} else if d.Dir != h.Volume.Dir && (d.Dir != h.BucketURL || d.Dir == "") {
					p.ErrorCode = kerr.LogDirNotFound.Code
				}
				resp.Topics[k].Partitions = append(resp.Topics[k].Partitions, p)
			}
		}
	}
	reply(x, resp)
}
