package api

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// listRequest asks for offsets of partitions of "t".
func listRequest(timestamp int64, indexes ...int32) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.TimeoutMillis = 1000
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = "t"
	for _, i := range indexes {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = i, timestamp
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// Each partition answers for itself; a special timestamp is served from the version that brought it.
func TestListOffsets(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 2)
	s.log(id, 0).append(10)
	s.log(id, 0).start = 3
	for _, c := range []struct {
		timestamp int64
		version   int16
		offset    int64
		err       *kerr.Error
	}{
		{-1, 1, 10, nil}, {-2, 1, 3, nil}, {-3, 6, -1, kerr.UnsupportedVersion}, {-3, 7, 3, nil}, {-4, 7, -1, kerr.UnsupportedVersion},
		{-4, 8, 3, nil}, {-5, 8, -1, kerr.UnsupportedVersion}, {-6, 10, -1, kerr.UnsupportedVersion}, {-6, 11, 3, nil},
		{-7, 11, -1, kerr.UnsupportedVersion}, {-1 << 63, 11, -1, kerr.UnsupportedVersion}, {5, 11, 5, nil}, {99, 11, -1, nil},
	} {
		p := ask[*kmsg.ListOffsetsResponse](s, listRequest(c.timestamp, 0), c.version).Topics[0].Partitions[0]
		if p.Offset != c.offset || c.err == nil && p.ErrorCode != 0 || c.err != nil && p.ErrorCode != c.err.Code {
			t.Errorf("timestamp %d v%d: %+v", c.timestamp, c.version, p)
		}
	}
	r := ask[*kmsg.ListOffsetsResponse](s, listRequest(-1, 0, 1, 1, 7), 11).Topics[0].Partitions
	for i, want := range []int16{0, kerr.InvalidRequest.Code, kerr.InvalidRequest.Code, kerr.UnknownTopicOrPartition.Code} {
		if r[i].ErrorCode != want {
			t.Errorf("%+v", r[i])
		}
	}
	old := listRequest(-1, 0)
	old.Topics[0].Partitions[0].CurrentLeaderEpoch = 7
	if p := ask[*kmsg.ListOffsetsResponse](s, old, 11).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownLeaderEpoch.Code {
		t.Errorf("epoch: %+v", p)
	}
}

// flushingLog has records that are on their way to the disk.
type flushingLog struct {
	*fakeLog
	flush chan struct{}
}

func (l flushingLog) Unsettled() bool { return true }

func (l flushingLog) Settle(ctx context.Context) {
	select {
	case <-l.flush:
		l.mu.Lock()
		l.high = 9
		l.mu.Unlock()
	case <-ctx.Done():
	}
}

// What acks=1 has been answered for would not be counted by ListOffsets, or not be deleted by DeleteRecords, a moment later; or other
// requests would wait for that.
func TestAcknowledgedIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		flush := make(chan struct{})
		s.Handler.find = func(p kafka.Partition) leader { return flushingLog{s.log(p.Topic, p.Index), flush} }
		c := s.start(listRequest(-1, 0), 11)
		synctest.Wait()
		c.parked(t)
		if p := ask[*kmsg.ListOffsetsResponse](s, listRequest(-2, 0), 11).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.Offset != 0 {
			t.Errorf("earliest: %+v", p)
		}
		close(flush)
		synctest.Wait()
		if p := c.now(t).Message.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.Offset != 9 {
			t.Errorf("latest: %+v", p)
		}
		l := s.log(id, 0)
		l.mu.Lock()
		l.high = 0 // as it was before the flush
		l.mu.Unlock()
		if p := ask[*kmsg.DeleteRecordsResponse](s, deleteRecords(0, 9), 2).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LowWatermark != 9 {
			t.Errorf("deleted: %+v", p)
		}
	})
}

// slowLog lists offsets by time only when let.
type slowLog struct {
	*fakeLog
	let chan struct{}
}

func (l slowLog) MayBlock(int64) bool { return true }

func (l slowLog) ListOffset(ctx context.Context, timestamp int64, committed bool) (partition.Listed, error) {
	select {
	case <-l.let:
		return l.fakeLog.ListOffset(ctx, timestamp, committed)
	case <-ctx.Done():
		return partition.Listed{}, fmt.Errorf("%w: %w", partition.ErrStorage, ctx.Err())
	}
}

// A lookup that waits for the bucket holds up no other request, a bounded number wait at once, and the request's timeout or
// its connection's end ends them.
func TestListOffsetsDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 20)
		let := make(chan struct{})
		s.Handler.find = func(p kafka.Partition) leader { return slowLog{s.log(p.Topic, p.Index), let} }
		var all []int32
		for i := range int32(20) {
			all = append(all, i)
		}
		var calls []*call
		for range 6 {
			calls = append(calls, s.start(listRequest(0, all...), 11))
		}
		synctest.Wait()
		if n := len(s.lookups); n != lookupTokens {
			t.Errorf("%d lookups wait", n)
		}
		metadataOf(s, 12, false, "t") // answered meanwhile
		for _, c := range calls {
			c.parked(t)
		}
		for range 6 * 20 {
			let <- struct{}{}
		}
		synctest.Wait()
		for _, c := range calls {
			for _, p := range c.now(t).Message.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
				if p.ErrorCode != 0 {
					t.Errorf("%+v", p)
				}
			}
		}
		late := s.start(listRequest(0, 0), 11)
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if p := late.now(t).Message.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; p.ErrorCode != kerr.KafkaStorageError.Code {
			t.Errorf("%+v", p)
		}
		_ = id
		abandoned := s.start(listRequest(0, 0), 11)
		s.leave()
		synctest.Wait()
		abandoned.now(t)
	})
}

