package api

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// wanted is a partition and where to fetch from.
type wanted struct {
	topic kafka.TopicID
	index int32
	from  kafka.Offset
}

// fetchRequest is a v13+ request with generous limits, waiting maxWait for a byte.
func fetchRequest(session, epoch int32, maxWait time.Duration, at ...wanted) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SessionID, req.SessionEpoch = session, epoch
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(maxWait.Milliseconds()), 1, 1<<20
	for _, p := range at {
		t := kmsg.NewFetchRequestTopic()
		t.TopicID = p.topic
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = p.index, int64(p.from), 1<<20, -1
		t.Partitions = append(t.Partitions, rp)
		req.Topics = append(req.Topics, t)
	}
	return req
}

const fetchVersion = 17

// fetchNow is a fetch that must be answered at once.
func (s *harness) fetchNow(req *kmsg.FetchRequest) *wire.FetchResponse {
	s.t.Helper()
	return s.start(req, fetchVersion).now(s.t).Fetch
}

// parts flattens a response.
func parts(r *wire.FetchResponse) []wire.FetchPartition {
	var out []wire.FetchPartition
	for i := range r.Topics {
		out = append(out, r.Topics[i].Partitions...)
	}
	return out
}

// A parked fetch is answered the moment data arrive, once, however many partitions advance; and holds no subscription after.
func TestFetchWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, session := range []int32{finalEpoch, initialEpoch} {
			s := newHarness(t)
			id := s.topic("t", 3)
			c := s.start(fetchRequest(0, session, time.Second, wanted{id, 0, 0}, wanted{id, 1, 0}, wanted{id, 2, 0}), fetchVersion)
			synctest.Wait()
			c.parked(t)
			began := time.Now()
			time.Sleep(300 * time.Millisecond)
			for i := range int32(3) {
				s.log(id, i).append(1)
			}
			synctest.Wait()
			r := c.now(t).Fetch
			if waited := time.Since(began); waited != 300*time.Millisecond {
				t.Errorf("answered after %v", waited)
			}
			if got := len(parts(r)); got != 3 {
				t.Errorf("%d partitions in a full answer of 3", got)
			}
			n := 0
			for _, p := range parts(r) {
				n += p.Records.Len()
			}
			if n == 0 || n%unit != 0 {
				t.Errorf("%d bytes", n)
			}
			release(r)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			c.parked(t) // no second answer
			if got := s.log(id, 0).subscribers(); session == finalEpoch && got != 0 {
				t.Errorf("%d subscriptions left without a session", got)
			}
			s.leave()
			synctest.Wait()
			if got := s.log(id, 0).subscribers(); got != 0 {
				t.Errorf("%d subscriptions left after the connection's end", got)
			}
			s.nothingHeld()
		}
	})
}

// A fetch without news is answered empty after exactly max wait, and one with max wait 0 at once.
func TestFetchMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		release(s.fetchNow(fetchRequest(0, finalEpoch, 0, wanted{id, 0, 0})))
		began := time.Now()
		c := s.start(fetchRequest(0, finalEpoch, 500*time.Millisecond, wanted{id, 0, 0}), fetchVersion)
		r := (<-c.replies).Fetch
		if waited := time.Since(began); waited != 500*time.Millisecond {
			t.Errorf("answered after %v", waited)
		}
		if p := parts(r); len(p) != 1 || p[0].Records.Len() != 0 || p[0].ErrorCode != 0 {
			t.Errorf("answer %+v", p)
		}
		s.leave()
	})
}

// Fewer than min bytes do not end the wait; the byte that completes them does, and all of them arrive.
func TestFetchMinBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 2)
		req := fetchRequest(0, finalEpoch, time.Minute, wanted{id, 0, 0}, wanted{id, 1, 0})
		req.MinBytes = 3 * unit
		c := s.start(req, fetchVersion)
		for i, index := range []int32{0, 1, 0} {
			synctest.Wait()
			c.parked(t)
			time.Sleep(time.Second)
			s.log(id, index).append(1)
			_ = i
		}
		synctest.Wait()
		r := c.now(t).Fetch
		if p := parts(r); p[0].Records.Len() != 2*unit || p[1].Records.Len() != unit {
			t.Errorf("%d and %d bytes", p[0].Records.Len(), p[1].Records.Len())
		}
		release(r)
		s.nothingHeld()
		s.leave()
	})
}

