package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/quorum"
)

// A quorum could be recovered without a question, under a running broker, or in the wrong directory; what is lost could go unsaid.
func TestQuorumRecover(t *testing.T) {
	dir := t.TempDir()
	cfg := quorum.Config{Dir: filepath.Join(dir, "metadata"), ID: 4, ClusterID: "mine", Listen: "127.0.0.1:0", Bootstrap: true}
	q, err := quorum.Open(cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := &cli{t: t}
	if r := c.run("quorum", "recover", "--dir", dir, "--yes"); r.code == exitOK || !strings.Contains(r.errors, "stop the broker") {
		t.Errorf("a running broker: %+v", r)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if r := c.run("quorum", "recover"); r.code != exitUsage {
		t.Errorf("no directory: %+v", r)
	}
	if r := c.run("quorum", "recover", "--dir", t.TempDir(), "--yes"); r.code != exitUsage {
		t.Errorf("a directory without metadata: %+v", r)
	}
	if r := c.run("quorum", "recover", "--dir", dir); r.code != exitDeclined || !strings.Contains(r.errors, "is lost") {
		t.Errorf("without a question: %+v", r)
	}
	if who, _, err := quorum.ReadIdentity(cfg.Dir); err != nil || who.Floor != 0 {
		t.Errorf("changed before it was confirmed: %+v, %v", who, err)
	}
	if r := c.run("quorum", "recover", "--dir", dir, "--yes"); r.code != exitOK || !strings.Contains(r.out, "broker 4") {
		t.Errorf("%+v", r)
	}
	if who, _, err := quorum.ReadIdentity(cfg.Dir); err != nil || who.Floor == 0 || who.Cluster != "mine" {
		t.Errorf("not recovered: %+v, %v", who, err)
	}
}
