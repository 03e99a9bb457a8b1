package command

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	lib "github.com/fxamacker/cbor/v2"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

var rewrite = flag.Bool("rewrite", false, "write golden files that do not exist yet")

var (
	topicID = kafka.TopicID{0xa0, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 15}
	p3      = kafka.Partition{Topic: topicID, Index: 3}
)

// samples has one of each command with no field left at zero, so that every key shows in the golden files.
var samples = []Command{
	FormCluster{ClusterID: "q1w2e3"},
	RegisterBroker{ID: 7, Incarnation: [16]byte{1, 2, 3}, Rack: "a", Endpoints: []Endpoint{{"EXTERNAL", "b7.example", 9092, "PLAINTEXT"}}, Version: "0.1.0", Directory: [16]byte{4, 5}, Cluster: "b7.example:9645", Unclean: true, Fenced: true},
	CreateTopic{ID: topicID, Name: "orders", Partitions: [][]kafka.BrokerID{{1, 2}, {2, 1}}, Configs: map[string]string{"retention.ms": "-1", "a": "b"}},
	DeleteTopic{ID: topicID},
	AddPartitions{ID: topicID, From: 2, Replicas: [][]kafka.BrokerID{{3}}},
	SetConfigs{Type: Topic, Name: "orders", Set: map[string]string{"k": "v"}, Delete: []string{"x", "y"}},
	ElectLeaders{Elections: []Election{{Partition: p3, Leader: 2, ISR: []kafka.BrokerID{2, 1}, Expected: 9, ELR: []kafka.BrokerID{3}, Unclean: true}}},
	CommitSegment{Partition: p3, Entry: manifest.Entry{Base: 100, Next: 250, Epoch: 4, UUID: [16]byte{9, 8, 7}, Size: 5000, DataSize: 4900, MaxTimestamp: 1700000000000, Uploaded: 1700000000001}},
	TrimLog{Partition: p3, Epoch: 4, Start: 1 << 40},
	AllocateProducerIDs{Count: 1000},
	CommitOffsets{Group: "g", Offsets: []OffsetCommit{{Partition: p3, Offset: 77, LeaderEpoch: 4, Metadata: "m", ExpireMs: 5}, {Partition: p3, Offset: 1, LeaderEpoch: -1}}, Coordinator: 6},
	DeleteOffsets{Group: "g", Partitions: []kafka.Partition{p3}, Coordinator: 6},
	PutGroup{Group: "g", Type: "classic", State: []byte{0, 255}, Coordinator: 6},
	DeleteGroup{Group: "g", Coordinator: 6},
	SetBrokerState{ID: 7, Epoch: 40, State: Stopping},
	DrainBroker{ID: 7, Drain: true},
	UnregisterBroker{ID: 7},
	AlterISR{Changes: []ISRChange{{Partition: p3, LeaderEpoch: 4, Expected: 9, ISR: []ISRMember{{2, 41}, {1, 42}}, ELR: []kafka.BrokerID{3}}}},
	AssignReplicas{Changes: []Assignment{{Partition: p3, Expected: 9, Target: []kafka.BrokerID{4, 5}}}},
	FinishAssignments{Changes: []Finish{{Partition: p3, Expected: 9, Leader: 4}}},
	SpillSegments{Partition: p3, Epoch: 4, Page: manifest.Page{Base: 1, Next: 2000, Count: 1024, Bytes: 1 << 37, MaxTimestamp: 1700000000000, UUID: [16]byte{5, 6}, CRC: 77, FirstSize: 1 << 27, FirstTime: 1699999999998, LatestTime: 1700000000000}},
	PlaceCoordinators{Shards: []ShardPlacement{{Shard: 63, Broker: 2, Expected: 5}}},
	SetLevel{Level: 1},
	PutTransaction{Transaction: Transaction{ID: "t", Revision: 7, Producer: 9, Epoch: 3, LastProducer: 8, LastEpoch: 2, State: TxnOngoing, TimeoutMs: 60000, Partitions: []kafka.Partition{p3}, Groups: []string{"g"}, StartedMs: 1700000000000, ChangedMs: 1700000000001, Version: 2, Next: 10}, Coordinator: 6},
	DeleteTransaction{ID: "t", Revision: 7, Coordinator: 6},
	CommitTxnOffsets{Group: "g", ID: "t", Producer: 9, Epoch: 3, Offsets: []OffsetCommit{{Partition: p3, Offset: 77, LeaderEpoch: 4, Metadata: "m", ExpireMs: 5}}, Coordinator: 6},
	ChangeShare{Group: "g", Partition: p3, LeaderEpoch: 4, Base: 77, Start: 100, Put: []ShareRun{{First: 100, Next: 103, State: ShareAcknowledged, Deliveries: 1}, {First: 105, Next: 106, Deliveries: 2}}},
	ResetShares{Group: "g", Starts: []ShareStart{{Partition: p3, Start: 5}}, Forget: []kafka.TopicID{topicID}, Coordinator: 6},
	ChangeGroup{Group: "g", Type: "consumer", Base: 77, Put: []GroupPart{{"m1", []byte{1, 2}}, {"m2", []byte{}}}, Delete: []string{"t1"}, Coordinator: 5},
}

