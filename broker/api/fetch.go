package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Fetch (key 1, v4-18).
//
//   - Sessions (KIP-227, fetch_session.go): an incremental fetch costs what changed. By name, from v13 by topic id (KIP-516).
//   - Waits up to max wait for min bytes, parked on a timer and on the partitions' news (fetch_fetcher.go). Stays within max
//     bytes and each partition's; but the first batch of the first partition with data goes out whole, however large, or a
//     consumer would never get past it.
//   - An error, a truncation to report (v12, KIP-595) and cold data go out at once. That the storage fails (KAFKA_STORAGE_ERROR) goes out at
//     once the first time, and then waits as a partition does that has nothing new. Cold data that is still loading holds nothing up: what is
//     ready goes out, the rest is loaded for the next fetch. A fetch that has only such partitions waits for them, and answers empty as soon
//     as another request waits behind it.
//   - read_committed stops at the last stable offset, and lists the aborted transactions in what it returns by first offset.
//   - v12+ hints at the real leader, v16+ with its address (KIP-951).
//   - Replicas fetch on connections between brokers only (fetch_replica.go); anyone else's replica id → INVALID_REQUEST.
//   - A consumer that says in which rack it is (v11) is sent to a replica there, which serves it up to the high watermark as far
//     as it knows it (KIP-392).

const (
	fetchSessionVersion  = 7
	fetchTopicIDVersion  = 13
	fetchStateVersion    = 15 // the replica id moves into ReplicaState
	fetchEndpointVersion = 16
)

var emptyRun batch.Run

func (h *Handler) fetch(x *wire.Exchange) {
	req := x.Request.(*kmsg.FetchRequest)
	if err := h.checkFetch(x, req); err != nil {
		h.refuseFetch(x, req, err)
		return
	}
	h.expectFetch(x, req)
	epoch := req.SessionEpoch
	id := req.SessionID
	if x.Version < fetchSessionVersion {
		id, epoch = 0, finalEpoch
	}
	if epoch != initialEpoch && epoch != finalEpoch {
		h.fetchIncremental(x, req)
		return
	}
	if id != 0 {
		h.sessions.close(id)
	}
	if epoch == initialEpoch {
		if s := h.sessions.open(h, x, req); s != nil && s.fetchFull(x, req) {
			return
		}
	}
	h.fetchOnce(x, req)
}

// checkFetch refuses what no fetch may ask for.
func (h *Handler) checkFetch(x *wire.Exchange, req *kmsg.FetchRequest) error {
	if err := h.checkReplica(x, req); err != nil {
		return err
	}
	if req.IsolationLevel < 0 || req.IsolationLevel > 1 {
		return refuse(kerr.InvalidRequest, "isolation level %d is none: 0 is read_uncommitted, 1 read_committed", req.IsolationLevel)
	}
	total := 0
	for i := range req.Topics {
		total += len(req.Topics[i].Partitions)
	}
	if total > maxFetchPartitions {
		return refuse(kerr.InvalidRequest, "more than %d partitions in one fetch", maxFetchPartitions)
	}
	return nil
}

// refuseFetch answers with an error: for the whole request, or before v7, which had no place for that, for each partition.
func (h *Handler) refuseFetch(x *wire.Exchange, req *kmsg.FetchRequest, err error) {
	resp := &wire.FetchResponse{Version: x.Version}
	if x.Version >= fetchSessionVersion {
		resp.ErrorCode = code(err)
		x.Reply(wire.Reply{Fetch: resp})
		return
	}
	resp.Topics = make([]wire.FetchTopic, len(req.Topics))
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]wire.FetchPartition, len(t.Partitions))
		for j := range t.Partitions {
			rt.Partitions[j] = wire.FetchPartition{
				Partition: t.Partitions[j].Partition, ErrorCode: code(err),
				HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, PreferredReadReplica: -1,
			}
		}
	}
	x.Reply(wire.Reply{Fetch: resp})
}

// fetchOnce is a fetch without a session.
func (h *Handler) fetchOnce(x *wire.Exchange, req *kmsg.FetchRequest) {
	f := h.fetchers.Get().(*fetcher)
	f.mu.Lock()
	f.replica = replicaOf(x, req)
	eachWanted(x.Version, req, func(key slotKey, p *kmsg.FetchRequestTopicPartition) {
		if f.n == len(f.slots) {
			f.slots = append(f.slots, newSlot(f))
		}
		s := f.slots[f.n]
		f.n++
		s.want(key, x.Version, p)
		f.ready.push(s)
	})
	f.begin(x, req, true)
	out := f.run()
	f.mu.Unlock()
	out.send()
}

// eachWanted calls do for every partition of a request.
func eachWanted(version int16, req *kmsg.FetchRequest, do func(slotKey, *kmsg.FetchRequestTopicPartition)) {
	for i := range req.Topics {
		t := &req.Topics[i]
		key := keyOf(version, t.Topic, t.TopicID)
		for j := range t.Partitions {
			key.index = t.Partitions[j].Partition
			do(key, &t.Partitions[j])
		}
	}
}

// keyOf names a topic's partitions as the version does.
func keyOf(version int16, name string, id kafka.TopicID) slotKey {
	if version >= fetchTopicIDVersion {
		return slotKey{id: id}
	}
	return slotKey{name: name}
}

