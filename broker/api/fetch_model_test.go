package api

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// told is what a client that follows a session knows of one partition.
type told struct {
	position kafka.Offset
	high     kafka.Offset
	start    kafka.Offset
}

// sessionModel is a client with one fetch session, beside what the broker really has.
type sessionModel struct {
	s       *harness
	topics  []kafka.TopicID
	session int32
	epoch   int32
	knows   map[wanted]*told // by topic and index; from is 0
	moved   map[wanted]bool  // positions that the next request has to name
	fresh   map[wanted]bool  // subscribed, not yet in the session
	gone    map[wanted]*told // to be forgotten by the next request
}

const modelPartitions = 2

// Whatever partitions do between them, incremental fetches tell a client all it would learn from full ones: what an answer
// leaves out is as it was told before, what it includes begins where the client stands, and in the end everything arrives.
func TestFetchSessionModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &sessionModel{s: newHarness(t), knows: map[wanted]*told{}, moved: map[wanted]bool{}, fresh: map[wanted]bool{}, gone: map[wanted]*told{}}
		defer m.s.leave()
		for _, name := range []string{"a", "b"} {
			id := m.s.topic(name, modelPartitions)
			m.topics = append(m.topics, id)
			for i := range int32(modelPartitions) {
				m.subscribe(wanted{topic: id, index: i})
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) { m.any(rt).append(rapid.IntRange(1, 5).Draw(rt, "n")) },
			"append to all": func(*rapid.T) {
				for _, id := range m.topics {
					for i := range int32(modelPartitions) {
						m.s.log(id, i).append(2)
					}
				}
			},
			"trim": func(rt *rapid.T) {
				l := m.any(rt)
				l.change(func() { l.start = kafka.Offset(rapid.IntRange(int(l.start), int(l.high)).Draw(rt, "start")) })
			},
			"resign": func(rt *rapid.T) {
				l := m.any(rt)
				l.change(func() { l.epoch = -1 - l.epoch })
			},
			"recreate": func(rt *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(rt, "topic")
				m.s.propose1(command.DeleteTopic{ID: m.topics[i]})
				m.topics[i] = m.s.topic([]string{"a", "b"}[i], modelPartitions)
			},
			"subscribe": func(rt *rapid.T) {
				if p := m.partition(rt); m.knows[p] == nil {
					m.subscribe(p)
				}
			},
			"unsubscribe": func(rt *rapid.T) {
				p := m.partition(rt)
				if m.knows[p] != nil {
					m.drop(p)
				}
			},
			"close":           func(*rapid.T) { m.s.sessions.close(m.session) },
			"refuse":          func(rt *rapid.T) { m.wrongEpoch(rt) },
			"fetch with room": func(rt *rapid.T) { m.fetch(rt, 1<<20) },
			"fetch":           func(rt *rapid.T) { m.fetch(rt, rapid.IntRange(0, 6*unit).Draw(rt, "room")) },
		})
		m.drain(rt)
		m.s.sessions.close(m.session)
		m.s.nothingHeld()
		for _, l := range m.s.every {
			if l.subscribers() != 0 {
				rt.Fatalf("%v has subscribers left", l.id)
			}
		}
	})
}

func (m *sessionModel) partition(rt *rapid.T) wanted {
	return wanted{topic: rapid.SampledFrom(m.topics).Draw(rt, "topic"), index: int32(rapid.IntRange(0, modelPartitions-1).Draw(rt, "index"))}
}

func (m *sessionModel) any(rt *rapid.T) *fakeLog {
	p := m.partition(rt)
	return m.s.log(p.topic, p.index)
}

func (m *sessionModel) subscribe(p wanted) {
	if old := m.gone[p]; old != nil { // still in the session: another position is all that changes
		m.knows[p], m.moved[p] = &told{high: old.high, start: old.start}, true
		delete(m.gone, p)
		return
	}
	m.knows[p], m.fresh[p] = &told{high: -1, start: -1}, true
}

func (m *sessionModel) drop(p wanted) {
	if !m.fresh[p] {
		m.gone[p] = m.knows[p]
	}
	delete(m.knows, p)
	delete(m.moved, p)
	delete(m.fresh, p)
}

// wrongEpoch sends what the session must refuse, and changes nothing by it.
func (m *sessionModel) wrongEpoch(rt *rapid.T) {
	if m.session == 0 {
		return
	}
	r := m.s.fetchNow(fetchRequest(m.session, m.epoch+1+int32(rapid.IntRange(1, 3).Draw(rt, "ahead")), 0))
	if r.ErrorCode != kerr.InvalidFetchSessionEpoch.Code && r.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		rt.Fatalf("a wrong epoch was answered with %d", r.ErrorCode)
	}
}

