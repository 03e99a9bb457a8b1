package checker

import (
	"fmt"
	"slices"

	"github.com/qanat-io/qanat/integration/history"
)

// The dependency graph. Its nodes are sends whose place is known, polls, and moments; an edge says that one came
// before the other:
//
//	ww   a send, and the send at the next known offset of its partition
//	wr   a send, and each poll that was handed its value
//	rt   an operation that had completed, and one that was begun later
//
// Real-time edges between all pairs would be quadratic. Moments stand between: completions point to the moment after
// them, moments to the next, and each to the operations begun before the next. A process's own order is part of it,
// for an operation that a process begins after another's completion is later in time. With clocks that do not compare,
// each process has moments of its own.
//
// A poll happens when it returns: what a consumer had fetched earlier it may be handed late.
//
// All cycles are violations while every node is one operation. Once transactions are nodes, those cycles that need a
// ww edge between two of them are not: Kafka orders each partition's writes, not the transactions.
type graph struct {
	kinds []edgeKind // by edge
	to    []int32    // by edge
	first []int32    // edges of node n are first[n]..first[n+1]
}

type edgeKind uint8

const (
	ww edgeKind = iota
	wr
	rt
)

func (k edgeKind) String() string { return [...]string{"ww", "wr", "rt"}[k] }

type edge struct {
	from, to int32
	kind     edgeKind
}

// node says what a node of the graph is.
type node struct {
	process int32 // number; -1 for a moment
	i       int32 // send's or poll's place in the process
	poll    bool
}

// cycles looks for operations that came before themselves.
func (c *check) cycles() {
	nodes, edges := c.dependencies()
	g := newGraph(len(nodes), edges)
	c.report.Stats.Nodes, c.report.Stats.Edges = len(nodes), len(edges)
	for _, component := range g.components() {
		cycle := g.shortest(component, nodes)
		var lines []string
		for _, s := range cycle {
			lines = append(lines, fmt.Sprintf("%s  %s", s.kind, c.tellNode(nodes[s.node])))
		}
		partition, offset := c.placeOf(nodes[cycle[0].node])
		c.broken(Cycle, partition, offset, func() []string { return lines }, "%d operations come before themselves, of which %d make the shortest circle", len(component), len(cycle))
	}
}

// event is the begin or end of an operation.
type event struct {
	time int64
	node int32
	done bool
}

func (c *check) dependencies() ([]node, []edge) {
	var nodes []node
	var edges []edge
	sends := make([][]int32, len(c.Processes)) // node of each send, -1 for none
	clocks := 1
	if c.options.SeparateClocks {
		clocks = len(c.Processes)
	}
	events := make([][]event, clocks)
	for i, p := range c.Processes {
		clock := i % clocks
		sends[i] = make([]int32, len(p.Sends))
		for n := range p.Sends {
			sends[i][n] = -1
			if s := &p.Sends[n]; c.where[i][n] != history.NoOffset {
				id := int32(len(nodes))
				nodes = append(nodes, node{process: p.Number, i: int32(n)})
				sends[i][n] = id
				events[clock] = append(events[clock], event{s.Invoked, id, false})
				if s.Completed != history.Never {
					events[clock] = append(events[clock], event{s.Completed, id, true})
				}
			}
		}
	}
	for l := range c.logs {
		before := int32(-1)
		for o, v := range c.logs[l].values {
			if v == history.None {
				continue
			}
			id := sends[c.index[v.Process()]][v.N()]
			// Of a value that is there twice only the first place counts.
			if c.where[c.index[v.Process()]][v.N()] != int64(o) {
				continue
			}
			if before >= 0 {
				edges = append(edges, edge{before, id, ww})
			}
			before = id
		}
	}
	for i, p := range c.Processes {
		for j := range p.Polls {
			poll := &p.Polls[j]
			if len(poll.Values) == 0 {
				continue
			}
			id := int32(len(nodes))
			nodes = append(nodes, node{process: p.Number, i: int32(j), poll: true})
			events[i%clocks] = append(events[i%clocks], event{poll.Time, id, true})
			// The last value of the run is enough: ww edges lead to it from the others.
			for k := len(poll.Values) - 1; k >= 0; k-- {
				v := poll.Values[k]
				if at, ok := c.index[v.Process()]; ok && int(v.N()) < len(sends[at]) && sends[at][v.N()] >= 0 {
					edges = append(edges, edge{sends[at][v.N()], id, wr})
					if c.where[at][v.N()] == poll.Offset+int64(k) && c.logs[poll.Partition].at(poll.Offset+int64(k)) == v {
						break
					}
				}
			}
		}
	}
	for _, e := range events {
		nodes, edges = moments(e, nodes, edges)
	}
	return nodes, edges
}

