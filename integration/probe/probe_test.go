package probe

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// record is a batch of n offsets with some bytes of payload.
func record(base int64, n int, payload string) []byte {
	b := make([]byte, headerSize+len(payload))
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	copy(b[headerSize:], payload)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

func parsed(t *testing.T, raw ...[]byte) []batch {
	t.Helper()
	var data []byte
	for _, r := range raw {
		data = append(data, r...)
	}
	all, err := batches(data)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Replicas that differ would pass, or those that are only released differently would not.
func TestCompare(t *testing.T) {
	a, b, c := record(0, 2, "a"), record(2, 1, "b"), record(3, 4, "c")
	other := record(2, 1, "x")
	for _, x := range []struct {
		name      string
		one, two  []batch
		both      int
		different bool
	}{
		{"the same", parsed(t, a, b, c), parsed(t, a, b, c), 3, false},
		{"one begins later", parsed(t, a, b, c), parsed(t, c), 1, false},
		{"one is empty, the other not", parsed(t, a), parsed(t), 0, true},
		{"other bytes", parsed(t, a, b, c), parsed(t, a, other, c), 1, true},
		{"a batch missing in the middle", parsed(t, a, b, c), parsed(t, a, c), 1, true},
		{"a batch missing at the end", parsed(t, a, b, c), parsed(t, a, b), 2, true},
		{"other batch limits", parsed(t, record(0, 3, "a")), parsed(t, a, b), 0, true},
	} {
		both, difference := compare(x.one, x.two)
		if both != x.both || (difference != "") != x.different {
			t.Errorf("%s: %d compared, %q", x.name, both, difference)
		}
	}
}

// A damaged replica would be taken for a whole one.
func TestReplicaDamaged(t *testing.T) {
	flipped := record(0, 1, "payload")
	flipped[headerSize+2] ^= 1
	for name, raw := range map[string][]byte{
		"bit flipped": flipped, "cut": record(0, 1, "payload")[:65], "zeros": make([]byte, 100),
		"twice": append(record(0, 1, "a"), record(0, 1, "a")...),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000000000000000000.log"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if all, err := replica(dir); err == nil {
			t.Errorf("%s: %d batches", name, len(all))
		}
	}
}

// An object that is not what its key says would pass.
func TestObject(t *testing.T) {
	data := append(record(5, 2, "a"), record(7, 1, "b")...)
	footer := make([]byte, 40)
	binary.BigEndian.PutUint64(footer, uint64(len(data)))
	copy(footer[32:], "QANATSEG")
	binary.BigEndian.PutUint32(footer[28:], crc32.Checksum(footer[:28], castagnoli))
	path := filepath.Join(t.TempDir(), "object")
	try := func(raw []byte, base, next int64) error {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return object{path, base, next}.check()
	}
	whole := append(append([]byte{}, data...), footer...)
	if err := try(whole, 5, 8); err != nil {
		t.Error(err)
	}
	flipped := []byte(strings.Replace(string(whole), "b", "c", 1))
	for name, err := range map[string]error{
		"longer than it is": try(whole, 5, 9), "an earlier base": try(whole, 4, 8), "bit flipped": try(flipped, 5, 8),
		"cut": try(whole[:len(whole)-1], 5, 8), "empty": try(nil, 5, 8),
	} {
		if err == nil {
			t.Errorf("%s: taken for whole", name)
		}
	}
}
