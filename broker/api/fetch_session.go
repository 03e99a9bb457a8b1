package api

import (
	"container/list"
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// Fetch sessions (KIP-227): the broker remembers which partitions a consumer fetches and from where, so that a request names
// only what changed, and a reply holds only what has news.
//
//	epoch  0   full fetch; opens a session if there is room (session id of the reply ≠ 0)
//	epoch -1   full fetch without a session; closes the one it names
//	epoch  n   incremental; must be the number of the session's fetches so far, 1, 2, … wrapping to 1
//
// Errors: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR (names against ids). The client
// answers each with a full fetch.
const (
	initialEpoch = 0
	finalEpoch   = -1
)

// nextEpoch follows epoch, skipping the two that have a meaning of their own.
func nextEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// session is one fetch session. Guarded by its fetcher's mu, but what the table guards.
type session struct {
	id      int32
	created time.Time
	f       *fetcher
	byID    bool // topics are named by id
	slots   map[slotKey]*slot
	epoch   int32 // that the next request must have
	closed  bool

	// Guarded by the table's mu.
	lastUsed time.Time
	size     int           // number of slots, as of the last fetch
	age      *list.Element // in the table's order of use
	unwatch  func() bool   // stops watching for the connection's end
}

// sessions is the table of fetch sessions, bounded by max.incremental.fetch.session.cache.slots. When it is full, a new
// session takes the place of one not used for evictionAge, or else of a smaller one that is older than that (KIP-227); with
// neither, the fetch goes without. A session ends with the connection that opened it.
type sessions struct {
	limit int

	mu    sync.Mutex
	table map[int32]*session
	order *list.List // of *session, the least recently used first
	total int        // of the sessions' sizes
}

// maxSessionPartitions bounds the partitions that all sessions remember together, some 300 bytes each. Beyond it clients
// fetch without a session.
const maxSessionPartitions = 1_000_000

// evictionAge is Kafka's min.incremental.fetch.session.eviction.ms.
const evictionAge = 2 * time.Minute

func newSessions(limit int) *sessions {
	return &sessions{limit: limit, table: map[int32]*session{}, order: list.New()}
}

// open makes room and a session for a full fetch; nil when there is no room or nothing to remember.
func (t *sessions) open(h *Handler, x *wire.Exchange, req *kmsg.FetchRequest) *session {
	size := 0
	for i := range req.Topics {
		size += len(req.Topics[i].Partitions)
	}
	if size == 0 || t.limit <= 0 {
		return nil
	}
	now := time.Now()
	s := &session{
		created: now, lastUsed: now, size: size, epoch: 1, byID: x.Version >= fetchTopicIDVersion,
		f: newFetcher(h), slots: make(map[slotKey]*slot, size),
	}
	s.f.session = s
	s.f.replica = replicaOf(x, req)
	t.mu.Lock()
	if t.total+size > maxSessionPartitions {
		t.mu.Unlock()
		return nil
	}
	var evicted *session
	if len(t.table) >= t.limit {
		if evicted = t.evictable(now, size); evicted == nil {
			t.mu.Unlock()
			return nil
		}
		t.remove(evicted)
	}
	for s.id == 0 || t.table[s.id] != nil {
		s.id = rand.Int32N(math.MaxInt32)
	}
	t.table[s.id] = s
	t.total += size
	s.age = t.order.PushBack(s)
	t.mu.Unlock()
	if evicted != nil {
		evicted.end()
	}
	stop := context.AfterFunc(gone(x), func() { t.close(s.id) })
	t.mu.Lock()
	s.unwatch = stop
	t.mu.Unlock()
	return s
}

// evictable finds the session that a new one of the given size may displace. mu is held.
func (t *sessions) evictable(now time.Time, size int) *session {
	if oldest := t.order.Front().Value.(*session); now.Sub(oldest.lastUsed) > evictionAge {
		return oldest
	}
	var smallest *session
	for e := t.order.Front(); e != nil; e = e.Next() {
		s := e.Value.(*session)
		if now.Sub(s.created) > evictionAge && s.size < size && (smallest == nil || s.size < smallest.size) {
			smallest = s
		}
	}
	return smallest
}

// remove takes a session out of the table. mu is held; the caller ends it afterwards.
func (t *sessions) remove(s *session) {
	delete(t.table, s.id)
	t.total -= s.size
	t.order.Remove(s.age)
	if s.unwatch != nil {
		s.unwatch()
	}
}

// get finds a session and notes its use.
func (t *sessions) get(id int32) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.table[id]
	if s != nil {
		s.lastUsed = time.Now()
		t.order.MoveToBack(s.age)
	}
	return s
}

// all lists the sessions.
func (t *sessions) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.table))
}

// fits tells whether sessions may remember so many more partitions.
func (t *sessions) fits(more int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total+more <= maxSessionPartitions
}

