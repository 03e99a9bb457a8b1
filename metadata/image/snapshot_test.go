package image

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lib "github.com/fxamacker/cbor/v2"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file if it does not exist yet")

// everything has a record of every type, at the newest level.
func everything(t testing.TB) *Image { return everythingAt(t, command.NewestLevel) }

func everythingAt(t testing.TB, level command.Level) *Image {
	w := newWorld(t)
	c := topic(1, "a", 2)
	c.Configs = map[string]string{"k": "v", "a": "b"}
	w.do(command.FormCluster{ClusterID: "cluster"})
	release := func(s string) string {
		if level > 0 {
			return command.WithLevel(s, level)
		}
		return s
	}
	w.do(command.RegisterBroker{ID: 1, Incarnation: [16]byte{5}, Rack: "r", Endpoints: []command.Endpoint{{Listener: "L", Host: "h", Port: 9092, Security: "PLAINTEXT"}}, Version: release("v")})
	w.do(c)
	w.do(command.CommitSegment{Partition: part(1, 0), Entry: segment(0, 100, 0)})
	w.do(command.TrimLog{Partition: part(1, 1), Start: 7})
	w.do(command.PutGroup{Group: "g", Type: "classic", State: []byte{1, 2}})
	w.do(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 5, LeaderEpoch: 3, Metadata: "m", ExpireMs: 9}}})
	w.do(command.CommitOffsets{Group: "offsets only", Offsets: []command.OffsetCommit{{Partition: part(1, 1), Offset: 6}}})
	w.do(command.RegisterBroker{ID: 2, Directory: [16]byte{6}, Cluster: "h2:9645", Unclean: true, Fenced: true, Version: release("")})
	w.do(command.RegisterBroker{ID: 3, Version: release("")})
	w.do(command.DrainBroker{ID: 3, Drain: true})
	w.do(command.AlterISR{Changes: []command.ISRChange{{Partition: part(1, 0), ISR: []command.ISRMember{{ID: 1}}, ELR: []kafka.BrokerID{2}}}})
	w.do(command.AssignReplicas{Changes: []command.Assignment{{Partition: part(1, 0), Expected: 1, Target: []kafka.BrokerID{1, 3}}}})
	w.do(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: 9, Broker: 1}}})
	if level > 0 {
		w.do(command.SetLevel{Level: level})
	}
	if level.Knows(command.KindChangeGroup) == nil {
		w.do(command.ChangeGroup{Group: "parts", Type: "consumer", Put: []command.GroupPart{{Key: "m1", Value: []byte{3}}, {Key: "g", Value: []byte{}}}})
	}
	if level.Knows(command.KindPutTransaction) == nil {
		t := command.Transaction{ID: "t", Revision: 1, Producer: 5, Epoch: 1, LastProducer: -1, LastEpoch: -1, TimeoutMs: 60000, ChangedMs: 1000, Version: 2, Next: -1}
		w.do(command.PutTransaction{Transaction: t})
		t.Revision, t.State, t.StartedMs, t.Partitions, t.Groups = 2, command.TxnOngoing, 1001, []kafka.Partition{part(1, 0)}, []string{"g", "pending only"}
		w.do(command.PutTransaction{Transaction: t})
		for _, g := range t.Groups {
			w.do(command.CommitTxnOffsets{Group: g, ID: "t", Producer: 5, Epoch: 1, Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 8, LeaderEpoch: 3, Metadata: "n"}}})
		}
	}
	if level.Knows(command.KindChangeShare) == nil {
		w.do(command.ChangeGroup{Group: "share", Type: ShareGroup, Put: []command.GroupPart{{Key: "g", Value: []byte{4}}}})
		w.do(command.ChangeShare{Group: "share", Partition: part(1, 0), Start: 40, Put: []command.ShareRun{{First: 41, Next: 43, State: command.ShareArchived, Deliveries: 5}, {First: 43, Next: 44, Deliveries: 1}}})
		w.do(command.ResetShares{Group: "share", Starts: []command.ShareStart{{Partition: part(1, 1), Start: 9}}})
	}
	if level.Streams() == nil {
		w.do(command.ChangeGroup{Group: "streams", Type: "streams", Put: []command.GroupPart{{Key: "g", Value: []byte{5}}}})
	}
	env := command.Envelope{Broker: 1, Session: 99, Request: 1, TimeMs: 2000}
	w.apply(env, command.AllocateProducerIDs{Count: 10})
	w.index--
	for _, c := range []command.Command{topic(1, "a", 1), command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(7, 7)}}}} {
		env.Request++
		w.apply(env, c)
		w.index--
	}
	return w.m
}

