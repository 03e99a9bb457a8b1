package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// DeleteRecords (key 21, v0-2; KIP-107): moves partitions' log start forward, to -1 for the high watermark. An offset beyond
// the high watermark → OFFSET_OUT_OF_RANGE; one below the log start changes nothing. The reply's low watermark is the new log
// start, which by then every later request sees. The timeout is for followers, of which there are none yet; the commit has
// its own least time, so that a timeout of 0 does not fail what is then done all the same.

// minTrimWaitMs is the least that a trim is waited for.
const minTrimWaitMs = 5_000

func (h *Handler) deleteRecords(x *wire.Exchange) {
	req := x.Request.(*kmsg.DeleteRecordsRequest)
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	ctx, cancel := within(x, max(req.TimeoutMillis, minTrimWaitMs))
	defer cancel()
	var trims []trim
	m := h.quorum.Image()
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			*rp = kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.LowWatermark = p.Partition, -1
			l, err := h.leadingAt(m, t.Topic, p.Partition, kafka.NoEpoch)
			if err != nil {
				rp.ErrorCode = code(err)
				continue
			}
			if !l.Settings().Delete {
				rp.ErrorCode = kerr.PolicyViolation.Code // Kafka: only what retention may delete
				continue
			}
			l.Settle(ctx) // as acks=1 may have been answered for what is to go
			target, err := trimTarget(l, p.Offset)
			if err != nil {
				rp.ErrorCode = code(err)
				continue
			}
			rp.LowWatermark = int64(target)
			if target > l.LogStart() {
				trims = append(trims, trim{l, target, rp})
			}
		}
	}
	h.trim(ctx, trims)
	reply(x, resp)
}

// trim is one partition whose log start is to move.
type trim struct {
	leader leader
	start  kafka.Offset
	answer *kmsg.DeleteRecordsResponseTopicPartition
}

// trimTarget is where the log will start: never back, never beyond what is readable.
func trimTarget(l leader, offset int64) (kafka.Offset, error) {
	high := l.HighWatermark()
	target := kafka.Offset(offset)
	if offset == -1 {
		target = high
	}
	if target < 0 || target > high {
		return 0, refuse(kerr.OffsetOutOfRange, "offset %d is beyond the high watermark %d", offset, high)
	}
	return max(target, l.LogStart()), nil
}

// trim commits all trims and waits until the partitions have followed.
func (h *Handler) trim(ctx context.Context, trims []trim) {
	if len(trims) == 0 {
		return
	}
	commands := make([]command.Command, len(trims))
	for i, t := range trims {
		commands[i] = command.TrimLog{Partition: t.leader.ID(), Epoch: t.leader.LeaderEpoch(), Start: t.start}
	}
	errs := h.propose(ctx, commands)
	for i, t := range trims {
		err := errs[i]
		if err == nil {
			err = awaitLogStart(ctx, t.leader, t.start)
		}
		if err != nil {
			t.answer.ErrorCode, t.answer.LowWatermark = code(err), -1
		}
	}
}

// awaitLogStart returns when the partition starts at start or later. What was committed reaches it through the image.
func awaitLogStart(ctx context.Context, l leader, start kafka.Offset) error {
	moved := make(signal, 1)
	cancel := l.Subscribe(moved)
	defer cancel()
	for l.LogStart() < start {
		if err := l.CheckEpoch(kafka.NoEpoch); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// signal is a partition.Listener that remembers one call.
type signal chan struct{}

// Advanced implements partition.Listener.
func (s signal) Advanced(*partition.Partition) {
	select {
	case s <- struct{}{}:
	default: // already signalled
	}
}
