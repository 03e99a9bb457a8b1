package api

import (
	"context"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ListOffsets (key 2, v1-11): offsets by timestamp, or -1 latest, -2 earliest, -3 of the maximal timestamp (v7, KIP-734),
// -4 earliest local (v8, KIP-405), -5 latest tiered (v9, KIP-1005), -6 earliest pending upload (v11, KIP-1023).
//
//   - Each partition answers for itself. What may need the bucket is looked up on other goroutines, a bounded number at a
//     time in the whole broker, so that neither this connection's next requests nor other clients wait (KIP-1075). So is, with one
//     in-sync replica, what depends on the end while records are on their way to the disk: acks=1 may have been answered for them.
//   - Nothing at or after the timestamp: offset -1 without an error.
//   - read_committed: latest is the last stable offset.
//   - A partition named twice → INVALID_REQUEST; a special timestamp newer than the version → UNSUPPORTED_VERSION.

// specialSince is the version that brought each special timestamp, indexed by its negation.
var specialSince = [...]int16{1: 1, 2: 1, 3: 7, 4: 8, 5: 9, 6: 11}

// maxLookupWaitMs bounds lookups before v10, whose requests carry no timeout.
const maxLookupWaitMs = 30_000

// lookup is one partition's question that may have to wait, for the bucket or the disk.
type lookup struct {
	leader    readable
	timestamp int64
	answer    *kmsg.ListOffsetsResponseTopicPartition
}

func (h *Handler) listOffsets(x *wire.Exchange) {
	req := x.Request.(*kmsg.ListOffsetsRequest)
	resp := kmsg.NewPtrListOffsetsResponse()
	resp.Topics = make([]kmsg.ListOffsetsResponseTopic, len(req.Topics))
	m := h.quorum.Image()
	committed := req.IsolationLevel == 1
	repeated := repeatedPartitions(req)
	var waiting []lookup
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			*rp = kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Timestamp, rp.Offset, rp.LeaderEpoch = p.Partition, -1, -1, -1
			l, err := h.listable(m, x.Version, t.Topic, p)
			switch {
			case repeated[topicPartition{t.Topic, p.Partition}]:
				rp.ErrorCode = kerr.InvalidRequest.Code
			case err != nil:
				rp.ErrorCode = code(err)
			case l.MayBlock(p.Timestamp), dependsOnEnd(p.Timestamp) && l.Unsettled():
				waiting = append(waiting, lookup{l, p.Timestamp, rp})
			default:
				h.list(context.Background(), x, l, p.Timestamp, committed, rp)
			}
		}
	}
	if len(waiting) == 0 {
		reply(x, resp)
		return
	}
	timeoutMs := int32(maxLookupWaitMs)
	if x.Version >= 10 {
		timeoutMs = req.TimeoutMillis
	}
	go func() {
		ctx, cancel := within(x, timeoutMs)
		defer cancel()
		h.listAll(ctx, x, waiting, committed)
		reply(x, resp)
	}()
}

// topicPartition names a partition as requests do.
type topicPartition struct {
	topic string
	index int32
}

// repeatedPartitions are those named more than once; nil in the usual case.
func repeatedPartitions(req *kmsg.ListOffsetsRequest) map[topicPartition]bool {
	seen := map[topicPartition]bool{}
	var repeated map[topicPartition]bool
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			k := topicPartition{req.Topics[i].Topic, req.Topics[i].Partitions[j].Partition}
			if seen[k] {
				if repeated == nil {
					repeated = map[topicPartition]bool{}
				}
				repeated[k] = true
			}
			seen[k] = true
		}
	}
	return repeated
}

// listable finds the leader that answers, if the question is one that this version may ask.
func (h *Handler) listable(m *image.Image, version int16, topic string, p *kmsg.ListOffsetsRequestTopicPartition) (readable, error) {
	if s := -p.Timestamp; p.Timestamp < 0 && (s < 0 || s >= int64(len(specialSince)) || version < specialSince[s]) {
		return nil, refuse(kerr.UnsupportedVersion, "timestamp %d is not served in version %d", p.Timestamp, version)
	}
	epoch := kafka.NoEpoch
	if version >= 4 {
		epoch = kafka.LeaderEpoch(p.CurrentLeaderEpoch)
	}
	return h.readingAt(m, topic, p.Partition, epoch)
}

// list asks one partition.
func (h *Handler) list(ctx context.Context, x *wire.Exchange, l readable, timestamp int64, committed bool, rp *kmsg.ListOffsetsResponseTopicPartition) {
	found, err := l.ListOffset(ctx, timestamp, committed)
	if err != nil {
		rp.ErrorCode = code(err)
		if known(err) == nil {
			// The bucket does not answer or answers badly. Clients retry a storage error; they would not retry another.
			rp.ErrorCode = kerr.KafkaStorageError.Code
			h.complain(x, slog.LevelWarn, "offset lookup failed", "partition", l.ID(), "timestamp", timestamp, "error", err)
		}
		return
	}
	rp.Offset, rp.Timestamp, rp.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
}

// lookupsPerRequest is how many of a request's lookups may wait for the bucket at once.
const lookupsPerRequest = 8

// dependsOnEnd tells whether the answer may be another one when the high watermark has moved.
func dependsOnEnd(timestamp int64) bool { return timestamp >= -1 || timestamp == -3 }

// listAll runs lookups on a few goroutines, each taking a token of the broker's for every one that may need the bucket.
func (h *Handler) listAll(ctx context.Context, x *wire.Exchange, waiting []lookup, committed bool) {
	work := make(chan lookup)
	var wg sync.WaitGroup
	for range min(lookupsPerRequest, len(waiting)) {
		wg.Go(func() {
			for w := range work {
				if dependsOnEnd(w.timestamp) {
					w.leader.Settle(ctx)
				}
				if !w.leader.MayBlock(w.timestamp) {
					h.list(ctx, x, w.leader, w.timestamp, committed, w.answer)
					continue
				}
				select {
				case h.lookups <- struct{}{}:
					h.list(ctx, x, w.leader, w.timestamp, committed, w.answer)
					<-h.lookups
				case <-ctx.Done():
					w.answer.ErrorCode = code(ctx.Err())
				}
			}
		})
	}
	for _, w := range waiting {
		work <- w
	}
	close(work)
	wg.Wait()
}
