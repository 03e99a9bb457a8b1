package manifest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/wire/kafka"
)

// model is a manifest as one would write it first: a plain slice, copied at every edit.
type model []Entry

func (m model) append(e Entry, current kafka.LeaderEpoch) (model, error) {
	if e.Validate() != nil {
		return m, ErrInvalid
	}
	for _, o := range m {
		if o.Names(e) {
			return m, nil
		}
	}
	if e.Epoch != current {
		return m, ErrStaleEpoch
	}
	if len(m) > 0 && m[len(m)-1].Next != e.Base {
		return m, ErrNotContiguous
	}
	if len(m) > 0 && m[len(m)-1].Epoch > e.Epoch {
		return m, ErrStaleEpoch
	}
	return append(append(model(nil), m...), e), nil
}

func (m model) trim(start kafka.Offset) (rest, removed model) {
	for _, e := range m {
		if e.Next <= start {
			removed = append(removed, e)
		} else {
			rest = append(rest, e)
		}
	}
	return rest, removed
}

func check(t interface{ Fatalf(string, ...any) }, m Manifest, want model) {
	if m.Len() != len(want) {
		t.Fatalf("length %d, want %d", m.Len(), len(want))
	}
	var size int64
	for i, e := range m.All() {
		if e != want[i] || m.At(i) != want[i] {
			t.Fatalf("entry %d is %+v, want %+v", i, e, want[i])
		}
		size += e.Size
	}
	if m.Bytes() != size {
		t.Fatalf("bytes %d, want %d", m.Bytes(), size)
	}
	var start, end kafka.Offset
	if len(want) > 0 {
		start, end = want[0].Base, want[len(want)-1].Next
	}
	if m.Start() != start || m.End() != end {
		t.Fatalf("range [%d, %d), want [%d, %d)", m.Start(), m.End(), start, end)
	}
}

func checkSearches(t *rapid.T, m Manifest, want model) {
	offset := kafka.Offset(rapid.Int64Range(-2, int64(m.End())+2).Draw(t, "offset"))
	found := -1
	for i, e := range want {
		if e.Base <= offset && offset < e.Next {
			found = i
		}
	}
	if i, ok := m.Find(offset); ok != (found >= 0) || ok && i != found {
		t.Fatalf("Find(%d) is %d, %v; want %d", offset, i, ok, found)
	}
	ts := rapid.Int64Range(-2, 52).Draw(t, "ts")
	found = -1
	for i, e := range want {
		if found < 0 && e.MaxTimestamp >= ts {
			found = i
		}
	}
	if i, ok := m.FindTime(ts); ok != (found >= 0) || ok && i != found {
		t.Fatalf("FindTime(%d) is %d, %v; want %d", ts, i, ok, found)
	}
}

func drawEntry(t *rapid.T, m Manifest) Entry {
	e := Entry{
		Base:         m.End(),
		Epoch:        kafka.LeaderEpoch(rapid.IntRange(-1, 4).Draw(t, "epoch")),
		DataSize:     rapid.Int64Range(0, 100).Draw(t, "data"),
		MaxTimestamp: rapid.Int64Range(-1, 50).Draw(t, "max timestamp"),
	}
	if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
		e.Base += kafka.Offset(rapid.IntRange(-2, 2).Draw(t, "by"))
	}
	e.Next = e.Base + kafka.Offset(rapid.IntRange(0, 5).Draw(t, "offsets"))
	e.Size = e.DataSize + rapid.Int64Range(0, 3).Draw(t, "footer")
	e.UUID[0] = rapid.Byte().Draw(t, "uuid")
	return e
}

