package nemesis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Step is one fault of a round.
type Step struct {
	Fault   string
	Targets []int // nodes from 0, for faults of nodes
	Seed    uint64
}

// Round is faults at one time.
type Round struct {
	After time.Duration // since the round before
	For   time.Duration
	Steps []Step
	Mend  bool // wait until the cluster is whole before the next
}

func (r Round) String() string {
	var steps []string
	for _, s := range r.Steps {
		text := s.Fault
		if len(s.Targets) > 0 {
			var nodes []string
			for _, t := range s.Targets {
				nodes = append(nodes, fmt.Sprint(t+1))
			}
			text += " of " + strings.Join(nodes, ",")
		}
		steps = append(steps, text)
	}
	text := fmt.Sprintf("after %v for %v: %s", r.After, r.For, strings.Join(steps, " + "))
	if r.Mend {
		text += ", then mend"
	}
	return text
}

// Plan draws rounds of faults that last for total, of at most together faults each.
func Plan(seed uint64, faults []Fault, nodes int, total time.Duration, together int) []Round {
	rng := rand.New(rand.NewPCG(seed, 0x9a7a))
	var rounds []Round
	for at := time.Duration(0); at < total && len(faults) > 0; {
		r := Round{After: between(rng, time.Second, 4*time.Second), Mend: rng.IntN(2) == 0}
		taken := map[class]bool{}
		longest := time.Duration(0)
		for range 1 + rng.IntN(together) {
			f := faults[rng.IntN(len(faults))]
			if taken[f.class] {
				continue
			}
			taken[f.class] = true
			r.Steps = append(r.Steps, Step{Fault: f.Name, Targets: f.targets(rng, nodes), Seed: rng.Uint64()})
			longest = max(longest, between(rng, f.shortest, f.longest))
		}
		r.For = longest
		at += r.After + r.For
		rounds = append(rounds, r)
	}
	return rounds
}

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(rng.Int64N(int64(to-from))).Round(10*time.Millisecond)
}

// The ways to choose nodes.
func nobody(*rand.Rand, int) []int { return nil }

func one(rng *rand.Rand, nodes int) []int { return rng.Perm(nodes)[:1] }

func majority(rng *rand.Rand, nodes int) []int { return rng.Perm(nodes)[:nodes/2+1] }

// minority is what a cluster can lose for ever: of three nodes one, of five two. A single node has none.
func minority(rng *rand.Rand, nodes int) []int { return rng.Perm(nodes)[:(nodes-1)/2] }

func everybody(rng *rand.Rand, nodes int) []int { return rng.Perm(nodes) }
