package streams

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkSticky holds an assignment against what sticky promises.
func checkSticky(t *rapid.T, workers []worker, out []Assignment, tasks []int32, stateful []bool, standbys int) {
	total, processes := 0, map[string]bool{}
	least, most := 1<<30, 0
	active := map[Task]int{}
	for i, a := range out {
		processes[workers[i].process] = true
		least, most = min(least, len(a.Active)), max(most, len(a.Active))
		for _, list := range []Tasks{a.Active, a.Standby} {
			if !list.Equal(setOf(slices.Clone(list))) {
				t.Fatalf("%v is not in order", list)
			}
		}
		for _, task := range a.Active {
			if o, twice := active[task]; twice {
				t.Fatalf("%v is active in %d and %d", task, o, i)
			}
			active[task] = i
		}
	}
	for _, n := range tasks {
		total += int(n)
	}
	if len(active) != total || most-least > 1 {
		t.Fatalf("%d tasks of %d, from %d to %d of them in a member", len(active), total, least, most)
	}
	held := map[place]int{}
	count := map[Task]int{}
	for i, a := range out {
		for _, list := range []Tasks{a.Active, a.Standby} {
			for _, task := range list {
				if held[place{workers[i].process, task}]++; held[place{workers[i].process, task}] > 1 {
					t.Fatalf("%v is twice in process %s", task, workers[i].process)
				}
			}
		}
		for _, task := range a.Standby {
			count[task]++
		}
	}
	for task := range active {
		want := 0
		if stateful[task.Sub] {
			want = min(standbys, len(processes)-1)
		}
		if count[task] != want {
			t.Fatalf("%v has %d standbys, want %d", task, count[task], want)
		}
	}
}

// moved counts the tasks that are active in another member than before, and of those the ones that could have stayed.
func moved(before, after []Assignment) (gained, lost []int) {
	for i := range after {
		var b Assignment
		if i < len(before) {
			b = before[i]
		}
		gained = append(gained, len(after[i].Active.Minus(b.Active)))
		lost = append(lost, len(b.Active.Minus(after[i].Active)))
	}
	return gained, lost
}

func settle(workers []worker, out []Assignment) {
	for i := range workers {
		workers[i].had = out[i]
	}
}

// Every task is active once and evenly, standbys are where the task is in no other role; nothing moves when nothing changes; a member that comes
// takes only what it is to have, and one that goes leaves only what it had.
func TestSticky(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := rapid.SliceOfN(rapid.Int32Range(1, 9), 1, 4).Draw(t, "tasks")
		stateful := rapid.SliceOfN(rapid.Bool(), len(tasks), len(tasks)).Draw(t, "stateful")
		standbys := rapid.IntRange(0, 2).Draw(t, "standbys")
		var workers []worker
		n := rapid.IntRange(1, 7).Draw(t, "members")
		for range n {
			workers = append(workers, worker{process: fmt.Sprint("p", rapid.IntRange(0, 3).Draw(t, "process"))})
		}
		run := func() []Assignment {
			out := sticky(workers, tasks, stateful, standbys)
			checkSticky(t, workers, out, tasks, stateful, standbys)
			return out
		}
		settle(workers, run())
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			before := make([]Assignment, len(workers))
			for i := range workers {
				before[i] = workers[i].had
			}
			again := run()
			for i := range again {
				if !again[i].equal(before[i]) {
					t.Fatalf("nothing changed, and member %d has %v after %v", i, again[i], before[i])
				}
			}
			if len(workers) > 1 && rapid.Bool().Draw(t, "goes") {
				i := rapid.IntRange(0, len(workers)-1).Draw(t, "who")
				workers, before = slices.Delete(workers, i, i+1), slices.Delete(before, i, i+1)
				out := run()
				if _, lost := moved(before, out); slices.Max(lost) > 0 {
					t.Fatalf("a member went, and others lost %v", lost)
				}
				settle(workers, out)
			} else {
				workers = append(workers, worker{process: fmt.Sprint("p", rapid.IntRange(0, 4).Draw(t, "process"))})
				out := run()
				if gained, _ := moved(before, out); slices.Max(gained[:len(before)]) > 0 {
					t.Fatalf("a member came, and others gained %v", gained)
				}
				settle(workers, out)
			}
		}
	})
}

// A task that moves goes to who had it as a standby, and leaves one where it was active.
func TestStickyPrefersState(t *testing.T) {
	workers := []worker{{process: "p1"}, {process: "p2"}, {process: "p3"}}
	tasks, stateful := []int32{6}, []bool{true}
	settle(workers, sticky(workers, tasks, stateful, 1))
	gone := workers[0].had.Active
	out := sticky(workers[1:], tasks, stateful, 1)
	for i, a := range out {
		if promoted := a.Active.And(workers[i+1].had.Standby); len(promoted) != len(gone.And(workers[i+1].had.Standby)) {
			t.Errorf("of %v member %d had %v as standbys, and has %v", gone, i+1, workers[i+1].had.Standby, a.Active)
		}
	}
	workers = []worker{{process: "p1", had: Assignment{Active: ts(0, 0, 0, 1)}}, {process: "p2"}}
	out = sticky(workers, []int32{2}, stateful, 1)
	if !out[1].Active.Equal(ts(0, 1)) || !out[0].Standby.Equal(ts(0, 1)) {
		t.Errorf("%+v", out)
	}
}

// 200 members in 50 processes, 4,000 tasks with a standby: what a rebalance costs.
func BenchmarkSticky(b *testing.B) {
	var workers []worker
	for i := range 200 {
		workers = append(workers, worker{process: fmt.Sprint("p", i/4)})
	}
	tasks, stateful := slices.Repeat([]int32{400}, 10), slices.Repeat([]bool{true}, 10)
	settle(workers, sticky(workers, tasks, stateful, 1))
	workers = workers[:199]
	b.ReportAllocs()
	for b.Loop() {
		sticky(workers, tasks, stateful, 1)
	}
}
