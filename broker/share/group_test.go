package share

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

var rewrite = flag.Bool("rewrite", false, "write golden files that do not exist yet")

// members is a group with its durable parts, and what its members were answered.
type members struct {
	t       testing.TB
	g       *Group
	limits  GroupLimits
	now     time.Time
	w       World
	parts   map[string][]byte
	change  *GroupChange
	answers map[int]Reply
	asked   int
}

// newMembers is in a cluster with the topics t0, t1, … of so many partitions.
func newMembers(t testing.TB, partitions ...int) *members {
	m := &members{t: t, limits: GroupLimits{MaxSize: 9, MaxBytes: 1 << 20}, now: epoch, w: World{Session: 45 * time.Second, Heartbeat: 5 * time.Second}, parts: map[string][]byte{}, answers: map[int]Reply{}}
	m.topics(partitions...)
	m.g = NewGroup(&m.limits, 0)
	return m
}

func (m *members) topics(partitions ...int) {
	im := image.Empty()
	for i, n := range partitions {
		c := command.CreateTopic{ID: kafka.TopicID{byte(i + 1)}, Name: fmt.Sprintf("t%d", i)}
		for range n {
			c.Partitions = append(c.Partitions, []kafka.BrokerID{1})
		}
		var err error
		if im, _, _, err = image.Apply(im, uint64(i+1), command.Envelope{}, c); err != nil {
			m.t.Fatal(err)
		}
	}
	m.w.Topics = im.TopicSet()
}

func (m *members) carry(out *Effects) {
	if out.Change != nil {
		if m.change != nil {
			m.t.Fatal("two changes are under way")
		}
		m.change = out.Change
	}
	for _, a := range out.Replies {
		m.answers[a.Ticket.(int)] = a.Reply
	}
}

// beat sends a heartbeat; its answer is in answers when it comes.
func (m *members) beat(h Heartbeat) int {
	m.asked++
	var out Effects
	if r, done := m.g.Heartbeat(m.now, &h, m.w, m.asked, &out); done {
		m.answers[m.asked] = r
	}
	m.carry(&out)
	return m.asked
}

func (m *members) persist() {
	for m.change != nil {
		c := m.change
		m.change = nil
		for _, p := range c.Put {
			m.parts[p.Key] = p.Value
		}
		for _, k := range c.Delete {
			delete(m.parts, k)
		}
		var out Effects
		m.g.Persisted(c.Seq, &out)
		m.carry(&out)
	}
}

// say is beat with everything durable, and its answer.
func (m *members) say(h Heartbeat) Reply {
	m.t.Helper()
	n := m.beat(h)
	m.persist()
	r, ok := m.answers[n]
	if !ok {
		m.t.Fatalf("no answer to %+v", h)
	}
	return r
}

func (m *members) join(id string, topics ...string) Reply {
	return m.say(Heartbeat{MemberID: id, Topics: topics, HasTopics: true})
}