// Downloads would go on, and hold memory that others wait for, after the connection that they were for has ended.
func TestFetchForgetsTheBucketWhenGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		var forgotten []any
		s.Forget = func(stream any) { forgotten = append(forgotten, stream) }
		id := s.topic("t", 1)
		cold := s.log(id, 0)
		cold.append(10)
		cold.local = 5
		for range 3 {
			c := s.start(fetchRequest(0, finalEpoch, time.Millisecond, wanted{id, 0, 0}), fetchVersion)
			time.Sleep(time.Second)
			c.now(t)
		}
		s.leave()
		synctest.Wait()
		if len(forgotten) != 1 || forgotten[0] != any(s.peer) {
			t.Errorf("forgotten: %v, want the client once", forgotten)
		}
	})
}

// A parked fetch ends when its connection does, and lets go of everything.
func TestFetchClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		c := s.start(fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, 0}), fetchVersion)
		synctest.Wait()
		c.parked(t)
		s.leave()
		synctest.Wait()
		c.now(t)
		if got := s.log(id, 0).subscribers(); got != 0 {
			t.Errorf("%d subscriptions left", got)
		}
	})
}

// An incremental fetch reads the partitions with news and no others, out of thousands subscribed.
func TestFetchSessionCostFollowsNews(t *testing.T) {
	s := newHarness(t)
	const partitions = 2000
	id := s.topic("t", partitions)
	var at []wanted
	for i := range int32(partitions) {
		at = append(at, wanted{id, i, 0})
	}
	r := s.fetchNow(fetchRequest(0, initialEpoch, 0, at...))
	if r.SessionID == 0 || len(parts(r)) != partitions {
		t.Fatalf("session %d with %d partitions", r.SessionID, len(parts(r)))
	}
	reads := func() (n int64) {
		for _, l := range s.every {
			n += l.reads.Load()
		}
		return n
	}
	before := reads()
	r2 := s.fetchNow(fetchRequest(r.SessionID, 1, 0))
	if got := reads() - before; got != 0 || len(r2.Topics) != 0 {
		t.Errorf("without news %d partitions were read and %d topics answered", got, len(r2.Topics))
	}
	s.log(id, 7).append(1)
	s.log(id, 1234).append(1)
	before = reads()
	r3 := s.fetchNow(fetchRequest(r.SessionID, 2, 0))
	if got := reads() - before; got != 2 || len(parts(r3)) != 2 {
		t.Errorf("with news of two, %d were read and %d answered", got, len(parts(r3)))
	}
	release(r3)
	s.nothingHeld()
}

// Data that a client does not move past are sent again by the next incremental fetch.
func TestFetchSessionRepeats(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	s.log(id, 0).append(1)
	r := s.fetchNow(fetchRequest(0, initialEpoch, 0, wanted{id, 0, 0}))
	release(r)
	for epoch := int32(1); epoch < 4; epoch++ {
		again := s.fetchNow(fetchRequest(r.SessionID, epoch, 0))
		if p := parts(again); len(p) != 1 || p[0].Records.Len() != unit {
			t.Fatalf("epoch %d: %+v", epoch, p)
		}
		release(again)
	}
	s.nothingHeld()
}

