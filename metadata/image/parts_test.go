package image

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
)

func partsOf(m *Image, group string) map[string]string {
	out := map[string]string{}
	m.GroupParts(group, func(k string, v []byte) bool { out[k] = string(v); return true })
	return out
}

func put(kv ...string) (ps []command.GroupPart) {
	for i := 0; i < len(kv); i += 2 {
		ps = append(ps, command.GroupPart{Key: kv[i], Value: []byte(kv[i+1])})
	}
	return ps
}

// A change of a group's parts would touch others, or what was decided on a state that never came to be would be applied.
func TestChangeGroup(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 1))
	version := func() uint64 {
		g, ok := w.m.Group("g")
		if !ok {
			return 0
		}
		return g.Version
	}
	is := func(kv ...string) {
		t.Helper()
		want := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			want[kv[i]] = kv[i+1]
		}
		if got := partsOf(w.m, "g"); !maps.Equal(got, want) {
			t.Fatalf("parts are %v, not %v", got, want)
		}
	}
	w.do(command.PutGroup{Group: "g", Type: "classic", State: []byte{1}})
	w.do(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 4}}})

	_, ch, err := w.apply(command.Envelope{}, command.ChangeGroup{Group: "g", Type: "consumer", Put: put("a", "1", "b", "2", "c", "3")})
	if err != nil || !slices.Equal(ch.Groups, []string{"g"}) {
		t.Fatal(ch, err)
	}
	is("a", "1", "b", "2", "c", "3")
	first, held := version(), w.m
	if g, _ := w.m.Group("g"); g.Type != "consumer" || g.State != nil || first != w.index {
		t.Fatalf("%+v", g)
	}
	w.do(command.ChangeGroup{Group: "g", Type: "consumer", Base: first, Put: put("b", "4", "d", ""), Delete: []string{"a", "nothing"}})
	is("b", "4", "c", "3", "d", "")
	if got := partsOf(held, "g"); len(got) != 3 || got["b"] != "2" {
		t.Fatalf("an image changed after it was committed: %v", got)
	}

	for _, base := range []uint64{0, first, version() + 1} { // decided on what is not, or not any more
		if _, _, err := w.apply(command.Envelope{}, command.ChangeGroup{Group: "g", Type: "consumer", Base: base, Put: put("c", "9")}); !errors.Is(err, ErrGroupChanged) {
			t.Fatalf("base %d: %v", base, err)
		}
	}
	is("b", "4", "c", "3", "d", "")

	w.do(command.ChangeGroup{Group: "g", Type: "consumer", Base: version(), Delete: []string{"b", "c", "d"}})
	is()
	if g, ok := w.m.Group("g"); !ok || g.Kept() || g.Type != "" { // its offsets are still there
		t.Fatalf("%+v, %v", g, ok)
	}
	if _, _, err := w.apply(command.Envelope{}, command.ChangeGroup{Group: "h", Base: 3, Delete: []string{"a"}}); !errors.Is(err, ErrGroupChanged) {
		t.Fatal(err)
	}

	w.do(command.ChangeGroup{Group: "g", Type: "consumer", Put: put("a", "1")})
	w.do(command.PutGroup{Group: "g", Type: "classic", State: []byte{2}}) // a whole replaces parts
	is()
	if g, _ := w.m.Group("g"); g.Version != 0 || g.Type != "classic" {
		t.Fatalf("%+v", g)
	}
	w.do(command.ChangeGroup{Group: "g", Type: "consumer", Put: put("a", "1")})
	w.do(command.DeleteGroup{Group: "g"})
	is()
	if _, ok := w.m.Group("g"); ok {
		t.Fatal("deleted, and still there")
	}
}

// A coordinator that was replaced would go on changing its groups.
func TestChangeGroupIsFenced(t *testing.T) {
	w := newWorld(t)
	w.do(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: CoordinatorShard("g"), Broker: 1}}})
	c := command.ChangeGroup{Group: "g", Type: "consumer", Put: put("a", "1"), Coordinator: 2}
	if _, _, err := w.apply(command.Envelope{}, c); !errors.Is(err, ErrNotCoordinator) {
		t.Fatal(err)
	}
	c.Coordinator = 1
	w.do(c)
}
