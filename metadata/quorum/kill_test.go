package quorum

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

func readCloser(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

const victimDir = "QANAT_QUORUM_VICTIM_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

// victim proposes from many goroutines and prints what was answered, until it is killed.
func victim(dir string) {
	q, err := Open(Config{Dir: dir, ID: 1, Listen: "127.0.0.1:0", Bootstrap: true, SnapshotEntries: 20}, time.Now, slog.New(slog.DiscardHandler))
	if err == nil {
		err = q.Ready(context.Background())
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if _, err := q.Propose(context.Background(), command.CreateTopic{ID: kafka.NewTopicID(), Name: name, Partitions: [][]kafka.BrokerID{{1}}}); err != nil {
					name = "error " + err.Error()
				}
				mu.Lock()
				fmt.Println(name) // unbuffered: the parent has it
				mu.Unlock()
			}
		}()
	}
	select {}
}

// An answered proposal survives SIGKILL at any moment, snapshots and truncations of the log included.
func TestAnsweredSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	var answered []string
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Errorf("round %d: %s", round, lines.Text())
			}
			answered = append(answered, lines.Text())
			if n == 300+100*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
	}
	q := start(t, Config{Dir: dir, ID: 1})
	for _, name := range answered {
		if _, ok := q.Image().TopicByName(name); !ok {
			t.Errorf("topic %s was answered and is gone", name)
		}
	}
	if len(answered) < 1200 {
		t.Errorf("only %d were answered", len(answered))
	}
	if s := q.Status(); s.SnapshotIndex == 0 {
		t.Error("no snapshot was made on the way")
	}
}