// Sessions keep KIP-227's rules of ids, epochs and names against ids.
func TestFetchSessionErrors(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 2)
	open := func() int32 {
		r := s.fetchNow(fetchRequest(0, initialEpoch, 0, wanted{id, 0, 0}))
		return r.SessionID
	}
	expect := func(what string, r *wire.FetchResponse, want *kerr.Error) {
		t.Helper()
		code := int16(0)
		if want != nil {
			code = want.Code
		}
		if r.ErrorCode != code {
			t.Errorf("%s: error %d, want %v", what, r.ErrorCode, want)
		}
	}
	dirty := fetchRequest(0, initialEpoch, 0, wanted{id, 0, 0})
	dirty.IsolationLevel = 7
	expect("isolation level 7", s.fetchNow(dirty), kerr.InvalidRequest)
	session := open()
	expect("unknown id", s.fetchNow(fetchRequest(session+1, 1, 0)), kerr.FetchSessionIDNotFound)
	expect("epoch too new", s.fetchNow(fetchRequest(session, 2, 0)), kerr.InvalidFetchSessionEpoch)
	expect("epoch", s.fetchNow(fetchRequest(session, 1, 0)), nil)
	expect("epoch again", s.fetchNow(fetchRequest(session, 1, 0)), kerr.InvalidFetchSessionEpoch)
	expect("names", s.start(fetchRequest(session, 2, 0), 12).now(t).Fetch, kerr.FetchSessionTopicIDError)
	expect("next epoch", s.fetchNow(fetchRequest(session, 2, 0)), nil)

	s.sessions.get(session).epoch = math.MaxInt32
	expect("last epoch", s.fetchNow(fetchRequest(session, math.MaxInt32, 0)), nil)
	expect("wrapped epoch", s.fetchNow(fetchRequest(session, 1, 0)), nil)

	r := s.fetchNow(fetchRequest(session, finalEpoch, 0, wanted{id, 0, 0}))
	expect("closing", r, nil)
	if r.SessionID != 0 || len(parts(r)) != 1 {
		t.Errorf("closing: session %d, %d partitions", r.SessionID, len(parts(r)))
	}
	expect("closed", s.fetchNow(fetchRequest(session, 2, 0)), kerr.FetchSessionIDNotFound)

	old := open()
	replaced := s.fetchNow(fetchRequest(old, initialEpoch, 0, wanted{id, 1, 0}))
	if replaced.SessionID == 0 || replaced.SessionID == old {
		t.Errorf("epoch 0 with id %d got session %d", old, replaced.SessionID)
	}
	expect("replaced", s.fetchNow(fetchRequest(old, 1, 0)), kerr.FetchSessionIDNotFound)

	// A session that forgets its last partition ends.
	req := fetchRequest(replaced.SessionID, 1, 0)
	forgotten := kmsg.NewFetchRequestForgottenTopic()
	forgotten.TopicID, forgotten.Partitions = id, []int32{1}
	req.ForgottenTopics = append(req.ForgottenTopics, forgotten)
	if r := s.fetchNow(req); r.ErrorCode != 0 || r.SessionID != 0 {
		t.Errorf("forgetting all: error %d, session %d", r.ErrorCode, r.SessionID)
	}
	expect("empty", s.fetchNow(fetchRequest(replaced.SessionID, 2, 0)), kerr.FetchSessionIDNotFound)
	if n := s.log(id, 0).subscribers() + s.log(id, 1).subscribers(); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

// A broker that stops would wait for consumers that wait for news, and for each fetch that comes meanwhile.
func TestFetchesEndWithTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		session := s.fetchNow(fetchRequest(0, initialEpoch, 0, wanted{id, 0, 0})).SessionID
		c := s.start(fetchRequest(session, 1, time.Hour), fetchVersion)
		c.parked(t)
		s.Stop()
		if r := c.now(t).Fetch; r.ErrorCode != 0 || len(parts(r)) != 0 {
			t.Errorf("%+v", r)
		}
		s.fetchNow(fetchRequest(session, 2, time.Hour))
		s.fetchNow(fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, 0}))
		s.leave()
	})
}

// A second fetch of a session answers the one that is parked, so that no exchange is left behind.
func TestFetchSessionOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		session := s.fetchNow(fetchRequest(0, initialEpoch, 0, wanted{id, 0, 0})).SessionID
		first := s.start(fetchRequest(session, 1, time.Hour), fetchVersion)
		first.parked(t)
		second := s.start(fetchRequest(session, 2, time.Second), fetchVersion)
		if r := first.now(t).Fetch; r.ErrorCode != 0 || len(r.Topics) != 0 {
			t.Errorf("first: %+v", r)
		}
		second.parked(t)
		s.log(id, 0).append(1)
		synctest.Wait()
		r := second.now(t).Fetch
		if len(parts(r)) != 1 {
			t.Errorf("second: %+v", r)
		}
		release(r)
		s.nothingHeld()
		s.leave()
	})
}

