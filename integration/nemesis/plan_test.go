package nemesis

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// A printed seed would not bring the schedule back.
func TestSeedMakesThePlan(t *testing.T) {
	a, b := Plan(7, All, 3, time.Minute, 3), Plan(7, All, 3, time.Minute, 3)
	if !reflect.DeepEqual(a, b) || len(a) < 3 {
		t.Errorf("one seed makes two plans:\n%v\n%v", a, b)
	}
	if reflect.DeepEqual(a, Plan(8, All, 3, time.Minute, 3)) {
		t.Error("two seeds make one plan")
	}
}

// Plans would leave faults out, end late, put two faults to one thing, or take more nodes than a fault may.
func TestPlans(t *testing.T) {
	drawn := map[string]bool{}
	for seed := range uint64(200) {
		at := time.Duration(0)
		for _, r := range Plan(seed, All, 3, time.Minute, 3) {
			if at >= time.Minute {
				t.Fatalf("seed %d goes on after its time", seed)
			}
			at += r.After + r.For
			classes := map[class]bool{}
			for _, s := range r.Steps {
				f, ok := Named(s.Fault)
				if !ok || classes[f.class] {
					t.Fatalf("seed %d: %v", seed, r)
				}
				classes[f.class] = true
				drawn[s.Fault] = true
				if f.Loses && s.Fault != "power cut all" && len(s.Targets) > 1 {
					t.Errorf("%v is more than a minority of three", r)
				}
				for i, n := range s.Targets {
					if n < 0 || n > 2 || slices.Contains(s.Targets[:i], n) {
						t.Errorf("targets of %v", r)
					}
				}
			}
			if len(r.Steps) == 0 || r.For <= 0 {
				t.Errorf("seed %d: an empty round %v", seed, r)
			}
		}
	}
	for _, f := range All {
		if !drawn[f.Name] {
			t.Errorf("%q is never drawn", f.Name)
		}
	}
}

// A matrix by kinds would leave faults out, try them twice, or call disks processes.
func TestGroups(t *testing.T) {
	of := map[string]string{}
	for _, g := range Groups(All) {
		for _, f := range g.Faults {
			if of[f.Name] != "" {
				t.Errorf("%s is in %s and in %s", f.Name, of[f.Name], g.Name)
			}
			of[f.Name] = g.Name
		}
	}
	if len(of) != len(All) {
		t.Errorf("%d of %d faults are in a group", len(of), len(All))
	}
	for name, want := range map[string]string{"kill -9 one": "processes", "rolling restart": "processes", "power cut all": "disks", "disk fails (EIO)": "disks",
		"segment: removed": "files", "bucket: slow": "bucket", "cut one way": "network", "clock jump": "clocks", "leader storm": "admin"} {
		if of[name] != want {
			t.Errorf("%s is in %q, not in %s", name, of[name], want)
		}
	}
}
