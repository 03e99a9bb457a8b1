package segment

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/qanat-io/qanat/wire/kafka"
)

var rewriteGolden = flag.Bool("rewrite", false, "write golden files anew")

// golden is the object in testdata/v1.segment: every section in use, nothing random.
func golden(t *testing.T) (Footer, []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	var data []byte
	for _, s := range []spec{
		{base: 100, records: 3, epoch: 4, first: 1_700_000_000_000, high: 1_700_000_000_020, body: 40},
		{base: 103, records: 1, epoch: 4, first: 1_699_999_999_000, high: 1_699_999_999_000, body: 70_000},
		{base: 104, records: 6, epoch: 7, first: 1_700_000_000_030, high: 1_700_000_000_030, body: 25},
	} {
		data = appendBatch(data, s, rng)
	}
	f := mustScan(t, data)
	f.Cluster, f.Topic = "golden-cluster", "orders"
	f.Partition = kafka.Partition{Topic: kafka.TopicID{0, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 15}, Index: 12}
	f.Epoch = 9
	f.Epochs = []EpochStart{{0, 0}, {2, 50}, {4, 90}, {7, 104}}
	f.Aborted = []AbortedTxn{{7000, 95, 101, 95}}
	f.State = []byte("opaque producer state")
	return f, data
}

// An object of format version 1 is written byte for byte as it always was, and
// the one in testdata is read for what it says.
func TestGoldenVersion1(t *testing.T) {
	f, data := golden(t)
	name := filepath.Join("testdata", "v1.segment")
	got := f.Append(bytes.Clone(data))
	if *rewriteGolden {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("version 1 is written differently: that is another version")
	}
	read, err := ReadFooter(bytes.NewReader(want), int64(len(want)))
	if err != nil || !reflect.DeepEqual(*read, f) {
		t.Fatalf("read %+v, %v", read, err)
	}
	scanned, err := Scan(bytes.NewReader(want), read.DataSize)
	if err != nil || !reflect.DeepEqual(scanned.Chunks, f.Chunks) || !reflect.DeepEqual(scanned.Index, f.Index) {
		t.Fatalf("data of the golden object: %v", err)
	}
}
