package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/qanat-io/qanat/integration/harness"
)

// qanat is the program under test: QANAT_BIN, or built here once.
var qanat string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if qanat = os.Getenv("QANAT_BIN"); qanat != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "qanat-integration-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		qanat = filepath.Join(dir, "qanat")
		build := exec.Command("go", "build", "-o", qanat, "../cmd/qanat")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the program:", err)
			return 1
		}
		return m.Run()
	}())
}

// within bounds a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// newBroker is a broker that has not been started; what still runs at the test's end is killed.
func newBroker(t *testing.T, sets ...string) *harness.Broker {
	t.Helper()
	b, err := harness.New(qanat, filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	b.Sets = append(b.Sets, sets...)
	t.Cleanup(func() {
		_ = b.Kill()
		if t.Failed() {
			t.Logf("the broker's log ends with:\n%s", b.Tail(30))
		}
	})
	return b
}

// startBroker is a running broker with a bucket of its own.
func startBroker(t *testing.T, sets ...string) *harness.Broker {
	t.Helper()
	b := newBroker(t, sets...)
	if err := b.Start(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	return b
}
