package consumer

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
)

// embedded is a subscription in a version, of a member that owns partitions.
func (r *rig) embedded(version int16, owned assign.Set, topics ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(len(topics)))
	for _, t := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	b = append(b, 0xff, 0xff, 0xff, 0xff)
	if version >= 1 {
		named := writeAssignment(0, r.m.TopicSet(), owned)
		b = append(b, named[2:len(named)-4]...)
	}
	if version >= 2 {
		b = append(b, 0, 0, 0, 7)
	}
	if version >= 3 {
		b = append(b, 0, 2, 'r', '1')
	}
	return b
}

func (r *rig) joins1(id string, metadata []byte, options ...func(*group.JoinRequest)) group.JoinResult {
	r.t.Helper()
	q := group.JoinRequest{
		MemberID: id, NewMemberID: "new", ClientID: "client", Session: 10 * time.Second, Rebalance: 30 * time.Second, Type: "consumer",
		Protocols: []group.Protocol{{Name: "range", Metadata: metadata}},
	}
	for _, o := range options {
		o(&q)
	}
	r.n++
	ticket := fmt.Sprint("j", r.n)
	var out Effects
	r.g.Join(r.now, &q, r.world(), ticket, &out)
	r.carry(&out)
	j, ok := r.joins[ticket]
	if !ok {
		r.t.Fatal("join is not answered")
	}
	return j
}

func (r *rig) syncs1(id string, generation int32) (assign.Set, error) {
	r.t.Helper()
	s := r.g.Sync(r.now, &group.SyncRequest{MemberID: id, Generation: generation})
	named, err := readAssignment(s.Assignment)
	if err != nil {
		r.t.Fatal(err)
	}
	return setOfNames(r.m.TopicSet(), named), s.Err
}

func (r *rig) beats(id string, generation int32) error {
	r.t.Helper()
	var out Effects
	err := r.g.ClassicHeartbeat(r.now, group.Identity{MemberID: id, Generation: generation}, r.world(), &out)
	r.carry(&out)
	return err
}

// migrated is a group of two classic members, each with two partitions of a, in generation 5.
func migrated(t tester) *rig {
	r := newRig(t, "a", 4)
	var from []group.Migrant
	for i, has := range []assign.Set{set("a", 0, 1), set("a", 2, 3)} {
		from = append(from, group.Migrant{
			ID: fmt.Sprint("c", i+1), Session: 10 * time.Second, Rebalance: 30 * time.Second, Chosen: "range",
			Protocols:  []group.Protocol{{Name: "range", Metadata: r.embedded(1, nil, "a")}},
			Assignment: writeAssignment(1, r.m.TopicSet(), has),
		})
	}
	if r.g = Take(&r.limits, r.now, 5, from, r.m.TopicSet()); r.g == nil {
		t.Fatal("not taken")
	}
	r.g.check1(t)
	return r
}