var env = Envelope{Broker: 7, BrokerEpoch: 40, Session: 1 << 63, Request: 300, TimeMs: 1700000000000}

func encode(t testing.TB, e Envelope, cs ...Command) []byte {
	t.Helper()
	b, err := Encode(e, cs...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes of a command's version are what they were when it was released, and those bytes are still read.
func TestGolden(t *testing.T) {
	seen := make(map[Kind]bool)
	for _, c := range samples {
		seen[c.Kind()] = true
		t.Run(c.Kind().String(), func(t *testing.T) {
			entry := encode(t, env, c)
			path := filepath.Join("testdata", "golden", fmt.Sprintf("%s.v%d.txt", c.Kind(), kinds[c.Kind()].version))
			diagnosis, err := lib.Diagnose(entry)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); *rewrite && errors.Is(err, os.ErrNotExist) {
				if err := os.WriteFile(path, []byte(hex.EncodeToString(entry)+"\n"+diagnosis+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.SplitN(string(golden), "\n", 2)[0])
			if err != nil {
				t.Fatal(err)
			}
			if string(entry) != string(want) {
				t.Errorf("the encoding of %s changed:\n now %s\n was %s\nraise its version instead", c.Kind(), diagnosis, golden)
			}
			got, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || !reflect.DeepEqual(got[0], Proposal{env, c}) {
				t.Errorf("read %+v\nwant %+v", got, c)
			}
		})
	}
	for k := range kinds {
		if !seen[k] {
			t.Errorf("%s has no golden file", k)
		}
	}
}

// What an earlier release wrote is still read.
func TestGoldenOfEarlierVersions(t *testing.T) {
	for k, e := range kinds {
		for v := uint8(1); v < e.version; v++ {
			golden, err := os.ReadFile(filepath.Join("testdata", "golden", fmt.Sprintf("%s.v%d.txt", k, v)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := hex.DecodeString(strings.SplitN(string(golden), "\n", 2)[0])
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Decode(b); err != nil || len(got) != 1 || got[0].Command.Kind() != k {
				t.Errorf("%s v%d: %+v, %v", k, v, got, err)
			}
		}
	}
}

// Commands of one entry keep their order and get consecutive request numbers; without a first number they get none.
func TestJoinNumbersRequests(t *testing.T) {
	for _, first := range []uint64{0, 1, 23, 24, 1 << 40} {
		e := env
		e.Request = first
		got, err := Decode(encode(t, e, samples...))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range got {
			want := e
			if first != 0 {
				want.Request = first + uint64(i)
			}
			if p.Envelope != want || !reflect.DeepEqual(p.Command, samples[i]) {
				t.Errorf("from %d, command %d: %+v", first, i, p)
			}
		}
	}
}

// What the proposer writes by hand is what the library would write: one encoding, not two.
func TestJoinIsDeterministicCBOR(t *testing.T) {
	for _, e := range []Envelope{{}, env, {Broker: kafka.NoBroker, BrokerEpoch: -300, TimeMs: -1 << 62, Session: 255, Request: 65535}} {
		b := encode(t, e, samples...)
		var v any
		if err := lib.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		again, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(b) {
			t.Errorf("envelope %+v: % x\nwant % x", e, b, again)
		}
	}
}

// What this release does not know is ErrUnknown, never skipped; what is no entry is ErrMalformed.
func TestDecodeRefuses(t *testing.T) {
	whole := encode(t, env, DeleteGroup{Group: "g"})
	entry := func(items ...any) []byte {
		b, err := cbor.Marshal([]any{1, 7, 40, 1, 300, 0, items})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	body := map[int]any{1: "g"}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"later format", append([]byte{whole[0], 2}, whole[2:]...), ErrUnknown},
		{"longer array", append([]byte{0x88}, whole[1:]...), ErrUnknown},
		{"unknown kind", entry([]any{999, 1, body}), ErrUnknown},
		{"unknown kind after a known one", entry([]any{14, 1, body}, []any{999, 1, body}), ErrUnknown},
		{"later version", entry([]any{14, 3, body}), ErrUnknown},
		{"version 0", entry([]any{14, 0, body}), ErrUnknown},
		{"unknown field", entry([]any{14, 1, map[int]any{1: "g", 20: "h"}}), ErrUnknown},
		{"empty", nil, ErrMalformed},
		{"no array", []byte{0xa1, 1, 2}, ErrMalformed},
		{"torn", whole[:len(whole)-1], ErrMalformed},
		{"more behind", append(append([]byte{}, whole...), 0), ErrMalformed},
		{"wrong type", entry([]any{14, 1, map[int]any{1: 5}}), ErrMalformed},
		{"body is no map", entry([]any{14, 1, 5}), ErrMalformed},
		{"item of four", entry([]any{14, 1, body, 1}), ErrMalformed},
		{"array that lies about its length", append(append([]byte{}, whole[:12]...), 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := Decode(c.in); !errors.Is(err, c.want) {
				t.Errorf("Decode = %v, %v; want %v", got, err, c.want)
			}
		})
	}
	if _, err := Decode(entry([]any{14, 1, body})); err != nil {
		t.Errorf("the entry that the others are made from: %v", err)
	}
}

// A client's offset metadata that is no UTF-8 is stored as it came, and does not halt the node that reads it back.
func TestStringsNeedNotBeUTF8(t *testing.T) {
	c := CommitOffsets{Group: "g\xff", Offsets: []OffsetCommit{{Partition: p3, Metadata: "\xc3\x28\x00"}}}
	got, err := Decode(encode(t, env, c))
	if err != nil || !reflect.DeepEqual(got[0].Command, c) {
		t.Fatalf("%+v, %v", got, err)
	}
}

// What the decoder would not read is refused by the encoder, before it is in any log.
func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	for _, c := range []Command{
		PutGroup{Group: "g", State: make([]byte, MaxBodyBytes)},
		SetConfigs{Delete: make([]string, maxElements+1)},
	} {
		if _, err := EncodeBody(c); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", c.Kind(), err)
		}
	}
}

// Whatever bytes come, Decode returns; what it accepts is encoded again to the same commands.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, env, samples...))
	for _, c := range samples {
		f.Add(encode(f, Envelope{}, c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ps, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("error without a decision: %v", err)
			}
			return
		}
		if len(ps) == 0 {
			return
		}
		var cs []Command
		for _, p := range ps {
			cs = append(cs, p.Command)
		}
		again, err := Decode(encode(t, ps[0].Envelope, cs...))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, ps) {
			t.Fatalf("%+v\n%+v", ps, again)
		}
	})
}

// Thousands of offsets to an entry, as coordinators propose them.
func BenchmarkCommitOffsets(b *testing.B) {
	c := CommitOffsets{Group: "group", Offsets: make([]OffsetCommit, 5000)}
	for i := range c.Offsets {
		c.Offsets[i] = OffsetCommit{Partition: kafka.Partition{Topic: topicID, Index: int32(i)}, Offset: kafka.Offset(i) * 1000, LeaderEpoch: 5}
	}
	entry := encode(b, env, c)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encode(b, env, c)
		}
		b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "offsets/s")
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := Decode(entry); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "offsets/s")
		b.ReportMetric(float64(len(entry))/5000, "bytes/offset")
	})
}
