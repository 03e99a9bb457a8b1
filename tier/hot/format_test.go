package hot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if hex.Dump(got) != string(want) {
		t.Fatalf("%s: the format has changed:\n%s", name, hex.Dump(got))
	}
}

func sampleState() *stateFile {
	return &stateFile{
		base: 4711, blob: []byte("producers"),
		epochs: []segment.EpochStart{{Epoch: 1, Start: 0}, {Epoch: 3, Start: 4000}},
		prev:   &prevSegment{base: 4000, size: 65536, facts: facts{created: 1_700_000_000_000_000_000, maxTimestamp: 1_700_000_000_123, maxAt: 4650}},
	}
}

func samplePoint() recoveryPoint {
	return recoveryPoint{
		partition: testPartition, clean: true, start: 4000,
		point: point{offset: 4800, base: 4711, pos: 9000}, facts: facts{created: 1_700_000_000_000_000_000, maxTimestamp: 1_700_000_000_456, maxAt: 4799},
		epochs: []segment.EpochStart{{Epoch: 3, Start: 4000}, {Epoch: 4, Start: 4790}},
	}
}

// False if it failed: "a state file's bytes are those that docs/formats-local.md draws, and are read as they were written".
func TestStateFormat(t *testing.T) {
	b := sampleState().encode()
	golden(t, "state.golden", b)
	got, err := decodeState(b)
	if err != nil || !reflect.DeepEqual(got, sampleState()) {
		t.Fatalf("decoded: %+v, %v", got, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := decodeState(bad); err == nil {
			t.Fatalf("a flipped bit in byte %d goes unseen", i)
		}
		if _, err := decodeState(b[:i]); err == nil {
			t.Fatalf("%d of %d bytes are taken for whole", i, len(b))
		}
	}
}

// False if it failed: "a recovery file's bytes are those that docs/formats-local.md draws; a torn or damaged record ends it".
func TestRecoveryFormat(t *testing.T) {
	fsys := vfs.NewCrash()
	r, err := openRecovery(fsys, "/", silent)
	if err != nil {
		t.Fatal(err)
	}
	gone := recoveryPoint{partition: kafka.Partition{Topic: kafka.TopicID{9}}, gone: true, facts: noFacts}
	for _, p := range []recoveryPoint{samplePoint(), gone} {
		if err := r.put(p); err != nil {
			t.Fatal(err)
		}
	}
	b, err := vfs.ReadFile(fsys, "/"+recoveryName)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "recovery.golden", b)
	for n := recoveryHeader; n <= len(b); n++ {
		r := &recoveryFile{live: map[kafka.Partition]recoveryPoint{}, log: silent}
		ok, err := r.load(append(bytes.Clone(b[:n]), 0, 0, 0))
		if !ok || err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if p, ok := r.live[testPartition]; ok && !reflect.DeepEqual(p, samplePoint()) {
			t.Fatalf("cut to %d bytes: %+v", n, p)
		} else if !ok && n >= recoveryHeader+recordPrefix+recordFixed+24 {
			t.Fatalf("cut to %d bytes: the whole record is not seen", n)
		}
	}
}

// False if it failed: "files of a newer release are refused, not guessed at".
func TestNewerFormat(t *testing.T) {
	fsys := vfs.NewCrash()
	if _, err := openRecovery(fsys, "/", silent); err != nil {
		t.Fatal(err)
	}
	header := append([]byte(recoveryMagic), 0, 0, 0, recoveryVersion+1)
	overwrite(t, fsys, "/"+recoveryName, 0, appendCRC(header))
	if _, err := openRecovery(fsys, "/", silent); err == nil || !strings.Contains(err.Error(), ErrNewer.Error()) {
		t.Fatalf("recovery: %v", err)
	}
	b := sampleState().encode()
	b[11] = 2
	if _, err := decodeState(appendCRC(b[:len(b)-4])); err == nil || !strings.Contains(err.Error(), ErrNewer.Error()) {
		t.Fatalf("state: %v", err)
	}
}

func FuzzState(f *testing.F) {
	f.Add(sampleState().encode())
	f.Add((&stateFile{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		// What follows the checksum is what is fuzzed: it is made right.
		if len(b) > 4 {
			b = appendCRC(b[:len(b)-4])
		}
		s, err := decodeState(b)
		if err == nil && !bytes.Equal(s.encode(), b) && s.prev != nil && s.blob != nil {
			t.Fatalf("%x is read, but written as %x", b, s.encode())
		}
	})
}

// FuzzTail opens a log whose only segment is a good batch and then any bytes: it opens, keeps the batch, and goes on.
func FuzzTail(f *testing.F) {
	good := makeBatch(f, 0, 1, 2, 0, []byte("kept"))
	next := makeBatch(f, 2, 1, 1, 0, []byte("next"))
	for _, tail := range [][]byte{nil, next, next[:70], next[:20], make([]byte, 200), append(bytes.Clone(next), next...)} {
		f.Add(tail)
	}
	f.Fuzz(func(t *testing.T, tail []byte) {
		fsys := vfs.NewCrash()
		w := newWorld(t, fsys, Config{})
		w.must(w.log.Append([]batch.View{good}))
		w.must(w.log.Written())
		overwrite(t, fsys, logPath(0), int64(len(good)), tail)
		w.restart(Config{})
		if w.found.Damage != nil || w.log.End() < 2 || !bytes.Equal(content(t, w.log, 1)[0], good) {
			t.Fatalf("end %d, %+v", w.log.End(), w.found)
		}
		v := makeBatch(t, w.log.End(), math.MaxInt32, 1, 0, nil)
		w.must(w.log.Append([]batch.View{v}))
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, samplePoint(), 0, 0))
	f.Add(appendRecord(nil, recoveryPoint{unknown: true}, 0, 99))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > recordPrefix {
			payload := bytes.Clone(b[recordPrefix:])
			b = append(appendLengthCRC(nil, payload), payload...)
		}
		if p, end, synced, ok := decodeRecord(b, 0); ok {
			again, _, syncedAgain, ok := decodeRecord(appendRecord(nil, p, 0, synced), 0)
			if !ok || !reflect.DeepEqual(p, again) || synced != syncedAgain || end != int64(len(b)) {
				t.Fatalf("%+v is read again as %+v", p, again)
			}
		}
		r := &recoveryFile{live: map[kafka.Partition]recoveryPoint{}, log: silent}
		_, _ = r.load(b) // any bytes
	})
}

func appendCRC(b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
}

func appendLengthCRC(b, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
}