// A full table makes room for a session only by one that has not been used for two minutes, or by a smaller one as old.
func TestFetchSessionEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, "max.incremental.fetch.session.cache.slots=2")
		id := s.topic("t", 3)
		open := func(n int) int32 {
			at := []wanted{{id, 0, 0}, {id, 1, 0}, {id, 2, 0}}[:n]
			return s.fetchNow(fetchRequest(0, initialEpoch, 0, at...)).SessionID
		}
		one, two := open(1), open(2)
		if open(3) != 0 {
			t.Error("a young session was evicted")
		}
		time.Sleep(evictionAge + time.Second)
		// Both used just now, so only size counts.
		s.fetchNow(fetchRequest(one, 1, 0))
		s.fetchNow(fetchRequest(two, 1, 0))
		if open(1) != 0 {
			t.Error("a session no smaller was evicted")
		}
		three := open(3)
		if three == 0 {
			t.Error("no old smaller session was evicted")
		}
		if r := s.fetchNow(fetchRequest(one, 2, 0)); r.ErrorCode != kerr.FetchSessionIDNotFound.Code {
			t.Error("the smallest was not the one")
		}
		time.Sleep(evictionAge + time.Second)
		s.fetchNow(fetchRequest(three, 1, 0))
		if open(1) == 0 {
			t.Error("an unused session was not evicted")
		}
		if r := s.fetchNow(fetchRequest(two, 2, 0)); r.ErrorCode != kerr.FetchSessionIDNotFound.Code {
			t.Error("the unused one was not the one")
		}
		s.leave()
	})
}

// A fetch of loading data waits for them; when another request comes behind it, it answers empty, and the next fetch has them.
func TestFetchCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 2)
		cold := s.log(id, 0)
		cold.append(10)
		cold.local = 5

		c := s.start(fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, 0}, wanted{id, 1, 0}), fetchVersion)
		synctest.Wait()
		c.parked(t)
		cold.load()
		synctest.Wait()
		r := c.now(t).Fetch
		if p := parts(r); p[0].Records.Len() == 0 {
			t.Error("loaded data were not sent")
		}
		release(r)

		// Ready data do not wait for loading ones.
		cold.loaded = false
		s.log(id, 1).append(1)
		r = s.fetchNow(fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, 0}, wanted{id, 1, 0}))
		if p := parts(r); p[0].Records.Len() != 0 || p[1].Records.Len() != unit {
			t.Errorf("%d and %d bytes", p[0].Records.Len(), p[1].Records.Len())
		}
		release(r)

		// Cold data go out without waiting for min bytes: they are all there is for now, and pin memory.
		cold.load()
		req := fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, 4})
		req.MinBytes = 1 << 19
		r = s.fetchNow(req)
		release(r)
		s.nothingHeld()
		s.leave()
	})
}