// resize notes how many partitions a session has, if it has not ended meanwhile.
func (t *sessions) resize(s *session, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table[s.id] == s {
		t.total += size - s.size
		s.size = size
	}
}

// close ends a session, if it is there.
func (t *sessions) close(id int32) {
	t.mu.Lock()
	s := t.table[id]
	if s != nil {
		t.remove(s)
	}
	t.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// end answers the fetch in progress and lets go of the partitions.
func (s *session) end() {
	s.f.mu.Lock()
	out := s.f.answerNow()
	s.closed = true
	s.f.ready.clear()
	for _, slot := range s.slots {
		slot.leave()
	}
	s.slots = nil
	s.f.mu.Unlock()
	out.send()
}

// fetchFull is the session's first fetch; false when the session has already ended.
func (s *session) fetchFull(x *wire.Exchange, req *kmsg.FetchRequest) bool {
	f := s.f
	f.mu.Lock()
	if s.closed {
		f.mu.Unlock()
		return false
	}
	eachWanted(x.Version, req, func(key slotKey, p *kmsg.FetchRequestTopicPartition) {
		if slot := s.want(key, x.Version, p); slot != nil {
			f.slots = append(f.slots, slot)
			f.n++
		}
	})
	f.begin(x, req, true)
	out := f.run()
	f.mu.Unlock()
	out.send()
	return true
}

// want adds or changes a partition; it returns the slot when it is new.
func (s *session) want(key slotKey, version int16, p *kmsg.FetchRequestTopicPartition) *slot {
	old := s.slots[key]
	slot := old
	if slot == nil {
		slot = newSlot(s.f)
		slot.sentHighWatermark, slot.sentLogStart = -1, -1
		s.slots[key] = slot
	}
	slot.want(key, version, p)
	s.f.ready.push(slot)
	if old != nil {
		return nil
	}
	return slot
}

// fetchIncremental is a later fetch of a session.
func (h *Handler) fetchIncremental(x *wire.Exchange, req *kmsg.FetchRequest) {
	s := h.sessions.get(req.SessionID)
	more := 0
	for i := range req.Topics {
		more += len(req.Topics[i].Partitions)
	}
	if s != nil && more > 0 && !h.sessions.fits(more) {
		h.sessions.close(s.id) // the client begins again, and goes without
		s = nil
	}
	if s == nil {
		h.refuseFetch(x, req, errNoSession)
		return
	}
	f := s.f
	f.mu.Lock()
	if err := s.admits(x, req, more); err != nil {
		f.mu.Unlock()
		h.refuseFetch(x, req, err)
		return
	}
	earlier := f.answerNow() // a fetch of the same session that is still parked
	eachWanted(x.Version, req, func(key slotKey, p *kmsg.FetchRequestTopicPartition) { s.want(key, x.Version, p) })
	s.forget(x.Version, req)
	s.epoch = nextEpoch(s.epoch)
	size := len(s.slots)
	if size > 0 {
		f.begin(x, req, false)
		out := f.run()
		f.mu.Unlock()
		h.sessions.resize(s, size)
		earlier.send()
		out.send()
		return
	}
	f.mu.Unlock()
	earlier.send()
	h.sessions.close(s.id) // nothing is left of it
	x.Reply(wire.Reply{Fetch: &wire.FetchResponse{Version: x.Version}})
}

var (
	errNoSession    = refuse(kerr.FetchSessionIDNotFound, "no such fetch session")
	errSessionEpoch = refuse(kerr.InvalidFetchSessionEpoch, "fetch session epoch is not the next one")
	errSessionIDs   = refuse(kerr.FetchSessionTopicIDError, "fetch session names topics the other way")
	errSessionSize  = refuse(kerr.InvalidRequest, "more than %d partitions in one fetch session", maxFetchPartitions)
)

// admits tells whether the request, which names so many more partitions, is the session's next. mu is held.
func (s *session) admits(x *wire.Exchange, req *kmsg.FetchRequest, more int) error {
	switch {
	case s.closed:
		return errNoSession
	case req.SessionEpoch != s.epoch:
		return errSessionEpoch
	case !sameReplica(s.f.replica, replicaOf(x, req)):
		return errNoSession // a replica's session shows what is not committed yet
	case s.byID != (x.Version >= fetchTopicIDVersion):
		return errSessionIDs
	case len(s.slots)+more > 2*maxFetchPartitions:
		return errSessionSize
	}
	return nil
}

// forget drops the partitions that the client no longer fetches. mu is held.
func (s *session) forget(version int16, req *kmsg.FetchRequest) {
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		key := keyOf(version, t.Topic, t.TopicID)
		for _, key.index = range t.Partitions {
			if slot := s.slots[key]; slot != nil {
				delete(s.slots, key)
				slot.leave() // the queue may still hold it: it is skipped there
			}
		}
	}
}