// False if: some sequence of edits, applied to any versions in any order,
// makes a version differ from a plain slice that was edited alike, or changes
// a version that existed before.
func TestEveryVersionIsWhatAPlainSliceWouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			m    Manifest
			want model
		}
		versions := []version{{}}
		for range rapid.IntRange(1, 40).Draw(t, "edits") {
			// Mostly the newest version, sometimes an older one: forks must not see each other.
			from := len(versions) - 1
			if rapid.IntRange(0, 4).Draw(t, "fork") == 0 {
				from = rapid.IntRange(0, len(versions)-1).Draw(t, "from")
			}
			v := versions[from]
			if rapid.IntRange(0, 3).Draw(t, "edit") > 0 {
				e := drawEntry(t, v.m)
				if v.m.Len() > 0 && rapid.IntRange(0, 9).Draw(t, "retry") == 0 {
					e = v.m.At(rapid.IntRange(0, v.m.Len()-1).Draw(t, "which"))
				}
				current := kafka.LeaderEpoch(rapid.IntRange(0, 4).Draw(t, "current"))
				m, err := v.m.Append(e, current)
				want, wantErr := v.want.append(e, current)
				if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
					t.Fatalf("append %+v at epoch %d: %v, want %v", e, current, err, wantErr)
				}
				versions = append(versions, version{m, want})
			} else {
				start := kafka.Offset(rapid.Int64Range(int64(v.m.Start())-1, int64(v.m.End())+1).Draw(t, "start"))
				m, removed := v.m.TrimBefore(start)
				want, wantRemoved := v.want.trim(start)
				if fmt.Sprint(removed) != fmt.Sprint([]Entry(wantRemoved)) {
					t.Fatalf("trim before %d removed %v, want %v", start, removed, wantRemoved)
				}
				versions = append(versions, version{m, want})
			}
			last := versions[len(versions)-1]
			checkSearches(t, last.m, last.want)
		}
		for _, v := range versions {
			check(t, v.m, v.want)
			b, err := v.m.MarshalCBOR()
			if err != nil {
				t.Fatalf("marshal: %v", err)
			}
			var again Manifest
			if err := cbor.Unmarshal(b, &again); err != nil {
				t.Fatalf("unmarshal: %v", err)
			}
			if !again.Equal(v.m) {
				t.Fatalf("decoded %v, want %v", again.Entries(), v.m.Entries())
			}
			checkSearches(t, again, v.want)
		}
	})
}

func entry(i int) Entry {
	return Entry{Base: kafka.Offset(i), Next: kafka.Offset(i + 1), DataSize: 1, Size: 2, MaxTimestamp: int64(i), UUID: [16]byte{byte(i)}}
}

