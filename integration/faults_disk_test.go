package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
)

// smallVolume is a broker, not started, whose data directory is a volume of 64 MiB.
func smallVolume(t *testing.T, sets ...string) *harness.Broker {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TRIED: only root may mount the small volume that this test fills")
	}
	volume := t.TempDir()
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("NOT TRIED: mount a small volume: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(volume, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", volume, err)
		}
	})
	b := newBroker(t, sets...)
	// The directory is the volume's root, so that the broker's log, kept beside it, is on another one.
	b.Dir = volume
	b.Bucket = "dir:" + filepath.Join(t.TempDir(), "bucket")
	return b
}

// remount makes a volume read-only, or writable again.
func remount(t *testing.T, volume string, readOnly bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("tmpfs", volume, "tmpfs", flags, "size=64m"); err != nil {
		t.Fatalf("remount: %v", err)
	}
}

// fill leaves no more than left bytes on the broker's volume, and returns what gives them back.
func fill(t *testing.T, b *harness.Broker, left int64) func() {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(b.Dir, &s); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(b.Dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := int64(s.Bavail)*s.Bsize - left; n > 0 {
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
			t.Fatalf("fill the volume: %v", err)
		}
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// A full disk would take the broker down, lose what was acknowledged, stop
// readers, be answered with an error that producers take for final, or outlast its cause.
func TestFullDisk(t *testing.T) {
	b := smallVolume(t)
	restart(t, b)
	createTopic(t, b, "full", 2, "remote.storage.enable=false", "segment.bytes=1048576")
	createTopic(t, b, "probe", 1, "remote.storage.enable=false")
	l := newLoad(t, b, "full", 2, 1)
	l.send(500)
	free := fill(t, b, 6<<20)
	l.start() // fills the rest, and then waits for room
	probe := connect(t, b, kgo.DefaultProduceTopic("probe"), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	var refusal error
	until(t, "produce is not refused", func() bool {
		refusal = probe.ProduceSync(within(t, 20*time.Second), &kgo.Record{Value: make([]byte, 100_000)}).FirstErr()
		return refusal != nil
	})
	var code *kerr.Error
	if !errors.As(refusal, &code) || !code.Retriable {
		t.Errorf("produce was refused with %v, want a retriable error", refusal)
	}
	full := func() bool {
		return slices.ContainsFunc(problems(t, b), func(p string) bool { return strings.Contains(p, "is full") })
	}
	until(t, "the cluster's health does not tell of the full disk", full)
	during := journeyRead(t, b, l)
	if during < 500 {
		t.Errorf("%d records can be read while the disk is full, 500 were acknowledged before", during)
	}
	select {
	case <-b.Done():
		t.Fatalf("the broker has ended:\n%s", b.Tail(10))
	default:
	}
	free()
	l.more(10)
	l.stop()
	l.verify(b)
	until(t, "the cluster's health tells of a full disk that has room again", func() bool { return !full() })
	if err := b.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	restart(t, b)
	l.verify(b)
}

// problems is what is wrong with the cluster, as the broker says.
func problems(t *testing.T, b *harness.Broker) []string {
	t.Helper()
	var c struct{ Problems []string }
	if err := b.Ask(within(t, 20*time.Second), "GET", "/v1/cluster", &c); err != nil {
		t.Fatal(err)
	}
	return c.Problems
}

// journeyRead counts the records that a new consumer gets, while others may still be written.
func journeyRead(t *testing.T, b *harness.Broker, l *load) (n int) {
	t.Helper()
	parts := map[int32]kgo.Offset{}
	for p := range l.partitions {
		parts[int32(p)] = kgo.NewOffset().AtStart()
	}
	cl := connect(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: parts}))
	ctx := within(t, 20*time.Second)
	for n < 500 && ctx.Err() == nil {
		n += cl.PollFetches(ctx).NumRecords()
	}
	return n
}

// On a volume without a free byte the broker's own books (metadata, index, recovery
// points) would be broken by half-written pages: it would not start again, or not have what was acknowledged.
func TestFullDiskUnderMetadata(t *testing.T) {
	b := smallVolume(t, "raft.snapshot.entries=64")
	restart(t, b)
	createTopic(t, b, "books", 2, small...)
	l := newLoad(t, b, "books", 2, 1)
	l.send(500)
	adm := kadm.NewClient(connect(t, b))
	for round := range 3 {
		free := fill(t, b, int64(round)*4096)
		group, committed := fmt.Sprint("group-", round), int64(0)
		for i := range int64(1500) { // of 8 KB each: more than the metadata log has set aside on the disk
			var offsets kadm.Offsets
			for p := range int32(2) {
				offsets.Add(kadm.Offset{Topic: "books", Partition: p, At: i + 1, LeaderEpoch: -1, Metadata: strings.Repeat("m", 4000)})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := adm.CommitAllOffsets(ctx, group, offsets)
			cancel()
			if err != nil {
				break
			}
			committed = i + 1
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		for i := range 20 {
			if _, err := adm.CreateTopic(ctx, 20, 1, nil, fmt.Sprintf("more-%d-%d", round, i)); err != nil {
				break
			}
		}
		cancel()
		select {
		case <-b.Done():
			t.Logf("round %d: the broker ended: %s", round, b.Tail(1))
			if tail := b.Tail(40); strings.Contains(tail, "goroutine ") || strings.Contains(tail, "SIGBUS") {
				t.Errorf("it ended with a crash instead of an error:\n%s", tail)
			}
		default:
			t.Logf("round %d: the broker goes on", round)
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Start(within(t, 30*time.Second)); err == nil { // a start on the full disk may work or not
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
		} else if strings.Contains(err.Error(), "goroutine ") || strings.Contains(err.Error(), "not ready in time") {
			t.Errorf("start on a full disk: %v", err)
		} else {
			t.Logf("round %d: start on the full disk: %s", round, b.Tail(1))
		}
		free()
		restart(t, b)
		l.send(100)
		l.verify(b)
		got, err := adm.FetchOffsets(within(t, 30*time.Second), group)
		if o, _ := got.Lookup("books", 0); committed > 0 && (err != nil || o.At < committed) {
			t.Errorf("committed offset is %d (%v), %d was answered", o.At, err, committed)
		}
	}
}
