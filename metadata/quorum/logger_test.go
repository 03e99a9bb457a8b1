package quorum

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// False if it failed: "a line of Raft's names the part of the broker that it is of once, and the library".
func TestRaftLogger(t *testing.T) {
	var b bytes.Buffer
	raftLogger(slog.New(slog.NewJSONHandler(&b, nil)).With("part", "quorum")).With("peer", 2).Named("net").Warn("line", "n", 1)
	for _, want := range []string{`"part":"quorum"`, `"library":"raft"`, `"peer":2`, `"n":1`} {
		if strings.Count(b.String(), want) != 1 {
			t.Errorf("%s in %s", want, b.String())
		}
	}
	if strings.Count(b.String(), `"part"`) != 1 {
		t.Errorf("its part: %s", b.String())
	}
}