// moments adds the real-time order of one clock.
func moments(events []event, nodes []node, edges []edge) ([]node, []edge) {
	// Of a begin and an end at one time neither was first.
	slices.SortFunc(events, func(a, b event) int {
		if a.time != b.time {
			return compare(a.time, b.time)
		}
		switch {
		case a.done == b.done:
			return 0
		case b.done:
			return -1
		}
		return 1
	})
	before, open := int32(-1), int32(-1) // the last moment, and the one that completions still go to
	for _, e := range events {
		if e.done {
			if open < 0 {
				open = int32(len(nodes))
				nodes = append(nodes, node{process: -1})
				if before >= 0 {
					edges = append(edges, edge{before, open, rt})
				}
			}
			edges = append(edges, edge{e.node, open, rt})
			continue
		}
		if open >= 0 {
			before, open = open, -1
		}
		if before >= 0 {
			edges = append(edges, edge{before, e.node, rt})
		}
	}
	return nodes, edges
}

func newGraph(nodes int, edges []edge) *graph {
	g := &graph{kinds: make([]edgeKind, len(edges)), to: make([]int32, len(edges)), first: make([]int32, nodes+1)}
	for _, e := range edges {
		g.first[e.from+1]++
	}
	for n := range nodes {
		g.first[n+1] += g.first[n]
	}
	next := slices.Clone(g.first)
	for _, e := range edges {
		i := next[e.from]
		next[e.from]++
		g.to[i], g.kinds[i] = e.to, e.kind
	}
	return g
}

// components are the strongly connected components of more than one node (Tarjan 1972, without recursion).
func (g *graph) components() [][]int32 {
	n := len(g.first) - 1
	index, low := make([]int32, n), make([]int32, n) // 0: not seen
	on := make([]bool, n)
	var stack []int32
	type frame struct{ node, edge int32 }
	var frames []frame
	var found [][]int32
	counter := int32(0)
	enter := func(v int32) {
		counter++
		index[v], low[v], on[v] = counter, counter, true
		stack = append(stack, v)
		frames = append(frames, frame{v, g.first[v]})
	}
	for root := range int32(n) {
		if index[root] != 0 {
			continue
		}
		enter(root)
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			if f.edge < g.first[f.node+1] {
				w := g.to[f.edge]
				f.edge++
				switch {
				case index[w] == 0:
					enter(w)
				case on[w]:
					low[f.node] = min(low[f.node], index[w])
				}
				continue
			}
			v := f.node
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				parent := frames[len(frames)-1].node
				low[parent] = min(low[parent], low[v])
			}
			if low[v] != index[v] {
				continue
			}
			at := len(stack) - 1
			for stack[at] != v {
				at--
			}
			if len(stack)-at > 1 {
				found = append(found, slices.Clone(stack[at:]))
			}
			for _, w := range stack[at:] {
				on[w] = false
			}
			stack = stack[:at]
		}
	}
	return found
}

// step is a node of a cycle and the kind of the edge that leads to it.
type step struct {
	node int32
	kind edgeKind
}

// shortest is the shortest cycle through one of the first operations of a component, moments left out.
func (g *graph) shortest(component []int32, nodes []node) []step {
	in := make(map[int32]bool, len(component))
	for _, n := range component {
		in[n] = true
	}
	const tries = 64
	var best []step
	tried := 0
	for _, from := range component {
		if nodes[from].process < 0 {
			continue
		}
		if tried++; tried > tries {
			break
		}
		cycle := slices.DeleteFunc(g.back(from, in), func(s step) bool { return nodes[s.node].process < 0 })
		if best == nil || len(cycle) < len(best) {
			best = cycle
		}
	}
	return best
}

// back is the shortest way from a node to itself within a set.
func (g *graph) back(from int32, in map[int32]bool) []step {
	type arrival struct {
		from int32
		kind edgeKind
	}
	came := map[int32]arrival{}
	for queue := []int32{from}; len(queue) > 0; queue = queue[1:] {
		v := queue[0]
		for e := g.first[v]; e < g.first[v+1]; e++ {
			w := g.to[e]
			if _, seen := came[w]; seen || !in[w] {
				continue
			}
			came[w] = arrival{v, g.kinds[e]}
			if w != from {
				queue = append(queue, w)
				continue
			}
			var cycle []step
			for at := from; ; {
				a := came[at]
				cycle = append(cycle, step{at, a.kind})
				if at = a.from; at == from {
					slices.Reverse(cycle)
					return cycle
				}
			}
		}
	}
	return nil
}

func (c *check) tellNode(n node) string {
	p := c.Process(n.process)
	if !n.poll {
		return c.told(history.ValueOf(n.process, n.i))
	}
	poll := &p.Polls[n.i]
	return fmt.Sprintf("process %d polled [%d, %d) of partition %d at %s", n.process, poll.Offset, poll.Next(), poll.Partition, c.at(poll.Time))
}

func (c *check) placeOf(n node) (partition int32, offset int64) {
	p := c.Process(n.process)
	if n.poll {
		return p.Polls[n.i].Partition, p.Polls[n.i].Offset
	}
	return p.Sends[n.i].Partition, c.offset(history.ValueOf(n.process, n.i))
}