// The bytes of the newest snapshot version are what they were when it was released, at every level, and those bytes are still read.
func TestSnapshotGolden(t *testing.T) {
	golden(t, everythingAt(t, 1), "v3")
	for level := command.Level(2); level <= command.NewestLevel; level++ {
		golden(t, everythingAt(t, level), fmt.Sprintf("v3.level%d", level))
	}
}

// A cluster at level 0 may have brokers of a release that knows of no levels: they could not read its snapshots.
func TestSnapshotAtLevelZero(t *testing.T) {
	golden(t, everythingAt(t, 0), "v2")
}

func golden(t *testing.T, m *Image, version string) {
	t.Helper()
	got := encoded(t, m)
	path := filepath.Join("testdata", fmt.Sprintf("snapshot.%s.txt", version))
	if _, err := os.Stat(path); *rewrite && errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"+diagnose(t, got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.SplitN(string(kept), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the format changed: raise its version\nnow %s\nwas %s", diagnose(t, got), kept)
	}
	m, err = Decode(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if string(encoded(t, m)) != string(want) {
		t.Error("what was read is not what was written")
	}
}

// A snapshot of every earlier version is read, and written anew in the newest.
func TestEarlierSnapshots(t *testing.T) {
	for v := 1; v < snapshotVersion; v++ {
		golden, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("snapshot.v%d.txt", v)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.SplitN(string(golden), "\n", 2)[0])
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if m.TopicCount() == 0 || len(encoded(t, m)) == 0 {
			t.Errorf("version %d: %+v", v, m)
		}
	}
}

// diagnose prints a sequence, an item a line.
func diagnose(t testing.TB, b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		item, rest, err := lib.DiagnoseFirst(b)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&s, item)
		b = rest
	}
	return s.String()
}

// A snapshot with any bit flipped, any tail missing or anything added is refused, never half read.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	whole := encoded(t, everything(t))
	decode := func(what string, b []byte) {
		t.Helper()
		if m, err := Decode(bytes.NewReader(b)); err == nil || m != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			decode(fmt.Sprintf("byte %d, bit %d", i, bit), b)
		}
		decode(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	decode("more behind", append(bytes.Clone(whole), 0))
	decode("twice", append(bytes.Clone(whole), whole...))
}

// A later version is told from damage.
func TestLaterSnapshotVersion(t *testing.T) {
	b, err := cbor.Marshal([]any{snapshotMagic, snapshotVersion + 1, "whatever comes"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(bytes.NewReader(b)); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

type failingDisk struct{ after int }

var errDisk = errors.New("disk is gone")

func (f *failingDisk) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

// A disk's error while writing or reading is reported as that, not as a corrupt snapshot.
func TestDiskErrorsAreNotCorruption(t *testing.T) {
	m := everything(t)
	whole := encoded(t, m)
	if err := m.Encode(&failingDisk{after: len(whole) - 1}); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	r := io.MultiReader(bytes.NewReader(whole[:100]), iotestErr{})
	if _, err := Decode(r); !errors.Is(err, errDisk) || errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errDisk }

// A group with more offsets than a record holds comes back whole.
func TestManyOffsets(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", offsetsPerRecord*2+1))
	c := command.CommitOffsets{Group: "g"}
	for i := range int32(offsetsPerRecord*2 + 1) {
		c.Offsets = append(c.Offsets, command.OffsetCommit{Partition: part(1, i), Offset: kafka.Offset(i)})
	}
	w.do(c)
	b := encoded(t, w.m)
	m, err := Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	m.Offsets("g", func(o *Offset) bool {
		if o.Partition.Index != int32(n) || o.OffsetCommit.Offset != kafka.Offset(n) {
			t.Fatalf("offset %d is %+v", n, o)
		}
		n++
		return true
	})
	if n != len(c.Offsets) || string(encoded(t, m)) != string(b) {
		t.Errorf("%d of %d offsets", n, len(c.Offsets))
	}
}

// Whatever bytes come, Decode returns; what it accepts is a fixed point of encoding.
func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(encoded(f, Empty()))
	f.Add(encoded(f, everything(f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		once := encoded(t, m)
		again, err := Decode(bytes.NewReader(once))
		if err != nil {
			t.Fatal(err)
		}
		if string(encoded(t, again)) != string(once) {
			t.Fatal("not a fixed point")
		}
	})
}