// A consumer whose partition cannot be read would be answered as fast as it asks, and asks again at once; or would not be told at once the first
// time, or after a seek; or not get what others of its partitions have, or what can be read again, without waiting.
func TestFetchFailsInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 2)
		broken := s.log(id, 0)
		broken.append(10)
		broken.fail = partition.ErrStorage
		expect := func(r *wire.FetchResponse, errors, bytes int) {
			t.Helper()
			for _, p := range parts(r) {
				if p.ErrorCode == kerr.KafkaStorageError.Code {
					errors--
				}
				bytes -= p.Records.Len()
			}
			if errors != 0 || bytes != 0 {
				t.Errorf("%d errors and %d bytes fewer than there are", errors, bytes)
			}
			release(r)
		}
		r := s.fetchNow(fetchRequest(0, initialEpoch, 500*time.Millisecond, wanted{id, 0, 0}, wanted{id, 1, 0}))
		session := r.SessionID
		expect(r, 1, 0)

		c := s.start(fetchRequest(session, 1, 500*time.Millisecond), fetchVersion)
		time.Sleep(499 * time.Millisecond)
		synctest.Wait()
		c.parked(t)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		expect(c.now(t).Fetch, 1, 0)

		c = s.start(fetchRequest(session, 2, time.Hour), fetchVersion)
		synctest.Wait()
		c.parked(t)
		s.log(id, 1).append(1)
		synctest.Wait()
		expect(c.now(t).Fetch, 1, unit)

		expect(s.fetchNow(fetchRequest(session, 3, time.Hour, wanted{id, 0, 1}, wanted{id, 1, 1})), 1, 0)

		c = s.start(fetchRequest(session, 4, time.Hour), fetchVersion)
		synctest.Wait()
		c.parked(t)
		broken.mu.Lock()
		broken.fail = nil
		broken.mu.Unlock()
		time.Sleep(failureAgain)
		synctest.Wait()
		expect(c.now(t).Fetch, 0, 9*unit)
		s.leave()
		synctest.Wait()
		s.nothingHeld()
	})
}

// A partition that moves away, is deleted, or comes back under a new id is told so by the right error.
func TestFetchTopicIdentity(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	session := s.fetchNow(fetchRequest(0, initialEpoch, 0, wanted{id, 0, 0})).SessionID
	s.propose1(command.DeleteTopic{ID: id})
	again := s.topic("t", 1)
	for epoch := int32(1); epoch < 3; epoch++ { // told until the client forgets it
		if p := parts(s.fetchNow(fetchRequest(session, epoch, 0))); len(p) != 1 || p[0].ErrorCode != kerr.UnknownTopicID.Code {
			t.Errorf("epoch %d: %+v", epoch, p)
		}
	}
	if p := parts(s.fetchNow(fetchRequest(0, finalEpoch, 0, wanted{again, 0, 0}, wanted{again, 1, 0}))); p[0].ErrorCode != 0 || p[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", p)
	}
	s.log(again, 0).change(func() { s.log(again, 0).epoch = -1 })
	p := parts(s.fetchNow(fetchRequest(0, finalEpoch, 0, wanted{again, 0, 0})))
	if p[0].ErrorCode != kerr.NotLeaderForPartition.Code || p[0].CurrentLeader == nil || p[0].CurrentLeader.LeaderID != 1 {
		t.Errorf("%+v", p)
	}
	// By name, the new incarnation is what counts.
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes = 1 << 20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = "t"
	rt.Partitions = append(rt.Partitions, kmsg.NewFetchRequestTopicPartition())
	req.Topics = append(req.Topics, rt)
	req.SessionEpoch = finalEpoch
	s.log(again, 0).change(func() { s.log(again, 0).epoch = 0 })
	if p := parts(s.start(req, 12).now(t).Fetch); p[0].ErrorCode != 0 {
		t.Errorf("by name: %+v", p)
	}
}

// An offset out of range is answered with where the log really begins and ends.
func TestFetchOutOfRange(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	l := s.log(id, 0)
	l.append(10)
	l.start = 5
	for _, from := range []kafka.Offset{0, 11} {
		p := parts(s.fetchNow(fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, from})))
		if p[0].ErrorCode != kerr.OffsetOutOfRange.Code || p[0].LogStartOffset != 5 || p[0].HighWatermark != 10 {
			t.Errorf("from %d: %+v", from, p[0])
		}
	}
}

