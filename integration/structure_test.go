package integration

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// layers is docs/architecture.md's picture of the house, bottom first. Packages
// of one line do not import each other; imports point down only.
var layers = [][]string{
	{"wire/kafka", "wire/cbor"},
	{"wire", "wire/batch", "tier/vfs", "tier/object", "tier/manifest", "metadata/config"},
	{"metadata/command", "tier/segment", "tier/journal", "tier/pace", "metadata/raftlog", "broker/secure", "broker/hush", "broker/aside", "broker/inbox", "broker/regex"},
	{"metadata/image", "tier/index", "broker/secure/issue"},
	{"metadata/controller", "tier/hot", "tier/cold"},
	{"metadata/quorum", "tier/archive", "tier/scrub", "tier/compact"},
	{"tier/log", "broker/producer", "broker/datadir", "broker/peer", "broker/throttle"},
	{"broker/partition", "broker/group", "broker/txn", "broker/consumer/assign", "broker/quota", "broker/clientmetrics"},
	{"broker/consumer", "broker/share", "broker/streams"},
	{"broker/hosted", "broker/replica", "broker/coordinator", "broker/txncoordinator", "broker/shareleader", "broker/statelog", "broker/control"},
	{"broker/api"},
	{"broker/server", "broker/console", "broker/telemetry"},
	{"broker/member", "broker/admin", "broker/sources", "broker/telemetry/dashboards"},
	{"broker"},
	{"broker/doctor"},
	{"cmd/qanat"},
	{"terraform/provider/cluster"},
	{"terraform/provider"},
	{"cmd/terraform-provider-qanat"},
}

// withinLine are imports inside one line that are meant: a package and the vocabulary it is built from.
var withinLine = map[string]bool{
	"wire → wire/batch": true,
}

// An import that points up or sideways would pass unseen.
func TestImportsPointDown(t *testing.T) {
	rank := map[string]int{}
	for i, line := range layers {
		for _, p := range line {
			rank[p] = i
		}
	}
	const module = "github.com/qanat-io/qanat/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath       string
			Imports, GoFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module)
		if !placed(rank, from) {
			if len(p.GoFiles) > 0 && !strings.HasPrefix(from, "integration") && !strings.Contains(from, "internal/") && !strings.HasSuffix(from, "/gen") && !strings.HasSuffix(from, "test") {
				t.Errorf("%s has no place in the layers: give it one here and in docs/architecture.md", from)
			}
			continue
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module)
			if ours && placed(rank, to) && rank[to] >= rank[from] && !withinLine[from+" → "+to] {
				t.Errorf("%s imports %s, which is not below it", from, to)
			}
		}
	}
}

// A fuzz target would begin from nothing on a fresh clone: each has seeds that are committed beside it.
func TestFuzzTargetsHaveSeeds(t *testing.T) {
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	found := 0
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range target.FindAllSubmatch(text, -1) {
			found++
			seeds, err := filepath.Glob(filepath.Join(filepath.Dir(path), "testdata", "fuzz", string(m[1]), "*"))
			if err != nil {
				return err
			}
			if len(seeds) == 0 {
				t.Errorf("%s: %s has no seeds in testdata/fuzz", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 15 {
		t.Errorf("only %d fuzz targets were found: this test looks in the wrong place", found)
	}
}

// A deliberate bug, with which the fault runs are tried, could be in a program that nobody has asked to have it, or in none.
func TestBugsAreOff(t *testing.T) {
	constraint := regexp.MustCompile(`(?m)^//go:build .*qanat_bug.*$`)
	on := regexp.MustCompile(`^//go:build qanat_bug_([a-z]+)\n\npackage \w+\n\n(?:const (bug[A-Z]\w*) = true\n$|func \(\w+ \*\w+\) (bug[A-Z]\w*)\(\) \{\n)`)
	off := regexp.MustCompile(`^//go:build !qanat_bug_([a-z]+)\n\npackage \w+\n\n(?://.*\n)+(?:const (bug[A-Z]\w*) = false\n$|func \(\w+ \*\w+\) (bug[A-Z]\w*)\(\) \{\}\n$)`)
	switches := map[string]string{} // a constant or method of a package → that it is there with its tag, and does nothing without
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !constraint.Match(text) {
			return err
		}
		for _, way := range []struct {
			of, file string
			text     *regexp.Regexp
		}{{"on ", "_on.go", on}, {"off ", "_off.go", off}} {
			if m := way.text.FindSubmatch(text); m != nil && filepath.Base(path) == "bug_"+string(m[1])+way.file {
				switches[filepath.Dir(path)+" "+string(m[2])+string(m[3])] += way.of
				return nil
			}
		}
		t.Errorf("%s is built by a bug's tag, and is not what switches that bug on or off", path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for s, ways := range switches {
		if ways != "off on " {
			t.Errorf("%s is switched %sonly", s, ways)
		}
	}
	if len(switches) < 10 {
		t.Errorf("only %d deliberate bugs were found: this test looks in the wrong place", len(switches))
	}
}

func placed(rank map[string]int, p string) bool { _, ok := rank[p]; return ok }
