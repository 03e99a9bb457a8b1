package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// batches builds a segment's data: n batches of two records each.
func batches(t testing.TB, n int) []byte {
	t.Helper()
	var data []byte
	for i := range n {
		var b batch.Builder
		b.Add(1767225600000+int64(i), []byte("k"), []byte("value"))
		b.Add(1767225600000+int64(i), nil, []byte{0xff, 0xfe})
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		v.Stamp(kafka.Offset(100+2*i), 3)
		data = append(data, v...)
	}
	return data
}

// asObject wraps data as it lies in the bucket.
func asObject(t testing.TB, data []byte) []byte {
	t.Helper()
	f, err := segment.Scan(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	f.Cluster, f.Topic, f.Partition, f.Epoch = "cluster", "events", kafka.Partition{Index: 4}, 3
	f.Epochs = []segment.EpochStart{{Epoch: 1, Start: 0}, {Epoch: 3, Start: 100}}
	return f.Append(bytes.Clone(data))
}

// dumped is a directory with a local segment and an object, and a command line in it.
func dumped(t *testing.T) *cli {
	t.Helper()
	t.Chdir(t.TempDir())
	data := batches(t, 3)
	for name, text := range map[string][]byte{
		"p/0/00000000000000000100.log": data,
		"b/00000000000000000100-00000000000000000106.e3.00112233445566778899aabbccddeeff": asObject(t, data),
		"p/0/notes.txt": []byte("no segment"),
		"empty.log":     nil,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &cli{t: t}
}

// golden files lie beside the tests, whatever directory the test has gone to.
var testdata = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, "testdata")
}()

// Segments are shown batch by batch, local ones and objects alike.
func TestDump(t *testing.T) {
	c := dumped(t)
	c.story("", "log", "dump", "p")
	c.story("", "log", "dump", "p", "--records", "--from", "103")
	c.story("", "log", "dump", "p", "b", "-q")
	c.story("", "log", "dump", "p", "-n", "1", "-o", "json", "--records")
	c.story("", "log", "dump", "empty.log")
	c.story("", "log", "dump", "none")
	c.story("", "log", "dump", ".", "-q")
	object := "b/00000000000000000100-00000000000000000106.e3.00112233445566778899aabbccddeeff"
	c.story("", "tier", "inspect", object)
	c.story("", "tier", "inspect", object, "--verify", "-o", "json")
	c.story("", "tier", "inspect", "--bucket", "dir:b", strings.TrimPrefix(object, "b/"), "--verify")
	c.story("", "tier", "inspect", "--bucket", "dir:b", "none")
	c.story("", "tier", "inspect", "--bucket", "dir:nowhere", "none")
	c.story("", "tier", "inspect", "--bucket", "what:b", "none")
	c.story("", "tier", "inspect", "p/0/notes.txt")
	c.story("", "tier", "inspect", "none")
	for _, partition := range []string{"4", "5"} { // its own place, and one that is another partition's
		name := filepath.Join("bucket/cluster", kafka.TopicID{}.String(), partition, filepath.Base(object))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Link(object, name)); err != nil {
			t.Fatal(err)
		}
		c.story("", "tier", "inspect", name)
	}
	var m manifest.Manifest
	for i := range kafka.Offset(4) {
		var err error
		e := manifest.Entry{Base: 100 * i, Next: 100*i + 100, Epoch: 3, UUID: [16]byte{byte(i)}, Size: 128 << 20, DataSize: 127 << 20, MaxTimestamp: 1767225600000, Uploaded: 1767225601000}
		if m, err = m.Append(e, 3); err != nil {
			t.Fatal(err)
		}
	}
	_, page := m.NewPage(kafka.Partition{Topic: kafka.TopicID{1, 2}, Index: 4}, 3, [16]byte{9})
	for name, b := range map[string][]byte{"page": page, "cut": page[:100]} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.story("", "tier", "inspect", "page")
	c.story("", "tier", "inspect", "page", "-o", "json")
	c.story("", "tier", "inspect", "cut")
	c.matches("dump")
}

// Any one byte that is changed below the batch header's unchecked fields is found, and so is any cut: never a panic, never a clean answer.
func TestDumpFindsDamage(t *testing.T) {
	t.Chdir(t.TempDir())
	data := batches(t, 2)
	check := func(what string, text []byte) {
		t.Helper()
		if err := os.WriteFile("x.log", text, 0o644); err != nil {
			t.Fatal(err)
		}
		if r := (&cli{t: t}).run("log", "dump", "x.log", "--records"); r.code != exitDamaged || !strings.Contains(r.out, "DAMAGED at position") {
			t.Errorf("%s: %d\n%s%s", what, r.code, r.out, r.errors)
		}
	}
	for i := batch.HeaderLen - 44; i < len(data)/2; i++ { // from the CRC on, in the first batch
		bad := bytes.Clone(data)
		bad[i] ^= 1
		check("flipped "+string(rune('0'+i%10)), bad)
	}
	for _, n := range []int{1, 60, 61, len(data) - 1, len(data)/2 + 5} {
		check("cut", data[:n])
	}
	again := append(bytes.Clone(data), data...)
	check("offsets go back", again)
}

// An object whose data was changed passes inspect, which reads the footer only, and not --verify.
func TestInspectVerifies(t *testing.T) {
	t.Chdir(t.TempDir())
	object := asObject(t, batches(t, 2))
	object[100] ^= 1
	if err := os.WriteFile("o", object, 0o644); err != nil {
		t.Fatal(err)
	}
	c := &cli{t: t}
	if r := c.run("tier", "inspect", "o"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r := c.run("tier", "inspect", "o", "--verify"); r.code != exitDamaged {
		t.Errorf("%+v", r)
	}
}