func (m *members) load() {
	g, err := LoadGroup(&m.limits, m.now, m.w.Session, func(f func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(m.parts)) {
			if !f(k, m.parts[k]) {
				return
			}
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.g, m.change = g, nil
}

// Members would not all have partitions to read, would be told of epochs that are not durable, would be lost with their coordinator, or stay after their
// session.
func TestMembership(t *testing.T) {
	m := newMembers(t, 2)
	first := m.beat(Heartbeat{MemberID: "a", Topics: []string{"t0", "unknown"}, HasTopics: true})
	if _, told := m.answers[first]; told {
		t.Fatal("a member is told what is not durable")
	}
	m.persist()
	if r := m.answers[first]; r.Err != nil || r.Epoch != 1 || !r.Assigned || len(r.Assignment) != 2 || r.Interval != 5*time.Second {
		t.Fatalf("first member: %+v", r)
	}
	second, third := m.beat(Heartbeat{MemberID: "b", Topics: []string{"t0"}, HasTopics: true}), m.beat(Heartbeat{MemberID: "c", Topics: []string{"t0"}, HasTopics: true})
	m.persist()
	if b, c := m.answers[second], m.answers[third]; len(b.Assignment) != 1 || len(c.Assignment) != 1 || c.Epoch != 3 {
		t.Fatalf("then %+v and %+v", b, c)
	}
	if r := m.say(Heartbeat{MemberID: "a", Epoch: 1}); r.Epoch != 3 || !r.Assigned || len(r.Assignment) != 1 {
		t.Fatalf("the first afterwards: %+v", r)
	}
	if r := m.say(Heartbeat{MemberID: "a", Epoch: 1}); r.Err != nil || r.Epoch != 3 { // the answer was lost
		t.Fatalf("again with the epoch before: %+v", r)
	}
	if n := testing.AllocsPerRun(100, func() {
		h := Heartbeat{MemberID: "a", Epoch: 3}
		var out Effects
		m.g.Heartbeat(m.now, &h, m.w, nil, &out)
	}); n > 0 {
		t.Errorf("a heartbeat allocates %v times", n)
	}
	for name, c := range map[string]struct {
		h    Heartbeat
		want error
	}{
		"ahead":       {Heartbeat{MemberID: "a", Epoch: 7}, ErrFencedEpoch},
		"unknown":     {Heartbeat{MemberID: "x", Epoch: 3}, group.ErrUnknownMember},
		"no id":       {Heartbeat{Epoch: 3}, ErrInvalidRequest},
		"long id":     {Heartbeat{MemberID: strings.Repeat("x", 37), Epoch: 3}, ErrInvalidRequest},
		"no topics":   {Heartbeat{MemberID: "x"}, ErrInvalidRequest},
		"below leave": {Heartbeat{MemberID: "a", Epoch: -2}, ErrInvalidRequest},
	} {
		if r := m.say(c.h); !errors.Is(r.Err, c.want) {
			t.Errorf("%s: %v, want %v", name, r.Err, c.want)
		}
	}

	m.load()
	if r := m.say(Heartbeat{MemberID: "b", Epoch: 2}); r.Err != nil || r.Epoch != 3 || !r.Assigned {
		t.Fatalf("at the next coordinator: %+v", r)
	}
	m.topics(4)
	if r := m.say(Heartbeat{MemberID: "b", Epoch: 3}); r.Epoch != 4 || m.g.Describe().Members[2].Assigned == nil {
		t.Fatalf("when the topic has grown: %+v", r)
	}
	m.now = m.now.Add(30 * time.Second)
	m.say(Heartbeat{MemberID: "b", Epoch: 4})
	m.now = m.now.Add(30 * time.Second)
	var out Effects
	m.g.Advance(m.now, &out)
	m.carry(&out)
	m.persist()
	if d := m.g.Describe(); len(d.Members) != 1 || d.Members[0].ID != "b" || len(d.Members[0].Assigned) != 4 || d.State != Stable {
		t.Fatalf("after sessions have ended: %+v", d)
	}
	if m.g.CheckDelete() == nil {
		t.Error("a group with members may be deleted")
	}
	if r := m.say(Heartbeat{MemberID: "b", Epoch: Leaving}); r.Err != nil || r.Epoch != Leaving {
		t.Fatalf("leaving: %+v", r)
	}
	if !m.g.Idle() || !m.g.Exists() || m.g.State() != Empty || m.g.CheckDelete() != nil || len(m.parts) != 1 {
		t.Errorf("the empty group: %v, parts %v", m.g.State(), m.parts)
	}
	for i := range m.limits.MaxSize {
		m.join(fmt.Sprint(i), "t0")
	}
	if r := m.join("more", "t0"); !errors.Is(r.Err, group.ErrMaxSize) {
		t.Errorf("one more than the most: %v", r.Err)
	}
}

// A partition would have nobody who reads it, a member nothing to read, one much more than another, or all would move when one comes.
func TestSimpleIsEvenAndMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := map[kafka.TopicID]int32{}
		var topics []kafka.TopicID
		for i := range rapid.IntRange(1, 3).Draw(t, "topics") {
			id := kafka.TopicID{byte(i + 1)}
			topics, counts[id] = append(topics, id), int32(rapid.IntRange(1, 7).Draw(t, "partitions"))
		}
		total := 0
		for _, n := range counts {
			total += int(n)
		}
		var ms []*member
		partitions := func(id kafka.TopicID) int32 { return counts[id] }
		for i := range rapid.IntRange(1, 12).Draw(t, "members") {
			had := map[*member]assign.Set{}
			for _, m := range ms {
				had[m] = m.target
			}
			ms = append(ms, &member{id: fmt.Sprint(i), topics: topics})
			readers := map[kafka.Partition]int{}
			least, most, stay := total, 0, 0
			for j, s := range simple(ms, partitions) {
				ms[j].target = s
				least, most = min(least, len(s)), max(most, len(s))
				stay += len(s.And(had[ms[j]]))
				for _, p := range s {
					readers[p]++
				}
			}
			low, high := len(ms), 0
			for _, n := range readers {
				low, high = min(low, n), max(high, n)
			}
			if len(readers) != total || least < 1 || most-least > 1 || high-low > 1 {
				t.Fatalf("%d members, %d partitions: %d of them read, by %d to %d; members have %d to %d", len(ms), total, len(readers), low, high, least, most)
			}
			if need := max(total, len(ms)); stay < need-need/len(ms)-1 && len(ms) != total+1 {
				t.Fatalf("%d of %d stay when member %d comes", stay, need, len(ms))
			}
		}
	})
	ms := []*member{{id: "a", topics: []kafka.TopicID{{1}}}, {id: "b", topics: []kafka.TopicID{{1}, {2}}}}
	got := simple(ms, func(kafka.TopicID) int32 { return 2 })
	if len(got[0]) != 1 || len(got[1]) != 3 {
		t.Errorf("different subscriptions: %v", got)
	}
}

// What a release has written would not be read by the next, or be written otherwise by the same version.
func TestPartsGolden(t *testing.T) {
	m := newMembers(t, 3)
	rack := "r"
	m.say(Heartbeat{MemberID: "a", Rack: &rack, ClientID: "c", ClientHost: "/h", Topics: []string{"t0"}, HasTopics: true})
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m.parts)) {
		lines = append(lines, k+" "+hex.EncodeToString(m.parts[k]))
	}
	got := strings.Join(lines, "\n") + "\n"
	const path = "testdata/parts-v1.txt"
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%v\n%s\nwas\n%s", err, got, want)
	}
	m.load()
	if d := m.g.Describe(); len(d.Members) != 1 || d.Members[0].Rack != "r" || d.Members[0].ClientHost != "/h" || len(d.Members[0].Assigned) != 3 || d.Epoch != 1 {
		t.Errorf("%+v", d)
	}
	for key, value := range map[string]string{"g": "a1010902", "m": "a0", "x1": "a0", "mz": "a10501"} {
		b, _ := hex.DecodeString(value)
		if _, err := LoadGroup(&m.limits, m.now, time.Second, func(f func(string, []byte) bool) { f(key, b) }); err == nil {
			t.Errorf("%s %s is read", key, value)
		}
	}
}
