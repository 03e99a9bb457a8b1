package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/metadata/config"
)

// Every node gets a line that starts it and a configuration that is valid: ports that follow one another, the same peers for
// all, and ports that the system chose stay what they were.
func TestDevNodesPrintCommands(t *testing.T) {
	c := &cli{t: t}
	dir := filepath.Join(t.TempDir(), "a cluster")
	r := c.run("dev", "--nodes", "4", "--dir", dir, "--listen", "127.0.0.1:19000", "--print-commands", "--set", "log.level=warn")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code != exitOK || len(lines) != 4 || !strings.HasSuffix(lines[3], "serve --config '"+filepath.Join(dir, "node-4.yaml")+"' --set log.level=warn") {
		t.Fatalf("%+v", r)
	}
	text, err := os.ReadFile(filepath.Join(dir, "node-4.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"listeners: PLAINTEXT://127.0.0.1:19003", "cluster.listener: 127.0.0.1:19023", "admin.listener: 127.0.0.1:19043",
		"cluster.peers: 1@127.0.0.1:19020,2@127.0.0.1:19021,3@127.0.0.1:19022\n", "default.replication.factor: 3", "min.insync.replicas: 2",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := config.Load(filepath.Join(dir, "node-4.yaml"), nil, nil); err != nil {
		t.Error(err)
	}

	dir = t.TempDir()
	args := []string{"dev", "--nodes", "2", "--dir", dir, "--listen", "127.0.0.1:0", "--print-commands"}
	if r := c.run(args...); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	first := readDevNode(filepath.Join(dir, "node-2.yaml"))
	if r := c.run(args...); r.code != exitOK || readDevNode(filepath.Join(dir, "node-2.yaml")) != first || strings.HasSuffix(first.Listen, ":0") {
		t.Errorf("%+v, then %+v", first, readDevNode(filepath.Join(dir, "node-2.yaml")))
	}
	for _, bad := range [][]string{
		{"dev", "--nodes", "0"}, {"dev", "--nodes", "99"}, {"dev", "--print-commands"}, {"dev", "--nodes", "3", "--config", "x"}, {"dev", "--nodes", "3", "--listen", "nowhere"},
	} {
		if r := c.run(append(bad, "--dir", dir)...); r.code != exitUsage {
			t.Errorf("%v: %+v", bad, r)
		}
	}
}

// A command line is printed as a shell takes it.
func TestShellLine(t *testing.T) {
	if got := shellLine([]string{"/bin/q", "a b", "it's", "k=v"}); got != `/bin/q 'a b' 'it'\''s' k=v` {
		t.Error(got)
	}
}
