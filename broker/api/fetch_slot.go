package api

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/throttle"
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

	leader readable
	led    leader // the same, where a follower fetches
	cancel func() // of the subscription; nil without one
	// used: part of the fetch. News of a slot that no longer is are dropped.
	used   bool
	queued bool // in the fetcher's ready queue

	// The last read's outcome; meaningful while held.
	held    bool // in the fetcher's answer, and result.Run is ours to release
	result  partition.ReadResult
	err     error
	loading bool
	near    kafka.BrokerID // where the consumer is sent; kafka.NoBroker: nowhere
	refused error          // of a replica: why its position was not taken
	limit   throttle.Limit // of a replica: what bounds what it is sent
	waits   atomic.Bool    // for its throttle, see wait

	// What a session's client was last told; -1 (hw) to be told in any case.
	sentHighWatermark, sentLogStart kafka.Offset
	// sentFailure: a session's consumer was last told that the storage fails here, and asks on. It is told again, but not at once.
	sentFailure bool

	// told: news of the slot are on the fetcher's list, or about to be. Whoever takes it from notTold puts the slot there.
	told     atomic.Int32
	nextNews *slot  // guarded by the fetcher's newsMu
	ready    func() // s.tell, made once
	named    bool   // by the request, and not yet reported (replicas)
}

// What a slot was told.
const (
	notTold = iota
	quietly // what is worth telling when the fetch is answered, and no reason to answer it
	aloud
)

func newSlot(f *fetcher) *slot {
	s := &slot{f: f, near: kafka.NoBroker}
	s.ready = s.tell
	return s
}

// want sets what the client asks for.
func (s *slot) want(key slotKey, version int16, p *kmsg.FetchRequestTopicPartition) {
	if kafka.Offset(p.FetchOffset) != s.from {
		s.sentFailure = false
	}
	s.key, s.used, s.named = key, true, true
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
	was := s.told.Swap(aloud)
	if was == aloud {
		return // on the list already, and its reader has not come by
	}
	s.note(was == notTold)
}

// note puts the slot on the list if it is not there, and wakes the fetch if that was meant aloud.
func (s *slot) note(list bool) {
	s.f.newsMu.Lock()
	if list {
		s.nextNews, s.f.news = s.f.news, s
	}
	wake := s.f.asleep && s.told.Load() == aloud
	if wake {
		s.f.asleep = false
	}
	s.f.newsMu.Unlock()
	if wake {
		go s.f.awake()
	}
}

// later hears, for a replica, that its partition's high watermark has moved: the next answer tells it, whenever that goes out.
type later struct{ s *slot }

// Advanced implements partition.Listener.
func (l later) Advanced(*partition.Partition) {
	if l.s.told.CompareAndSwap(notTold, quietly) {
		l.s.note(true)
	}
}

// resolve finds the partition's leader here.
func (s *slot) resolve(h *Handler, m *image.Image, byID bool) error {
	var t *image.Topic
	var err error
	switch {
	case s.f.replica != nil: // by id, and none of what only readers are shown
		if t, err = topicWithID(m, s.key.id); err == nil {
			if s.led, err = h.leading(t, s.key.index); err == nil {
				s.leader = s.led
			}
		}
		return err
	case byID:
		t, err = h.readableWithID(m, s.key.id)
	default:
		t, err = h.readableNamed(m, s.key.name)
	}
	if err == nil {
		s.leader, err = h.reading(t, s.key.index)
	}
	return err
}

// subscribe makes the slot hear of its partition until unsubscribe.
func (s *slot) subscribe() {
	switch {
	case s.cancel != nil || s.leader == nil:
	case s.f.replica != nil:
		appends, watermarks := s.led.SubscribeAppends(s), s.led.Subscribe(later{s})
		s.cancel = func() { appends(); watermarks() }
	default:
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
	s.leader, s.led, s.used, s.key = nil, nil, false, slotKey{}
	s.sentHighWatermark, s.sentLogStart, s.sentFailure = -1, -1, false
	s.loading, s.limit = false, throttle.Limit{}
}

// drop releases what was read.
func (s *slot) drop() {
	if s.held {
		s.result.Run.Release()
		s.result, s.err, s.held, s.near = partition.ReadResult{}, nil, false, kafka.NoBroker
	}
}

// read reads at most maxBytes, and whatever a first batch needs beyond that.
func (s *slot) read(maxBytes int, committed bool, stream any) {
	s.result, s.err = s.leader.Read(partition.ReadRequest{
		From: s.from, CurrentEpoch: s.currentEpoch, LastFetchedEpoch: s.lastFetchedEpoch,
		MaxBytes: maxBytes, Committed: committed, Stream: stream, Ready: s.ready,
		Replica: s.f.replica != nil, Near: s.f.replica == nil && s.f.x.Version >= fetchRackVersion,
	})
	if s.err == nil && s.refused != nil {
		s.result.Run.Release()
		s.result.Run, s.err = emptyRun, s.refused
	}
	s.held, s.loading = true, s.err == nil && s.result.Loading
}

// stale tells whether the partition has moved since it was read. Used once the slot is subscribed: what moved before would
// otherwise be missed.
func (s *slot) stale(committed bool) bool {
	l, r := s.leader, &s.result
	if l == nil {
		return false
	}
	if s.f.replica != nil {
		return s.led.LocalEnd() > s.from && r.Run.Len() == 0 || l.CheckEpoch(s.currentEpoch) != nil
	}
	return l.HighWatermark() != r.HighWatermark || l.LogStart() != r.LogStart ||
		committed && l.LastStable() != r.LastStable || l.CheckEpoch(s.currentEpoch) != nil && s.currentEpoch >= 0
}

// urgent tells whether the client must hear of the slot now, data or not.
func (s *slot) urgent() bool {
	return s.err != nil && !s.stillFails() || s.result.Diverging != nil || s.near != kafka.NoBroker
}

// failureAgain is how long after a read that failed, as the client knows, it is tried again for a fetch that waits: as long as the cold
// reader keeps a failure.
const failureAgain = time.Second

// stillFails tells whether the storage fails as the consumer was told: clients ask again at once, thousands of times a second, when
// they are answered at once.
func (s *slot) stillFails() bool {
	return s.sentFailure && s.err != nil && s.code() == kerr.KafkaStorageError.Code
}

// changed tells whether an incremental answer has to include the slot (KIP-227).
func (s *slot) changed() bool {
	return s.urgent() || s.err != nil || s.result.Run.Len() > 0 ||
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
