package streams

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever a topology says, it is refused without a trace or configured, without a panic, and never to tasks beyond the bound; and what is kept of it
// is loaded again as it is.
func FuzzTopology(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, i, j int16, standbys uint8) {
		var topology Topology
		if decoding.Unmarshal(b, &topology) != nil {
			return
		}
		for k := range topology.Subtopologies {
			topology.Subtopologies[k].Copartitioned = nil // it is what comes of Groups
			topology.Subtopologies[k].Groups = []Copartition{{Sources: []int16{i}, Repartition: []int16{j}}}
		}
		r := newRig(t, "a", 4, "lines", 3)
		r.limits.MaxTasks = 100
		r.w.Standbys = int(standbys)
		reply := r.say(joining("m1", "p1", &topology))
		if reply.Err != nil {
			if r.g.Exists() || len(r.parts) > 0 {
				t.Fatalf("refused, and kept: %v", reply.Err)
			}
			return
		}
		for _, c := range reply.Create {
			if c.Partitions < 1 || c.Partitions > mostPartitions {
				t.Fatalf("%+v", c)
			}
		}
		r.fail()
		reply = r.say(beating("m1", reply.Epoch))
		if len(reply.Assignment.Active) > r.limits.MaxTasks {
			t.Fatalf("%d tasks", len(reply.Assignment.Active))
		}
		if again := r.say(joining("m1", "p1", &topology)); again.Err != nil {
			t.Fatalf("the same topology is another: %v", again.Err)
		}
	})
}

// What is not a state is refused, without a panic.
func FuzzLoad(f *testing.F) {
	r := lived(f)
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		parts := maps.Clone(r.parts)
		parts[key] = value
		g, err := Load(&r.limits, r.now, time.Second, func(f func(string, []byte) bool) {
			for k, v := range parts {
				if !f(k, v) {
					return
				}
			}
		})
		if err == nil {
			g.look(&r.w)
			g.State()
			g.Describe(&r.w)
		}
	})
}

// lived is a group with something of everything in its state.
func lived(t tester) *rig {
	r := newRig(t, "lines", 3, "app-words", 3, "app-counts", 3)
	r.w.Standbys = 1
	rack := "r1"
	h := joining("m1", "p1", words())
	h.Rack, h.Endpoint, h.HasTags, h.Tags = &rack, &Endpoint{"h1", 8080}, true, []Pair{{"zone", "a"}}
	r.say(h)
	r.say(joining("m2", "p2", words()))
	r.say(beating("m1", 2)) // is to give up
	return r
}

var rewrite = flag.Bool("rewrite", false, "write golden files that do not exist yet")

// The durable form is what it was when it was released.
func TestDurableFormGolden(t *testing.T) {
	r := lived(t)
	var got strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r.parts)) {
		fmt.Fprintf(&got, "%s %x\n", k, r.parts[k])
	}
	const path = "testdata/parts-v1.txt"
	if _, err := os.Stat(path); *rewrite && os.IsNotExist(err) {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the durable form changed: raise its version\nnow\n%swas\n%s", got.String(), want)
	}
}