// A group is migrated while its members go on: the first of the new protocol gets only what the others have given up, in heartbeats of theirs that
// tell them to join again; and when the last of the new protocol leaves, all that is left is of the old.
func TestMigration(t *testing.T) {
	r := migrated(t)
	r.wants(r.say(joining("m1", "a")), 6, nil)
	r.load() // on the way, another coordinator
	for _, id := range []string{"c1", "c2"} {
		if err := r.beats(id, 5); !errors.Is(err, group.ErrRebalanceInProgress) {
			t.Fatal(err)
		}
	}
	if _, err := r.syncs1("c1", 5); !errors.Is(err, group.ErrRebalanceInProgress) {
		t.Fatal(err)
	}
	// c1 is cooperative: it says what it owns, gives up what it is not assigned any more, and joins again.
	j := r.joins1("c1", r.embedded(3, set("a", 0, 1), "a"))
	if j.Err != nil || j.Protocol != "range" || j.Leader != "" {
		t.Fatalf("%+v", j)
	}
	if has, err := r.syncs1("c1", j.Generation); err != nil || len(has) != 1 && len(has) != 2 {
		t.Fatal(has, err)
	}
	// c2 is eager: it has given up everything before it joins.
	j2 := r.joins1("c2", r.embedded(0, nil, "a"))
	if has, err := r.syncs1("c2", j2.Generation); err != nil || j2.Generation != 6 || len(has) == 0 {
		t.Fatal(j2, has, err)
	}
	for range 3 { // c1 follows what its heartbeats say
		has, err := r.syncs1("c1", j.Generation)
		if err != nil {
			t.Fatal(err)
		}
		if r.beats("c1", j.Generation) == nil {
			break
		}
		if j = r.joins1("c1", r.embedded(3, has, "a")); j.Err != nil {
			t.Fatalf("%+v", j)
		}
	}
	if j.Generation != 6 {
		t.Fatalf("%+v", j)
	}
	r.say(beating("m1", 6))
	r.is(Stable, 6)
	owned := 0
	for _, m := range r.g.order {
		owned += len(m.assigned)
	}
	if owned != 4 || r.g.Classic() {
		t.Fatalf("%d partitions are owned", owned)
	}
	for id, want := range map[string]error{"c1": nil, "m1": group.ErrUnknownMember, "x": group.ErrUnknownMember} {
		if err := r.beats(id, 6); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := r.beats("c1", 5); !errors.Is(err, group.ErrIllegalGeneration) {
		t.Error(err)
	}
	if got := r.say(beating("c1", 6)); !errors.Is(got.Err, group.ErrUnknownMember) {
		t.Errorf("%+v", got)
	}

	r.say(beating("m1", -1))
	if !r.g.Classic() {
		t.Fatal("only classic members are left")
	}
	var out Effects
	members, generation := r.g.Give(r.m.TopicSet(), &out)
	if len(members) != 2 || generation != 6 {
		t.Fatal(members, generation)
	}
	limits := group.DefaultLimits()
	var classic group.Effects
	g := group.Take(&limits, r.now, generation, members, &classic)
	if g.State() != group.PreparingRebalance || g.Size() != 2 || g.Generation() != 6 {
		t.Fatal(g.State(), g.Size(), g.Generation())
	}
	if err := g.Heartbeat(r.now, group.Identity{MemberID: "c1", Generation: 6}); !errors.Is(err, group.ErrRebalanceInProgress) {
		t.Fatal(err)
	}
}

// A classic member that does not join again, or does not sync, within its rebalance timeout is out; so is one whose session ends.
func TestClassicMemberInTime(t *testing.T) {
	r := migrated(t)
	r.say(joining("m1", "a"))
	j := r.joins1("c1", r.embedded(1, nil, "a"))
	for range 4 {
		r.pass(8 * time.Second)
		r.beats("c1", j.Generation)
		r.beats("c2", 5)
	}
	if err := r.beats("c1", j.Generation); !errors.Is(err, group.ErrUnknownMember) {
		t.Errorf("did not sync: %v", err)
	}
	r.pass(8 * time.Second)
	if err := r.beats("c2", 5); !errors.Is(err, group.ErrUnknownMember) {
		t.Errorf("did not join again: %v", err)
	}
}

// Members of the classic protocol join a consumer group as they join a classic one: with an id first, with a protocol that the others have, as static
// members.
func TestClassicJoins(t *testing.T) {
	r := newRig(t, "a", 4)
	r.say(joining("m1", "a"))
	known := func(q *group.JoinRequest) { q.RequireKnownID = true }
	if j := r.joins1("", r.embedded(1, nil, "a"), known); !errors.Is(j.Err, group.ErrMemberIDRequired) || j.MemberID != "new" {
		t.Fatalf("%+v", j)
	}
	if j := r.joins1("new", r.embedded(1, nil, "a"), known); j.Err != nil || j.Generation != 2 {
		t.Fatalf("%+v", j)
	}
	if j := r.joins1("", r.embedded(1, nil, "a"), func(q *group.JoinRequest) { q.NewMemberID, q.Protocols[0].Name = "other", "mine" }); !errors.Is(j.Err, group.ErrInconsistentProtocol) {
		t.Fatalf("%+v", j)
	}
	if j := r.joins1("", []byte{0, 1, 0, 0}, func(q *group.JoinRequest) { q.NewMemberID = "torn" }); !errors.Is(j.Err, group.ErrInconsistentProtocol) {
		t.Fatalf("%+v", j)
	}
	s1 := func(id string) func(*group.JoinRequest) {
		return func(q *group.JoinRequest) { q.InstanceID, q.NewMemberID = "i1", id }
	}
	if j := r.joins1("", r.embedded(1, nil, "a"), s1("s1")); j.Err != nil || j.MemberID != "s1" {
		t.Fatalf("%+v", j)
	}
	if j := r.joins1("", r.embedded(1, nil, "a"), s1("s2")); j.Err != nil || j.MemberID != "s2" { // its process was started anew
		t.Fatalf("%+v", j)
	}
	if j := r.joins1("s1", r.embedded(1, nil, "a"), s1("")); !errors.Is(j.Err, group.ErrFencedInstance) {
		t.Fatalf("%+v", j)
	}
	r.wants(r.say(static("s3", "i1", "a")), r.g.target, nil) // it speaks the consumer protocol from now on
	var out Effects
	errs := r.g.Leave(r.now, []group.Leaver{{MemberID: "new"}, {MemberID: "m1"}, {InstanceID: "i9"}}, &out)
	r.carry(&out)
	for i, want := range []error{nil, group.ErrUnknownMember, group.ErrUnknownMember} {
		if !errors.Is(errs[i], want) {
			t.Errorf("%d: %v", i, errs[i])
		}
	}
}

// A member could bring protocols that a classic group has no place for, and the group could not become one again when the others had gone: the broker
// that coordinates it would end, and after it the next one.
func TestUnnamedProtocols(t *testing.T) {
	for name, ps := range map[string][]string{"first": {"", "range"}, "last": {"range", ""}, "only": {""}} {
		r := newRig(t, "a", 4)
		r.say(joining("m1", "a"))
		j := r.joins1("", r.embedded(1, nil, "a"), func(q *group.JoinRequest) {
			metadata := q.Protocols[0].Metadata
			q.Protocols = nil
			for _, p := range ps {
				q.Protocols = append(q.Protocols, group.Protocol{Name: p, Metadata: metadata})
			}
		})
		if !errors.Is(j.Err, group.ErrInconsistentProtocol) || len(r.g.order) != 1 {
			t.Errorf("%s: %+v, %d members", name, j, len(r.g.order))
		}
	}
}

// Members whose metadata cannot be read, or who have the same partition, stay in a classic group.
func TestNotMigrated(t *testing.T) {
	r := newRig(t, "a", 2)
	member := func(id string, metadata []byte, has assign.Set) group.Migrant {
		return group.Migrant{ID: id, Protocols: []group.Protocol{{Name: "range", Metadata: metadata}}, Assignment: writeAssignment(0, r.m.TopicSet(), has)}
	}
	good := r.embedded(1, nil, "a")
	for name, from := range map[string][]group.Migrant{
		"torn":  {member("c1", good[:5], nil)},
		"twice": {member("c1", good, set("a", 0)), member("c2", good, set("a", 0, 1))},
	} {
		if Take(&r.limits, r.now, 1, from, r.m.TopicSet()) != nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// What clients write is read without panics or memory beyond its size, and an assignment reads as it was written.
func FuzzEmbedded(f *testing.F) {
	r := newRig(f, "a", 4)
	f.Add(r.embedded(3, set("a", 0, 2), "a", "b"))
	f.Add(writeAssignment(3, r.m.TopicSet(), set("a", 0, 1, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		readSubscription(b)
		named, err := readAssignment(b)
		if err != nil {
			return
		}
		s := setOfNames(r.m.TopicSet(), named)
		again, err := readAssignment(writeAssignment(0, r.m.TopicSet(), s))
		if err != nil || !slices.Equal(setOfNames(r.m.TopicSet(), again), s) {
			t.Fatal(again, err)
		}
	})
}

// What is not a state is refused, without a panic.
func FuzzLoad(f *testing.F) {
	r := migrated(f)
	r.say(joining("m1", "a"))
	for k, v := range r.parts {
		f.Add(k, v)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		parts := map[string][]byte{}
		for k, v := range r.parts {
			parts[k] = v
		}
		parts[key] = value
		g, err := Load(&r.limits, r.now, time.Second, func(f func(string, []byte) bool) {
			for k, v := range parts {
				if !f(k, v) {
					return
				}
			}
		})
		if err == nil {
			g.State()
		}
	})
}

var rewrite = flag.Bool("rewrite", false, "write seeds and golden files that do not exist yet")

// The durable form is what it was when it was released.
func TestDurableFormGolden(t *testing.T) {
	r := migrated(t)
	regex, rack := "a.*", "r1"
	h := static("m1", "i1", "a")
	h.Regex, h.Rack = &regex, &rack
	r.say(h)
	var got strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r.parts)) {
		fmt.Fprintf(&got, "%s %x\n", k, r.parts[k])
	}
	const path = "testdata/parts-v1.txt"
	if _, err := os.Stat(path); *rewrite && errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		for k, v := range r.parts {
			seed(t, "FuzzLoad", k, k, v)
		}
		seed(t, "FuzzEmbedded", "subscription", r.embedded(3, set("a", 0, 2), "a", "b"))
		seed(t, "FuzzEmbedded", "assignment", writeAssignment(3, r.m.TopicSet(), set("a", 0, 1, 3)))
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the durable form changed: raise its version\nnow\n%swas\n%s", got.String(), want)
	}
}

// seed writes a fuzz target's seeds.
func seed(t *testing.T, target, name string, values ...any) {
	dir := filepath.Join("testdata", "fuzz", target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "go test fuzz v1\n"
	for _, v := range values {
		switch v := v.(type) {
		case string:
			text += "string(" + strconv.Quote(v) + ")\n"
		case []byte:
			text += "[]byte(" + strconv.Quote(string(v)) + ")\n"
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