func filled(t testing.TB, n int) Manifest {
	t.Helper()
	var m Manifest
	for i := range n {
		var err error
		if m, err = m.Append(entry(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// False if: goroutines that append to one version at the same time can see
// each other's entries (or race: run with -race).
func TestConcurrentAppendsToOneVersionDoNotMeet(t *testing.T) {
	m := filled(t, 5)
	var group sync.WaitGroup
	results := make([]Manifest, 8)
	for g := range results {
		group.Go(func() {
			mine := m
			for i := range 20 {
				e := entry(5 + i)
				e.UUID[1] = byte(g)
				mine, _ = mine.Append(e, 0)
			}
			results[g] = mine
		})
	}
	group.Wait()
	for g, r := range results {
		if r.Len() != 25 {
			t.Fatalf("goroutine %d has %d entries, want 25", g, r.Len())
		}
		for i := 5; i < 25; i++ {
			if r.At(i).UUID[1] != byte(g) {
				t.Fatalf("goroutine %d sees entry %d of goroutine %d", g, i, r.At(i).UUID[1])
			}
		}
	}
}

// False if: appending to a long manifest costs in proportion to its length.
func TestAppendIsCheapOnALongManifest(t *testing.T) {
	const n = 1 << 14
	m := filled(t, n)
	i := n
	allocs := testing.AllocsPerRun(n/2, func() {
		m, _ = m.Append(entry(i), 0)
		i++
	})
	if allocs > 0.01 {
		t.Fatalf("%v allocations an append", allocs)
	}
}

// False if: a window that slides (retention as fast as uploads) keeps what it has left behind.
func TestASlidingWindowKeepsNoPast(t *testing.T) {
	m := filled(t, 10)
	for i := 10; i < 10_000; i++ {
		var err error
		if m, err = m.Append(entry(i), 0); err != nil {
			t.Fatal(err)
		}
		m, _ = m.TrimBefore(kafka.Offset(i - 9))
	}
	if room := len(m.store.slots); room > 64 {
		t.Fatalf("10 entries keep %d slots", room)
	}
}

// False if: a retried proposal is refused because the leader changed between
// the commit and the retry.
func TestARetriedAppendIsAcceptedAfterTheEpochMoved(t *testing.T) {
	m := filled(t, 3)
	again, err := m.Append(entry(1), 7)
	if err != nil || !again.Equal(m) {
		t.Fatalf("retry: %v, %d entries", err, again.Len())
	}
}

// False if: ParseKey reads anything but what Key writes, or loses the identity in it.
func TestKeysParseBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kafka.Partition{Topic: kafka.NewTopicID(), Index: int32(rapid.IntRange(0, 1<<20).Draw(t, "index"))}
		e := Entry{Base: kafka.Offset(rapid.Int64Min(0).Draw(t, "base")), Epoch: kafka.LeaderEpoch(rapid.Int32Min(0).Draw(t, "epoch"))}
		e.Next = e.Base + 1
		copy(e.UUID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
		key := e.Key("cluster", p)
		gotP, gotE, err := ParseKey("cluster", key)
		if err != nil || gotP != p || !gotE.Names(e) {
			t.Fatalf("parse %q: %v %+v %v", key, gotP, gotE, err)
		}
		i := rapid.IntRange(0, len(key)-1).Draw(t, "at")
		broken := key[:i] + "x" + key[i+1:]
		if q, f, err := ParseKey("cluster", broken); err == nil && f.Key("cluster", q) != broken {
			t.Fatalf("%q parsed as %q", broken, f.Key("cluster", q))
		}
	})
}

// False if: bytes that are no manifest, or one that breaks an invariant, are
// taken, crash the decoder, or do not encode back to what they meant.
func FuzzUnmarshalCBOR(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		b, err := filled(f, n).MarshalCBOR()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Manifest
		if err := cbor.Unmarshal(b, &m); err != nil {
			if m.Len() != 0 {
				t.Fatal("a failed decode left entries behind")
			}
			return
		}
		if _, err := New(m.Entries()); err != nil {
			t.Fatalf("decoded an invalid manifest: %v", err)
		}
		once, err := m.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		var again Manifest
		if err := cbor.Unmarshal(once, &again); err != nil || !again.Equal(m) {
			t.Fatalf("encoded and decoded: %v", err)
		}
		if twice, _ := again.MarshalCBOR(); !bytes.Equal(once, twice) {
			t.Fatal("equal manifests encode differently")
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	var m Manifest
	b.ReportAllocs()
	for i := range b.N {
		m, _ = m.Append(entry(i), 0)
	}
}

func BenchmarkFind(b *testing.B) {
	m := filled(b, 10_000)
	b.ReportAllocs()
	for i := range b.N {
		m.Find(kafka.Offset(i % 10_000))
	}
}

// False if: ParseKey takes a name that Key would not have given, or panics.
func FuzzParseKey(f *testing.F) {
	p := kafka.Partition{Topic: kafka.TopicID{1, 2, 3}, Index: 7}
	f.Add(entry(5).Key("cluster", p))
	f.Add(Prefix("cluster", p))
	f.Add("cluster/AQIDAAAAAAAAAAAAAAAAAA/-1/1-2.e-1.00")
	f.Fuzz(func(t *testing.T, key string) {
		p, e, err := ParseKey("cluster", key)
		if err == nil && e.Key("cluster", p) != key {
			t.Fatalf("%q parsed as %q", key, e.Key("cluster", p))
		}
	})
}

// False if: the encoding that snapshots keep has changed, so that an older snapshot cannot be read.
func TestTheEncodingIsTheGoldenOne(t *testing.T) {
	m, err := New([]Entry{
		{Base: 0, Next: 100, Epoch: 1, UUID: [16]byte{1, 2, 3}, Size: 5000, DataSize: 4900, MaxTimestamp: 1_700_000_000_000, Uploaded: 1_700_000_000_500},
		{Base: 100, Next: 250, Epoch: 4, UUID: [16]byte{9}, Size: 6000, DataSize: 5800, MaxTimestamp: -1, Uploaded: 1_700_000_001_500},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/manifest.golden")
	if err != nil {
		t.Fatalf("%v; the encoding is now\n%x", err, b)
	}
	want, err := hex.DecodeString(strings.TrimSpace(string(golden)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("encoded\n%x, want\n%x", b, want)
	}
	var old Manifest
	if err := old.UnmarshalCBOR(want); err != nil || !old.Equal(m) {
		t.Errorf("golden decodes to %+v, %v", old.Entries(), err)
	}
}
