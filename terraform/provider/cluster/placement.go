package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Place gives every partition as many replicas as factor says, moving as little as that takes.
//
//   - More: new replicas go behind those that are there, to a rack that has fewest of the partition's, then to the broker that has fewest
//     of the topic's.
//   - Fewer: a partition keeps its leader. Of the others those go first that are not in sync, then those whose rack has more of the
//     partition's, then those whose broker has most of the topic's.
//
// Partitions whose replicas stay are not in the answer, which goes by the partitions' numbers.
func Place(partitions []Partition, brokers []Broker, factor int) (map[int32][]int32, error) {
	if factor < 1 {
		return nil, errors.New("a partition has at least one replica")
	}
	if factor > len(brokers) {
		return nil, fmt.Errorf("%d replicas want as many brokers; %d are active", factor, len(brokers))
	}
	rack, load := map[int32]string{}, map[int32]int{}
	for _, n := range brokers {
		if rack[n.ID] = n.Rack; n.Rack == "" {
			rack[n.ID] = fmt.Sprintf("\x00%d", n.ID) // a rack of its own
		}
	}
	for _, p := range partitions {
		for _, b := range p.Target {
			load[b]++
		}
	}
	out := map[int32][]int32{}
	for i, p := range partitions {
		replicas := slices.Clone(p.Target)
		if len(replicas) == factor {
			continue
		}
		inRack := func(b int32) (n int) {
			for _, r := range replicas {
				if r != b && rack[r] == rack[b] {
					n++
				}
			}
			return n
		}
		for len(replicas) < factor {
			best := int32(-1)
			for _, n := range brokers {
				if slices.Contains(replicas, n.ID) {
					continue
				}
				if best < 0 || cmp.Or(cmp.Compare(inRack(n.ID), inRack(best)), cmp.Compare(load[n.ID], load[best]), cmp.Compare(spread(n.ID, i), spread(best, i))) < 0 {
					best = n.ID
				}
			}
			if best < 0 { // replicas on brokers that are down count among those that are there
				return nil, fmt.Errorf("%d replicas want as many brokers; partition %d has all that are active", factor, i)
			}
			replicas = append(replicas, best)
			load[best]++
		}
		for len(replicas) > factor {
			worst := int32(-1)
			for _, b := range replicas {
				if b == p.Leader {
					continue
				}
				if worst < 0 || cmp.Or(compareBool(slices.Contains(p.InSync, worst), slices.Contains(p.InSync, b)), cmp.Compare(inRack(b), inRack(worst)), cmp.Compare(load[b], load[worst])) > 0 {
					worst = b
				}
			}
			replicas = slices.DeleteFunc(replicas, func(b int32) bool { return b == worst })
			load[worst]--
		}
		out[int32(i)] = replicas
	}
	return out, nil
}

// spread settles ties so that neighbours' ties do not all go to one broker.
func spread(broker int32, partition int) uint32 {
	x := uint32(broker)*2654435761 + uint32(partition)*40503
	return x ^ x>>15
}

// compareBool puts true behind false.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
