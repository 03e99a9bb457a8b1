package group

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

// sample is a stable group with everything that the durable form holds.
func sample(t testing.TB) *rig {
	r := newRig(t)
	r.first("m-1", protocols("range", subscription("orders"), "sticky", ""))
	r.first("i-1", instance("i"), protocols("sticky", "s", "range", subscription("orders", "\xff")))
	r.pass(10 * time.Second)
	r.syncAll(1, "m-1", "i-1")
	r.state(Stable, 1)
	return r
}

// A group that a restarted broker loads is in the same generation with the same members and assignments; they go on
// with heartbeats, syncs and commits, nobody rejoins, and who is gone expires a session after the start.
func TestRestartGoesOn(t *testing.T) {
	r := sample(t)
	later := r.now.Add(time.Hour)
	g, err := Load(r.g.limits, later, r.saved)
	if err != nil {
		t.Fatal(err)
	}
	r.g, r.now = g, later
	r.g.check1(t)
	r.state(Stable, 1)
	if !g.Subscribed("orders") || g.Subscribed("x") || g.leader != "m-1" {
		t.Fatal("subscription or leader is not restored")
	}
	r.alive(1, "m-1")
	if got := r.synced(r.sync("i-1", 1)); got != "work of i-1" {
		t.Fatalf("assigned %q", got)
	}
	if err := g.Commit(r.now, Identity{MemberID: "m-1", Generation: 1}); err != nil {
		t.Fatal(err)
	}
	again := r.joined(r.join(request("i-1", instance("i"), protocols("sticky", "s", "range", subscription("orders", "\xff")))))
	if again.Generation != 1 {
		t.Fatal("a follower that rejoins unchanged makes a rebalance")
	}
	r.pass(9 * time.Second)
	r.alive(1, "m-1")
	r.state(Stable, 1)
	r.pass(2 * time.Second)
	r.state(PreparingRebalance, 1)
}

// The durable form is version 1 as the golden file holds it, and reads back to an equal one.
func TestDurableFormGolden(t *testing.T) {
	r := sample(t)
	path := filepath.Join("testdata", "state-v1.hex")
	got := hex.Dump(r.saved)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("durable form is not what %s holds:\n%s", path, got)
	}
	g, err := Load(r.g.limits, r.now, r.saved)
	if err != nil {
		t.Fatal(err)
	}
	var out Effects
	g.persist(g.since, g.assignments(), &out)
	if !bytes.Equal(out.Persists[0].State, r.saved) {
		t.Fatal("loaded and stored again, it is another")
	}
}

// A later format is refused by its number, and nonsense is an error, not a panic.
func TestLoadRefuses(t *testing.T) {
	r := sample(t)
	later := bytes.Replace(r.saved, []byte{0x01, 0x01, 0x02}, []byte{0x01, 0x02, 0x02}, 1)
	if _, err := Load(r.g.limits, r.now, later); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("format 2: %v", err)
	}
	other := bytes.Replace(r.saved, []byte("em-1"), []byte("em-2"), 1)
	if bytes.Equal(other, r.saved) {
		other = bytes.Replace(r.saved, []byte("cm-1"), []byte("cm-2"), 1)
	}
	if _, err := Load(r.g.limits, r.now, other); err == nil {
		t.Fatal("a leader that is no member is loaded")
	}
	for _, b := range [][]byte{{}, {0}, {0xa0}, r.saved[:len(r.saved)-1]} {
		if _, err := Load(r.g.limits, r.now, b); err == nil {
			t.Fatalf("%x is loaded", b)
		}
	}
}

// No bytes make Load panic; what it loads is a group that works.
func FuzzLoad(f *testing.F) {
	f.Add(sample(f).saved)
	r := newRig(f)
	r.stable("a")
	r.leave(Leaver{MemberID: "a"})
	f.Add(r.saved)
	limits := DefaultLimits()
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.UnixMilli(1_700_000_000_000)
		g, err := Load(&limits, now, b)
		if err != nil {
			return
		}
		g.check1(t)
		r := newRig(t)
		r.g, r.now = g, now
		r.first("newcomer", func(q *JoinRequest) { q.Type, q.Protocols = g.protocolType, []Protocol{{g.protocol, nil}} })
		r.pass(3 * time.Hour)
		if g.Size() > 0 && g.State() == Empty {
			t.Fatal("members in an empty group")
		}
	})
}

// No subscription makes the parser panic, and it reads exactly the topics that a subscription was written with.
func FuzzSubscription(f *testing.F) {
	f.Add([]byte(subscription("a", "bc", "")))
	f.Add([]byte{0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		set := topicSet{}
		if readSubscription(b, set) == nil && len(set) > len(b)/2 {
			t.Fatalf("%d topics in %d bytes", len(set), len(b))
		}
	})
}

// A member's unreadable subscription makes the group subscribe to everything, so that nothing of it is deleted.
func TestUnreadableSubscription(t *testing.T) {
	r := newRig(t)
	r.first("a", protocols("range", "\x00\x00\x00\x00\x00\x09"))
	r.pass(5 * time.Second)
	r.syncAll(1, "a")
	if !r.g.Subscribed("anything") {
		t.Fatal("offsets of an unread subscription may be deleted")
	}
	if rule, _ := r.g.OffsetExpiry(); rule != KeepOffsets {
		t.Fatal("offsets of an unread subscription expire")
	}
}