// The first batch of the first partition with data goes out whole however small the limits; later ones stay within them.
func TestFetchLimits(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 3)
	for i := range int32(3) {
		s.log(id, i).append(5)
	}
	at := []wanted{{id, 0, 5}, {id, 1, 0}, {id, 2, 0}}
	size := func(maxBytes, partitionMax int32) (out []int) {
		req := fetchRequest(0, finalEpoch, 0, at...)
		req.MaxBytes = maxBytes
		for i := range req.Topics {
			req.Topics[i].Partitions[0].PartitionMaxBytes = partitionMax
		}
		r := s.fetchNow(req)
		for _, p := range parts(r) {
			if p.HighWatermark != 5 {
				t.Errorf("high watermark %d", p.HighWatermark)
			}
			out = append(out, p.Records.Len())
		}
		release(r)
		return out
	}
	for _, c := range []struct {
		max, partitionMax int32
		want              [3]int
	}{
		{1, 1, [3]int{0, unit, 0}},
		{0, 0, [3]int{0, unit, 0}},
		{-1, -1, [3]int{0, unit, 0}},
		{1 << 20, 1, [3]int{0, unit, 0}},
		{1 << 20, 2 * unit, [3]int{0, 2 * unit, 2 * unit}},
		{3 * unit, 2 * unit, [3]int{0, 2 * unit, unit}},
		{3*unit + 1, 1 << 20, [3]int{0, 3 * unit, 0}},
	} {
		if got := size(c.max, c.partitionMax); [3]int(got) != c.want {
			t.Errorf("max bytes %d, partition's %d: %v, want %v", c.max, c.partitionMax, got, c.want)
		}
	}
	s.nothingHeld()
}

// One busy partition does not starve the others of a session: with room for one batch a fetch, all are served in turn.
func TestFetchSessionFair(t *testing.T) {
	s := newHarness(t)
	const partitions = 4
	id := s.topic("t", partitions)
	var at []wanted
	for i := range int32(partitions) {
		s.log(id, i).append(1000)
		at = append(at, wanted{id, i, 0})
	}
	served := [partitions]int{}
	req := fetchRequest(0, initialEpoch, 0, at...)
	session := int32(0)
	for epoch := range int32(5 * partitions) {
		req.MaxBytes = unit
		r := s.fetchNow(req)
		session = max(session, r.SessionID)
		var next []wanted
		for _, p := range parts(r) {
			if p.Records.Len() > 0 {
				served[p.Partition]++
				next = append(next, wanted{id, p.Partition, kafka.Offset(served[p.Partition])})
			}
		}
		release(r)
		req = fetchRequest(session, epoch+1, 0, next...)
	}
	for i, n := range served {
		if n != 5 {
			t.Errorf("partition %d was served %d of %d times", i, n, 5*partitions)
		}
	}
	s.nothingHeld()
}

// A replica's fetch, and one of absurd size, are refused in every version's way.
func TestFetchRefused(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	for version := int16(4); version <= 18; version++ {
		req := fetchRequest(0, finalEpoch, time.Hour, wanted{id, 0, 0})
		req.Topics[0].Topic = "t"
		req.ReplicaID, req.ReplicaState.ID = 2, 2
		r := s.start(req, version).now(t).Fetch
		got := r.ErrorCode
		if version < 7 {
			got = parts(r)[0].ErrorCode
		}
		if got != kerr.InvalidRequest.Code {
			t.Errorf("v%d: error %d", version, got)
		}
	}
}

// What arrives between a read and the sleep that follows ends the sleep, or it never begins.
func TestFetchNewsAfterRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		id := s.topic("t", 1)
		l := s.log(id, 0)
		for i, epoch := range []int32{finalEpoch, initialEpoch} {
			l.afterRead = func() { l.append(1) } // before the first subscribes, after the second has
			c := s.start(fetchRequest(0, epoch, time.Hour, wanted{id, 0, kafka.Offset(i)}), fetchVersion)
			synctest.Wait()
			r := c.now(t).Fetch
			if p := parts(r); p[0].Records.Len() != unit {
				t.Errorf("%d bytes", p[0].Records.Len())
			}
			release(r)
		}
		s.nothingHeld()
		s.leave()
	})
}

