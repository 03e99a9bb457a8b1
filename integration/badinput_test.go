package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
)

// ended starts a broker that is expected to refuse, and returns what it said and its exit code.
func ended(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(within(t, 20*time.Second), qanat, args...)
	cmd.Env = harness.Environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		t.Fatalf("qanat %v: ended with %v, want a refusal; it said:\n%s", args, err, &stderr)
	}
	return stderr.String(), exit.ExitCode()
}

func mustSay(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("the error does not say %q:\n%s", w, said)
		}
	}
	if strings.Contains(said, "goroutine ") || strings.Contains(said, "panic") {
		t.Errorf("a stack trace instead of an error:\n%s", said)
	}
}

// Two brokers would write to one directory.
func TestSecondBrokerOnTheSameDirectory(t *testing.T) {
	b := startBroker(t)
	second, err := harness.New(qanat, b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	said, _ := ended(t, second.Args()...)
	mustSay(t, said, "in use", b.Dir)
	roundTrip(t, b, "still-there", 10)
}

// A program that is too old would misread a newer format.
func TestNewerFormatIsRefused(t *testing.T) {
	b := startBroker(t)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(b.Dir, "broker.json")
	raw, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(raw, []byte(`"format": 1`), []byte(`"format": 99`), 1)
	if bytes.Equal(raw, newer) {
		t.Fatalf("no format in %s", raw)
	}
	if err := os.WriteFile(identity, newer, 0o644); err != nil {
		t.Fatal(err)
	}
	said, _ := ended(t, b.Args()...)
	mustSay(t, said, "format 99", "newer")
}

// A misspelt key would be ignored, and the broker run otherwise than meant.
func TestMisspeltKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.yaml")
	if err := os.WriteFile(file, []byte("node.id: 1\nlog.segmnt.bytes: 1000000\nnum.partitions: many\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	said, _ := ended(t, "serve", "--config", file)
	mustSay(t, said, file+":2", "log.segment.bytes", file+":3", "num.partitions")
	said, _ = ended(t, "dev", "--dir", t.TempDir(), "--set", "nod.id=1")
	mustSay(t, said, "node.id")
}

// A directory that cannot be written, or an address that is taken, would end in a riddle.
func TestUnusableDirectoryAndAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	said, _ := ended(t, "dev", "--dir", filepath.Join(file, "data"), "--listen", "127.0.0.1:0")
	mustSay(t, said, "data directory", file)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	said, _ = ended(t, "dev", "--dir", t.TempDir(), "--listen", taken.Addr().String(), "--admin", "127.0.0.1:0", "--set", "raft.listener=127.0.0.1:0")
	mustSay(t, said, taken.Addr().String(), "--listen")
}

// A broker that never worked, because its bucket is mistyped or not there, would start at the second attempt.
func TestBucketThatNeverAnswered(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "none")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "none")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + taken.Addr().String()
	taken.Close()
	dir := t.TempDir()
	for range 3 {
		said, _ := ended(t, "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bucket", "minio://bucket?endpoint="+endpoint)
		mustSay(t, said, "minio://bucket", "check that "+endpoint+" can be reached")
	}
}

// roundTrip produces n records and reads them back.
func roundTrip(t *testing.T, b *harness.Broker, topic string, n int) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(topic),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range n {
		if err := cl.ProduceSync(ctx, kgo.StringRecord("hello")).FirstErr(); err != nil {
			t.Fatalf("produce: %v", err)
		}
	}
	for got := 0; got < n; {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), context.Cause(ctx)); err != nil {
			t.Fatalf("consume: %v", err)
		}
		got += fetches.NumRecords()
	}
}

// Bytes that are no Kafka request would take the broker down, hang it, or disturb other clients.
func TestHostileBytes(t *testing.T) {
	b := startBroker(t)
	frame := func(body []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	unhex := func(s string) []byte {
		p, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	lying := unhex("0000000900000001ffff00" + "00ffff00000001" + "fffffffe0f") // Produce v9: an array of 2^32-2 topics
	tags := append(unhex("0000000b00000001ffff00"), unhex("00ffff000000010000ffffffff0f")...)
	hostile := map[string][]byte{
		"a frame of 2 GiB":         {0x7f, 0xff, 0xff, 0xff},
		"a negative length":        {0xff, 0xff, 0xff, 0xff},
		"an empty frame":           frame(nil),
		"a header cut short":       frame([]byte{0, 0, 0}),
		"an unknown API":           frame(unhex("7fff000000000001ffff")),
		"a version too new":        frame(unhex("0003007f00000001ffff")),
		"an HTTP request":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a TLS hello":              unhex("16030102000100"),
		"a lying array":            frame(lying),
		"a lying number of tags":   frame(tags),
		"half a frame":             append([]byte{0, 0, 1, 0}, make([]byte, 100)...),
		"noise":                    frame(bytes.Repeat([]byte{0xa5}, 4096)),
		"a body of 50 MiB of junk": frame(append(unhex("0000000900000001ffff00"), bytes.Repeat([]byte{0xff}, 50<<20)...)),
	}
	for name, p := range hostile {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", b.Listen)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(p) // the broker may have hung up in the middle, which is an answer
			_ = conn.(*net.TCPConn).CloseWrite()
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("neither an answer nor the end of the connection")
			}
			roundTrip(t, b, "others", 1)
		})
	}
}

// Thousands of idle connections would starve those that work.
func TestIdleConnections(t *testing.T) {
	b := startBroker(t)
	const many = 2000 // both ends are in this machine's limits; make faults tries 5,000
	for range many {
		conn, err := net.Dial("tcp", b.Listen)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	roundTrip(t, b, "beside-them", 10)
}

// A broker that is stopped while it still deletes a topic's partitions would end as if its disk had failed.
func TestStopWhileDeleting(t *testing.T) {
	b := startBroker(t)
	ctx := within(t, time.Minute)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 200, 1, nil, "short-lived"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteTopics(ctx, "short-lived"); err != nil {
		t.Fatal(err)
	}
	if err := b.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}
