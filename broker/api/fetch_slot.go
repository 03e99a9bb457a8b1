package api

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// slotKey names a partition as the request does: by topic id from v13, else by name.
type slotKey struct {
	name  string
	id    kafka.TopicID
	index int32
}

// slot is one partition of a fetch: what the client wants of it, and what was last read. It belongs to one fetcher for ever
// (sessionless fetchers are pooled with their slots). Its fields are guarded by the fetcher's mu, but told and nextNews.
type slot struct {
	f   *fetcher
	key slotKey

	// What the client asked for.
	from             kafka.Offset
	maxBytes         int32
	currentEpoch     kafka.LeaderEpoch
	lastFetchedEpoch kafka.LeaderEpoch

	leader leader
	cancel func() // of the subscription; nil without one
	// used: part of the fetch. News of a slot that no longer is are dropped.
	used   bool
	queued bool // in the fetcher's ready queue

	// The last read's outcome; meaningful while held.
	held    bool // in the fetcher's answer, and result.Run is ours to release
	result  partition.ReadResult
	err     error
	loading bool

	// What a session's client was last told; -1 (hw) to be told in any case.
	sentHighWatermark, sentLogStart kafka.Offset

	// told: news of the slot are on the fetcher's list, or about to be. Whoever sets it puts the slot there.
	told     atomic.Bool
	nextNews *slot  // guarded by the fetcher's newsMu
	ready    func() // s.tell, made once
}

func newSlot(f *fetcher) *slot {
	s := &slot{f: f}
	s.ready = s.tell
	return s
}

// want sets what the client asks for.
func (s *slot) want(key slotKey, version int16, p *kmsg.FetchRequestTopicPartition) {
	s.key, s.used = key, true
	s.from, s.maxBytes = kafka.Offset(p.FetchOffset), p.PartitionMaxBytes
	s.currentEpoch, s.lastFetchedEpoch = kafka.NoEpoch, kafka.NoEpoch
	if version >= 9 {
		s.currentEpoch = kafka.LeaderEpoch(p.CurrentLeaderEpoch)
	}
	if version >= 12 {
		s.lastFetchedEpoch = kafka.LeaderEpoch(p.LastFetchedEpoch)
	}
}

// Advanced implements partition.Listener.
func (s *slot) Advanced(*partition.Partition) { s.tell() }

// tell puts the slot on its fetcher's list of news, once, and wakes the fetch if it is parked. It takes no lock but a leaf
// one and never blocks: partitions call it in the middle of a produce.
func (s *slot) tell() {
	if s.told.Swap(true) {
		return // on the list already, and its reader has not come by
	}
	s.f.newsMu.Lock()
	s.nextNews, s.f.news = s.f.news, s
	wake := s.f.asleep
	s.f.asleep = false
	s.f.newsMu.Unlock()
	if wake {
		go s.f.awake()
	}
}

// resolve finds the partition's leader here.
func (s *slot) resolve(h *Handler, m *image.Image, byID bool) error {
	var t *image.Topic
	var err error
	if byID {
		t, err = topicWithID(m, s.key.id)
	} else {
		t, err = topicNamed(m, s.key.name)
	}
	if err != nil {
		return err
	}
	s.leader, err = h.leading(t, s.key.index)
	return err
}

// subscribe makes the slot hear of its partition until unsubscribe.
func (s *slot) subscribe() {
	if s.cancel == nil && s.leader != nil {
		s.cancel = s.leader.Subscribe(s)
	}
}

func (s *slot) unsubscribe() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
}

// leave lets go of everything that the slot has; it may be used anew.
func (s *slot) leave() {
	s.unsubscribe()
	s.drop()
	s.leader, s.used, s.key = nil, false, slotKey{}
	s.sentHighWatermark, s.sentLogStart = -1, -1
	s.loading = false
}

// drop releases what was read.
func (s *slot) drop() {
	if s.held {
		s.result.Run.Release()
		s.result, s.err, s.held = partition.ReadResult{}, nil, false
	}
}

// read reads at most maxBytes, and whatever a first batch needs beyond that.
func (s *slot) read(maxBytes int, committed bool, stream any) {
	s.result, s.err = s.leader.Read(partition.ReadRequest{
		From: s.from, CurrentEpoch: s.currentEpoch, LastFetchedEpoch: s.lastFetchedEpoch,
		MaxBytes: maxBytes, Committed: committed, Stream: stream, Ready: s.ready,
	})
	s.held, s.loading = true, s.err == nil && s.result.Loading
}

// stale tells whether the partition has moved since it was read. Used once the slot is subscribed: what moved before would
// otherwise be missed.
func (s *slot) stale(committed bool) bool {
	l, r := s.leader, &s.result
	if l == nil {
		return false
	}
	return l.HighWatermark() != r.HighWatermark || l.LogStart() != r.LogStart ||
		committed && l.LastStable() != r.LastStable || l.CheckEpoch(s.currentEpoch) != nil
}

// urgent tells whether the client must hear of the slot now, data or not.
func (s *slot) urgent() bool { return s.err != nil || s.result.Diverging != nil }

// changed tells whether an incremental answer has to include the slot (KIP-227).
func (s *slot) changed() bool {
	return s.urgent() || s.result.Run.Len() > 0 ||
		s.result.HighWatermark != s.sentHighWatermark || s.result.LogStart != s.sentLogStart
}

// code of what the read ended with. Errors without a decision are storage's: clients retry those.
func (s *slot) code() int16 {
	if s.err == nil {
		return 0
	}
	if c := known(s.err); c != nil {
		return c.Code
	}
	return kerr.KafkaStorageError.Code
}