// However appends and fetches race, no wake-up is lost: consumers that wait for minutes get everything at once. Run it with
// -race and -count for more.
func TestFetchLosesNoWakeUp(t *testing.T) {
	const records, partitions = 3000, 2
	for _, first := range []int32{finalEpoch, initialEpoch} {
		s := newHarness(t)
		id := s.topic("t", partitions)
		var produced sync.WaitGroup
		for i := range int32(partitions) {
			produced.Go(func() {
				for range records {
					s.log(id, i).append(1)
					runtime.Gosched()
				}
			})
		}
		deadline := time.After(time.Minute)
		at := []wanted{{id, 0, 0}, {id, 1, 0}}
		session, epoch, next := int32(0), first, at
		for at[0].from+at[1].from < records*partitions {
			c := s.start(fetchRequest(session, epoch, time.Hour, next...), fetchVersion)
			var r *wire.FetchResponse
			select {
			case reply := <-c.replies:
				r = reply.Fetch
			case <-deadline:
				t.Fatalf("still waiting at %d and %d of %d", at[0].from, at[1].from, records)
			}
			next = nil
			for _, p := range parts(r) {
				if p.Records.Len() > 0 || first == finalEpoch {
					at[p.Partition].from += kafka.Offset(p.Records.Len() / unit)
					next = append(next, at[p.Partition])
				}
			}
			release(r)
			if first == initialEpoch {
				session, epoch = r.SessionID, epoch+1
			}
		}
		produced.Wait()
		s.nothingHeld()
		s.leave()
	}
}

// A replica that is being added would be sent more than a throttle of its leader allows, or not be sent the rest when there is room
// again; or one that is in sync would be held back.
func TestFetchThrottled(t *testing.T) {
	const rate = 50 * unit
	synctest.Test(t, func(t *testing.T) {
		for _, session := range []int32{finalEpoch, initialEpoch} {
			s := newHarness(t)
			s.propose1(command.RegisterBroker{ID: 2, Incarnation: [16]byte{2}, Directory: [16]byte{2}})
			id := s.topic("t", 1)
			s.propose1(command.CreateTopic{ID: kafka.TopicID{2}, Name: "u", Partitions: [][]kafka.BrokerID{{1, 2}}})
			moving := kafka.Partition{Topic: id}
			p, _ := s.meta.Image().Partition(moving)
			s.propose1(command.AssignReplicas{Changes: []command.Assignment{{Partition: moving, Expected: p.PartitionEpoch, Target: []kafka.BrokerID{1, 2}}}})
			s.propose1(command.SetConfigs{Type: command.Broker, Set: map[string]string{"cluster.moves.max.bytes.per.second": fmt.Sprint(rate)}})
			s.Throttle = throttle.New(1, s.Config, s.meta.Image, time.Now)
			s.Throttle.Follow()
			s.peer.Peer = &wire.Peer{Node: 2}
			s.log(id, 0).append(1000)
			fetch := func(session, epoch int32, from ...wanted) *call {
				req := fetchRequest(session, epoch, 500*time.Millisecond, from...)
				req.ReplicaState.ID, req.ReplicaState.Epoch = 2, 99
				return s.start(req, fetchVersion)
			}
			began, got, open, epoch := time.Now(), 0, int32(0), session
			for time.Since(began) < 10*time.Second {
				c := fetch(open, epoch, wanted{id, 0, kafka.Offset(got)})
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				r := c.now(t).Fetch
				for _, p := range parts(r) {
					got += p.Records.Len() / unit
				}
				release(r)
				if session == initialEpoch {
					open, epoch = r.SessionID, nextEpoch(epoch)
				}
				if most := (time.Since(began)+time.Second).Seconds()*rate/unit + 1; float64(got) > most {
					t.Fatalf("%d batches after %s, at most %.0f were to be sent", got, time.Since(began), most)
				}
			}
			if got < 10*rate/unit*8/10 {
				t.Errorf("session %d: %d batches in ten seconds, at %d a second", session, got, rate/unit)
			}
			s.log(kafka.TopicID{2}, 0).append(1000)
			c := fetch(open, epoch, wanted{id, 0, kafka.Offset(got)}, wanted{kafka.TopicID{2}, 0, 0})
			synctest.Wait()
			r := c.now(t).Fetch
			if last := parts(r)[len(parts(r))-1]; last.Records.Len() != 1000*unit {
				t.Errorf("who is in sync was sent %d bytes", last.Records.Len())
			}
			release(r)
			s.nothingHeld()
			s.leave()
			time.Sleep(time.Second) // a timer may be left
		}
	})
}
