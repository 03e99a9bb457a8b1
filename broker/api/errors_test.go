package api

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/broker/partition"
)

// Every sentinel of the packages that requests reach has its code in the table, or is listed here with why it never gets out.
func TestEverySentinelHasACode(t *testing.T) {
	inside := map[string]string{
		"image.ErrCorrupt":           "found while starting",
		"image.ErrVersion":           "found while starting",
		"quorum.ErrForeignDirectory": "found while starting",
		"quorum.ErrFormat":           "found while starting",
		"quorum.ErrInUse":            "found while starting",
		"quorum.ErrLost":             "found while starting",
		"quorum.ErrStalled":          "ends the process",
		"quorum.ErrClosed":           "is an ErrNotReady",
		"quorum.ErrNotLeader":        "is an ErrNotReady",
		"quorum.ErrStale":            "ends the process",
		"quorum.ErrOverloaded":       "is an ErrNotReady",
	}
	table := namesInTable(t)
	for _, dir := range []string{"../partition", "../group", "../consumer", "../coordinator", "../../metadata/image", "../../metadata/quorum"} {
		pkg := dir[strings.LastIndex(dir, "/")+1:]
		for _, name := range sentinels(t, dir) {
			full := pkg + "." + name
			if !table[full] && inside[full] == "" {
				t.Errorf("%s has no code in verdicts", full)
			}
		}
	}
}

// sentinels are the exported error variables that a package declares.
func sentinels(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(n.Name, "Err") {
						out = append(out, n.Name)
					}
				}
			}
		}
	}
	if len(out) == 0 && dir != "../coordinator" {
		t.Errorf("no sentinels found in %s: has the package moved?", dir)
	}
	return out
}

// namesInTable are the qualified names in the verdicts literal.
func namesInTable(t *testing.T) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if ok {
			if p, ok := s.X.(*ast.Ident); ok {
				names[p.Name+"."+s.Sel.Name] = true
			}
		}
		return true
	})
	return names
}

// A decision keeps its code however it is wrapped; the first entry that fits wins; what nobody decided on is unknown, but on
// Produce a storage error, never UNKNOWN_SERVER_ERROR.
func TestCode(t *testing.T) {
	odd := fmt.Errorf("a disk caught fire")
	for _, c := range []struct {
		err  error
		want *kerr.Error
	}{
		{fmt.Errorf("topic t: %w", partition.ErrNotLeader), kerr.NotLeaderForPartition},
		{fmt.Errorf("%w: %w", partition.ErrStorage, context.DeadlineExceeded), kerr.KafkaStorageError},
		{refuse(kerr.InvalidConfig, "no"), kerr.InvalidConfig},
		{context.DeadlineExceeded, kerr.RequestTimedOut},
		{odd, kerr.UnknownServerError},
	} {
		if got := code(c.err); got != c.want.Code {
			t.Errorf("code(%v) = %d, want %s", c.err, got, c.want.Message)
		}
	}
	if code(nil) != 0 || message(nil) != nil {
		t.Error("no error has a code or a message")
	}
	if got := produceCode(odd); got != kerr.KafkaStorageError.Code {
		t.Errorf("produceCode = %d", got)
	}
}