// respond makes the answer from the slots held, and passes their runs on to it.
func (f *fetcher) respond() *wire.FetchResponse {
	resp := &wire.FetchResponse{Version: f.x.Version}
	slots := f.answer
	if f.all {
		slots = f.slots[:f.n]
	} else {
		slots = f.keepChanged(slots)
	}
	if f.session != nil {
		resp.SessionID = f.session.id
	}
	parts := make([]wire.FetchPartition, len(slots))
	topics := 0
	for i, s := range slots {
		if i == 0 || !sameTopic(s, slots[i-1]) {
			topics++
		}
		f.fill(&parts[i], s, resp)
	}
	resp.Topics = make([]wire.FetchTopic, 0, topics)
	for i := 0; i < len(slots); {
		next := i + 1
		for next < len(slots) && sameTopic(slots[i], slots[next]) {
			next++
		}
		resp.Topics = append(resp.Topics, wire.FetchTopic{
			Topic: slots[i].key.name, TopicID: slots[i].key.id, Partitions: parts[i:next:next],
		})
		i = next
	}
	return resp
}

func sameTopic(a, b *slot) bool { return a.key.id == b.key.id && a.key.name == b.key.name }

// keepChanged filters, in place, the slots that an incremental answer includes; the others' reads are forgotten.
func (f *fetcher) keepChanged(slots []*slot) []*slot {
	kept := slots[:0]
	for _, s := range slots {
		if s.changed() {
			kept = append(kept, s)
		} else {
			s.drop()
		}
	}
	return kept
}

// fill writes one partition's part of the answer. Its slot no longer holds anything; in a session it is queued again when it
// had data, or an error, which is told until it is mended.
func (f *fetcher) fill(p *wire.FetchPartition, s *slot, resp *wire.FetchResponse) {
	r := &s.result
	if !s.held { // no room was left to read it
		f.look(s)
	}
	*p = wire.FetchPartition{
		Partition: s.key.index, ErrorCode: s.code(), PreferredReadReplica: int32(s.near),
		HighWatermark: r.HighWatermark, LastStableOffset: r.LastStable, LogStartOffset: r.LogStart,
		Records: r.Run,
	}
	f.traceSlot(s, p)
	if f.committed {
		p.Aborted = abortedTxns(r.Aborted)
	}
	if r.Diverging != nil {
		d := kmsg.NewFetchResponseTopicPartitionDivergingEpoch()
		d.Epoch, d.EndOffset = int32(r.Diverging.Epoch), int64(r.Diverging.End)
		p.DivergingEpoch = &d
	}
	if n := r.Run.Len(); n > 0 && s.leader != nil {
		s.leader.Served(n, r.Cold, f.replica != nil)
	}
	s.limit.Spend(r.Run.Len())
	s.sentHighWatermark, s.sentLogStart = r.HighWatermark, r.LogStart
	s.sentFailure = f.session != nil && f.replica == nil && p.ErrorCode == kerr.KafkaStorageError.Code
	if s.err != nil {
		s.sentHighWatermark = -1
		f.hint(p, s, resp)
	}
	if f.session != nil && (s.err != nil || r.Run.Len() > 0 || r.Diverging != nil) {
		f.ready.push(s)
	}
	s.result, s.err, s.held, s.near = partition.ReadResult{}, nil, false, kafka.NoBroker
}

// look tells what there is to tell of a partition without reading it.
func (f *fetcher) look(s *slot) {
	r := &s.result
	r.HighWatermark, r.LastStable, r.LogStart = -1, -1, -1
	if s.leader == nil {
		s.err = s.resolve(f.h, f.h.quorum.Image(), f.byID())
	}
	if s.err == nil {
		s.err = s.leader.CheckEpoch(s.currentEpoch)
	}
	if s.err == nil {
		r.HighWatermark, r.LastStable, r.LogStart = s.leader.HighWatermark(), s.leader.LastStable(), s.leader.LogStart()
	}
}

var noAborted = []wire.AbortedTxn{}

// abortedTxns is what a read_committed client is told of the aborted transactions in what it gets.
func abortedTxns(list []partition.AbortedTxn) []wire.AbortedTxn {
	if len(list) == 0 {
		return noAborted
	}
	told := make([]wire.AbortedTxn, len(list))
	for i, a := range list {
		told[i] = wire.AbortedTxn{Producer: a.Producer, First: a.First}
	}
	return told
}

// hint adds KIP-951's leader hint where this broker is not, or no longer, the leader.
func (f *fetcher) hint(p *wire.FetchPartition, s *slot, resp *wire.FetchResponse) {
	if f.x.Version < 12 || p.ErrorCode != kerr.NotLeaderForPartition.Code && p.ErrorCode != kerr.FencedLeaderEpoch.Code {
		return
	}
	m := f.h.quorum.Image()
	id := s.key.id
	if !f.byID() {
		t, ok := m.TopicByName(s.key.name)
		if !ok {
			return
		}
		id = t.ID
	}
	ip, ok := m.Partition(kafka.Partition{Topic: id, Index: s.key.index})
	if !ok || ip.Leader == kafka.NoBroker {
		return
	}
	c := kmsg.NewFetchResponseTopicPartitionCurrentLeader()
	c.LeaderID, c.LeaderEpoch = int32(ip.Leader), int32(ip.LeaderEpoch)
	p.CurrentLeader = &c
	if f.x.Version >= fetchEndpointVersion {
		resp.NodeEndpoints = hintFetchBroker(m, listener(f.x), ip.Leader, resp.NodeEndpoints)
	}
}

// hintFetchBroker adds a broker's address to the hints, once.
func hintFetchBroker(m *image.Image, w way, id kafka.BrokerID, hints []kmsg.FetchResponseBroker) []kmsg.FetchResponseBroker {
	for i := range hints {
		if hints[i].NodeID == int32(id) {
			return hints
		}
	}
	b, ok := m.Broker(id)
	if !ok {
		return hints
	}
	host, port, ok := endpoint(b, w)
	if !ok {
		return hints
	}
	hint := kmsg.NewFetchResponseBroker()
	hint.NodeID, hint.Host, hint.Port, hint.Rack = int32(id), host, port, rack(b)
	return append(hints, hint)
}
