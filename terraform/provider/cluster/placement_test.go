package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A partition would get the wrong number of replicas, one twice, a rack twice while another has none, more moves than it needs, or would lose its leader.
func TestPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		racks := rapid.IntRange(1, 4).Draw(t, "racks")
		var brokers []Broker
		rack := map[int32]string{}
		for i := range rapid.IntRange(1, 9).Draw(t, "brokers") {
			b := Broker{ID: int32(i + 1), Rack: string(rune('a' + i%racks))}
			brokers, rack[b.ID] = append(brokers, b), b.Rack
		}
		var partitions []Partition
		for range rapid.IntRange(1, 12).Draw(t, "partitions") {
			ids := rapid.Permutation(ids(brokers)).Draw(t, "replicas")[:rapid.IntRange(1, len(brokers)).Draw(t, "factor now")]
			inSync := ids[:rapid.IntRange(1, len(ids)).Draw(t, "in sync")]
			partitions = append(partitions, Partition{Leader: rapid.SampledFrom(inSync).Draw(t, "leader"), Replicas: ids, InSync: inSync, Target: ids})
		}
		factor := rapid.IntRange(1, len(brokers)).Draw(t, "factor")
		moves, err := Place(partitions, brokers, factor)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range partitions {
			next, moved := moves[int32(i)]
			if !moved {
				if len(p.Target) != factor {
					t.Fatalf("partition %d stays on %v", i, p.Target)
				}
				continue
			}
			if sorted := slices.Sorted(slices.Values(next)); len(next) != factor || len(slices.Compact(sorted)) != factor {
				t.Fatalf("partition %d goes to %v, not to %d brokers", i, next, factor)
			}
			if !slices.Contains(next, p.Leader) {
				t.Fatalf("partition %d loses its leader %d: %v → %v", i, p.Leader, p.Target, next)
			}
			if factor > len(p.Target) && !slices.Equal(next[:len(p.Target)], p.Target) {
				t.Fatalf("partition %d: %v → %v moves replicas that may stay", i, p.Target, next)
			}
			if factor > len(p.Target) { // every new one came to a rack that had fewest
				for n := len(p.Target); n < factor; n++ {
					for _, b := range brokers {
						if !slices.Contains(next[:n], b.ID) && sharing(next[:n], rack, b.ID) < sharing(next[:n], rack, next[n]) {
							t.Fatalf("partition %d: %v: broker %d has a better rack than broker %d", i, next, b.ID, next[n])
						}
					}
				}
			}
			if factor < len(p.Target) { // who is in sync stays while somebody who is not is there
				kept := slices.ContainsFunc(next, func(b int32) bool { return !slices.Contains(p.InSync, b) })
				gone := slices.ContainsFunc(p.InSync, func(b int32) bool { return !slices.Contains(next, b) })
				if kept && gone {
					t.Fatalf("partition %d: %v (in sync %v) → %v", i, p.Target, p.InSync, next)
				}
			}
		}
		if _, err := Place(partitions, brokers, len(brokers)+1); err == nil {
			t.Fatal("more replicas than brokers were placed")
		}
	})
}

func ids(brokers []Broker) (out []int32) {
	for _, b := range brokers {
		out = append(out, b.ID)
	}
	return out
}

func sharing(replicas []int32, rack map[int32]string, b int32) (n int) {
	for _, r := range replicas {
		if rack[r] == rack[b] {
			n++
		}
	}
	return n
}