// fetch sends the client's next request, full or incremental, with room for so many bytes, and takes the answer in.
func (m *sessionModel) fetch(rt *rapid.T, room int) *wire.FetchResponse {
	full := m.session == 0
	var at []wanted
	for p, k := range m.knows {
		if full || m.fresh[p] || m.moved[p] {
			at = append(at, wanted{p.topic, p.index, k.position})
		}
	}
	if full && len(at) == 0 {
		return nil
	}
	req := fetchRequest(m.session, m.epoch, 0, at...)
	req.MaxBytes = int32(room)
	for p := range m.gone {
		if !full {
			f := kmsg.NewFetchRequestForgottenTopic()
			f.TopicID, f.Partitions = p.topic, []int32{p.index}
			req.ForgottenTopics = append(req.ForgottenTopics, f)
		}
	}
	r := m.s.fetchNow(req)
	defer release(r)
	if r.ErrorCode == kerr.FetchSessionIDNotFound.Code {
		m.session, m.epoch = 0, initialEpoch // what a client does: begin again
		return m.fetch(rt, room)
	}
	if r.ErrorCode != 0 {
		rt.Fatalf("error %d", r.ErrorCode)
	}
	clear(m.moved)
	clear(m.fresh)
	clear(m.gone)
	m.session, m.epoch = r.SessionID, m.epoch+1
	if m.session == 0 {
		m.epoch = initialEpoch
	}
	if len(m.knows) == 0 && m.session != 0 {
		rt.Fatal("a session of nothing lives on")
	}
	m.take(rt, r, full, room)
	return r
}

// take checks an answer against what is, and learns from it.
func (m *sessionModel) take(rt *rapid.T, r *wire.FetchResponse, full bool, room int) {
	bytes := 0
	included := map[wanted]bool{}
	var failed []wanted
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			key := wanted{topic: r.Topics[i].TopicID, index: p.Partition}
			k := m.knows[key]
			if k == nil || included[key] {
				rt.Fatalf("%v was not asked for, or comes twice", key)
			}
			included[key] = true
			if p.ErrorCode != 0 {
				m.checkError(rt, key, p.ErrorCode)
				failed = append(failed, key)
				continue
			}
			l := m.s.log(key.topic, key.index)
			if p.HighWatermark != l.high || p.LogStartOffset != l.start {
				rt.Fatalf("%v: told [%d,%d), is [%d,%d)", key, p.LogStartOffset, p.HighWatermark, l.start, l.high)
			}
			if !full && p.Records.Len() == 0 && k.high == p.HighWatermark && k.start == p.LogStartOffset {
				rt.Fatalf("%v: included without news", key)
			}
			k.high, k.start = p.HighWatermark, p.LogStartOffset
			if n := p.Records.Len(); n > 0 {
				if first := string(p.Records.Bytes[:unit]); first[:len(itoa(k.position))] != itoa(k.position) {
					rt.Fatalf("%v: data begin with %q, the client is at %d", key, first, k.position)
				}
				bytes += n
				k.position += kafka.Offset(n / unit)
				m.moved[key] = true
			}
		}
	}
	if bytes > max(room, unit) {
		rt.Fatalf("%d bytes where there was room for %d", bytes, room)
	}
	for key, k := range m.knows {
		if included[key] {
			continue
		}
		if full {
			rt.Fatalf("%v is missing in a full answer", key)
		}
		l := m.s.log(key.topic, key.index)
		if bytes > 0 && bytes+unit > room {
			continue // it may have had to wait for its turn
		}
		if l == nil || l.epoch < 0 || l.high != k.high || l.start != k.start || k.position != l.high {
			rt.Fatalf("%v was left out though it has news: %+v", key, k)
		}
	}
	for _, key := range failed {
		m.recover(rt, key)
	}
}

func (m *sessionModel) checkError(rt *rapid.T, key wanted, code int16) {
	l := m.s.log(key.topic, key.index)
	k := m.knows[key]
	switch code {
	case kerr.UnknownTopicID.Code:
		if l != nil {
			rt.Fatalf("%v exists", key)
		}
	case kerr.NotLeaderForPartition.Code:
		if l == nil || l.epoch >= 0 {
			rt.Fatalf("%v is led here", key)
		}
	case kerr.OffsetOutOfRange.Code:
		if l == nil || k.position >= l.start && k.position <= l.high {
			rt.Fatalf("%v: %d is in range", key, k.position)
		}
	default:
		rt.Fatalf("%v: error %d", key, code)
	}
}

// recover is what a client does about an error: forgets a topic that is no more, resets a lost position.
func (m *sessionModel) recover(rt *rapid.T, key wanted) {
	l := m.s.log(key.topic, key.index)
	switch k := m.knows[key]; {
	case l == nil:
		m.drop(key)
	case l.epoch >= 0:
		k.position = l.start
		m.moved[key] = true
		k.high, k.start = -1, -1
	default:
		k.high, k.start = -1, -1
	}
}

// drain lets everybody lead again and fetches until the client has everything.
func (m *sessionModel) drain(rt *rapid.T) {
	left := 0
	for _, id := range m.topics {
		for i := range int32(modelPartitions) {
			l := m.s.log(id, i)
			l.change(func() { l.epoch = 0 })
			left += int(l.high - l.start)
		}
	}
	for range left + 10 {
		m.fetch(rt, unit)
	}
	for key, k := range m.knows {
		if l := m.s.log(key.topic, key.index); l == nil || k.position != l.high {
			rt.Fatalf("%v: never got beyond %d", key, k.position)
		}
	}
}

func itoa(o kafka.Offset) string { return strconv.FormatInt(int64(o), 10) }