// OffsetForLeaderEpoch tells the end of an epoch, or why it cannot.
func TestOffsetForLeaderEpoch(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	s.log(id, 0).append(4)
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = "t"
	for _, c := range []struct{ partition, current, epoch int32 }{{0, -1, 0}, {0, 0, -5}, {0, 9, 0}, {3, -1, 0}} {
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = c.partition, c.current, c.epoch
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	r := ask[*kmsg.OffsetForLeaderEpochResponse](s, req, 4).Topics[0].Partitions
	for i, want := range []struct {
		code  int16
		epoch int32
		end   int64
	}{{0, 0, 4}, {0, -1, -1}, {kerr.UnknownLeaderEpoch.Code, -1, -1}, {kerr.UnknownTopicOrPartition.Code, -1, -1}} {
		if r[i].ErrorCode != want.code || r[i].LeaderEpoch != want.epoch || r[i].EndOffset != want.end {
			t.Errorf("%+v, want %+v", r[i], want)
		}
	}
}

// deleteRecords trims one partition of "t".
func deleteRecords(index int32, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 1000
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = "t"
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = index, offset
	rt.Partitions = append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	return req
}

// DeleteRecords moves the log start forward only, never past the high watermark, and what it answers holds by then.
func TestDeleteRecords(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	l := s.log(id, 0)
	l.append(10)
	for _, c := range []struct {
		offset, low int64
		err         *kerr.Error
	}{
		{4, 4, nil}, {2, 4, nil}, {11, -1, kerr.OffsetOutOfRange}, {-2, -1, kerr.OffsetOutOfRange}, {-1, 10, nil},
	} {
		p := ask[*kmsg.DeleteRecordsResponse](s, deleteRecords(0, c.offset), 2).Topics[0].Partitions[0]
		if p.LowWatermark != c.low || c.err == nil && p.ErrorCode != 0 || c.err != nil && p.ErrorCode != c.err.Code {
			t.Errorf("offset %d: %+v", c.offset, p)
		}
		if c.err == nil && l.LogStart() != kafka.Offset(c.low) {
			t.Errorf("offset %d: the log starts at %d", c.offset, l.LogStart())
		}
	}
	if p := ask[*kmsg.DeleteRecordsResponse](s, deleteRecords(3, 0), 2).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", p)
	}
}

// DeleteRecords answers only when the partition has followed what was committed, also with a timeout of 0, and in time if it
// does not.
func TestDeleteRecordsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		l := s.log(id, 0)
		l.append(10)
		s.meta.applied = func(_, m *image.Image) {
			go func() {
				time.Sleep(300 * time.Millisecond)
				l.change(func() { l.start = 4 })
			}()
		}
		began := time.Now()
		req := deleteRecords(0, 4)
		req.TimeoutMillis = 0
		p := ask[*kmsg.DeleteRecordsResponse](s, req, 2).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || time.Since(began) != 300*time.Millisecond {
			t.Errorf("%+v after %v", p, time.Since(began))
		}
		s.meta.applied = nil
		p = ask[*kmsg.DeleteRecordsResponse](s, deleteRecords(0, 6), 2).Topics[0].Partitions[0]
		if p.ErrorCode != kerr.RequestTimedOut.Code || p.LowWatermark != -1 {
			t.Errorf("%+v", p)
		}
		s.leave()
	})
}

// Producer ids are never given twice, come from blocks, and are refused with what producers retry while there is no quorum.
func TestInitProducerID(t *testing.T) {
	s := newHarness(t)
	initID := func(change func(*kmsg.InitProducerIDRequest)) *kmsg.InitProducerIDResponse {
		req := kmsg.NewPtrInitProducerIDRequest()
		if change != nil {
			change(req)
		}
		return ask[*kmsg.InitProducerIDResponse](s, req, 5)
	}
	seen := map[int64]bool{}
	before := s.meta.index
	for range 2*producerIDBlock + 1 {
		r := initID(nil)
		if r.ErrorCode != 0 || r.ProducerEpoch != 0 || seen[r.ProducerID] {
			t.Fatalf("%+v", r)
		}
		seen[r.ProducerID] = true
	}
	if n := s.meta.index - before; n != 3 {
		t.Errorf("%d proposals for two blocks and one id", n)
	}
	known := initID(func(r *kmsg.InitProducerIDRequest) { r.ProducerID, r.ProducerEpoch = 5, 3 })
	if known.ErrorCode != 0 || seen[known.ProducerID] {
		t.Errorf("an id that asks again: %+v", known)
	}
	for _, half := range []func(*kmsg.InitProducerIDRequest){
		func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 5 },
		func(r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 3 },
	} {
		if r := initID(half); r.ErrorCode != kerr.InvalidRequest.Code || r.ProducerID != -1 {
			t.Errorf("an id without its epoch, or the reverse: %+v", r)
		}
	}
	txn, empty := "x", ""
	if r := initID(func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = &txn }); r.ErrorCode != kerr.UnsupportedVersion.Code || r.ProducerID != -1 {
		t.Errorf("%+v", r)
	}
	if r := initID(func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = &empty }); r.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("%+v", r)
	}
	s.producers.first = s.producers.end
	s.meta.err = fmt.Errorf("propose: %w", quorum.ErrNotReady)
	if r := initID(nil); r.ErrorCode != kerr.CoordinatorLoadInProgress.Code {
		t.Errorf("%+v", r)
	}
}
