package manifest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/wire/kafka"
)

var pagePartition = kafka.Partition{Topic: kafka.TopicID{7, 8, 9}, Index: 3}

// all is what a manifest holds, pages read.
func all(t *rapid.T, m Manifest, objects map[[16]byte][]byte) (list []Entry) {
	for _, p := range m.Pages() {
		b := objects[p.UUID]
		if int64(len(b)) != p.Size() {
			t.Fatalf("page's object has %d bytes, it says %d", len(b), p.Size())
		}
		entries, err := p.Open(pagePartition, b)
		if err != nil {
			t.Fatalf("page [%d, %d): %v", p.Base, p.Next, err)
		}
		for _, e := range entries.All() {
			if m.Alive(e) {
				list = append(list, e)
			}
		}
	}
	return append(list, m.Entries()...)
}

// False if: some sequence of appends, trims and spills makes a manifest with pages say something else than one without, pages read; or
// a version that existed before is changed by it; or encoding loses anything.
func TestSpillingChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			m     Manifest
			plain Manifest
		}
		objects := map[[16]byte][]byte{}
		versions := []version{{}}
		for i := range rapid.IntRange(1, 60).Draw(t, "edits") {
			v := versions[len(versions)-1]
			if rapid.IntRange(0, 6).Draw(t, "fork") == 0 {
				v = versions[rapid.IntRange(0, len(versions)-1).Draw(t, "from")]
			}
			switch edit := rapid.IntRange(0, 9).Draw(t, "edit"); {
			case edit < 6:
				e := drawEntry(t, v.plain)
				var err, plainErr error
				v.m, err = v.m.Append(e, e.Epoch)
				v.plain, plainErr = v.plain.Append(e, e.Epoch)
				if errors.Is(err, ErrSpilled) {
					if v.m.Holds(e) || e.Base >= v.m.Recent() {
						t.Fatalf("%+v is in memory, and said to be spilled", e)
					}
				} else if (err == nil) != (plainErr == nil) {
					t.Fatalf("append %+v: %v, without pages %v", e, err, plainErr)
				}
				if err != nil && plainErr == nil { // a retry of what was spilled
					continue
				}
			case edit < 8:
				start := kafka.Offset(rapid.Int64Range(int64(v.plain.Start())-1, int64(v.plain.End())+1).Draw(t, "start"))
				v.m, _ = v.m.TrimBefore(start)
				v.plain, _ = v.plain.TrimBefore(start)
			default:
				if v.m.Len() < 2 {
					continue
				}
				n := rapid.IntRange(1, v.m.Len()-1).Draw(t, "entries")
				p, b := v.m.NewPage(pagePartition, n, [16]byte{byte(i), 1})
				objects[p.UUID] = b
				other := p
				other.CRC++
				if _, err := v.m.Spill(other); !errors.Is(err, ErrConflict) {
					t.Fatalf("another page was taken: %v", err)
				}
				var err error
				if v.m, err = v.m.Spill(p); err != nil {
					t.Fatalf("spill %d: %v", n, err)
				}
				if again, err := v.m.Spill(p); err != nil || !again.Equal(v.m) {
					t.Fatalf("spilled again: %v", err)
				}
			}
			versions = append(versions, v)
		}
		for _, v := range versions {
			want := v.plain.Entries()
			if got := all(t, v.m, objects); !slices.Equal(got, want) {
				t.Fatalf("with pages: %v\nwithout:    %v", got, want)
			}
			if v.m.End() != v.plain.End() || v.m.Start() < v.plain.Start() || v.m.Bytes() < v.plain.Bytes() || v.m.Count() < v.plain.Len() || (v.m.Len() == 0) != (v.plain.Len() == 0) {
				t.Fatalf("[%d, %d), %d bytes, %d entries; without pages [%d, %d), %d, %d",
					v.m.Start(), v.m.End(), v.m.Bytes(), v.m.Count(), v.plain.Start(), v.plain.End(), v.plain.Bytes(), v.plain.Len())
			}
			o := kafka.Offset(rapid.Int64Range(-1, int64(v.m.End())+1).Draw(t, "offset"))
			_, has := v.plain.Find(o)
			_, recent := v.m.Find(o)
			page, paged := v.m.PageOf(o)
			if has && o >= v.m.Start() != v.m.Has(o) || recent && paged || v.m.Has(o) != (recent || paged) || paged && (o < page.Base || o >= page.Next) {
				t.Fatalf("offset %d: has %v, in memory %v, in page %+v %v", o, v.m.Has(o), recent, page, paged)
			}
			b, err := v.m.MarshalCBOR()
			if err != nil {
				t.Fatal(err)
			}
			var again Manifest
			if err := cbor.Unmarshal(b, &again); err != nil || !again.Equal(v.m) || again.Start() != v.m.Start() {
				t.Fatalf("encoded and decoded: %v", err)
			}
		}
	})
}

var rewritePage = flag.Bool("rewrite", false, "write golden files anew")

func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	if *rewritePage {
		if err := os.WriteFile(name, []byte(hex.Dump(b)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(name); err != nil || hex.Dump(b) != string(want) {
		t.Errorf("%s (%v) is now\n%s", name, err, hex.Dump(b))
	}
}

// False if: a page's object, or a manifest with a page in a snapshot, is another than the documented one, or damage of the page is not seen.
func TestThePageIsTheGoldenOne(t *testing.T) {
	m := filled(t, 5)
	p, b := m.NewPage(pagePartition, 3, [16]byte{1, 2, 3})
	golden(t, "testdata/page.golden", b)
	spilled, err := m.Spill(p)
	if err != nil {
		t.Fatal(err)
	}
	spilled, _ = spilled.TrimBefore(1)
	inner, err := spilled.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/spilled.golden", inner)
	if of, q, err := ParsePageKey("c", p.Key("c", pagePartition)); err != nil || of != pagePartition || q.UUID != p.UUID || q.Base != 0 || q.Next != 3 {
		t.Errorf("key: %v %+v %v", of, q, err)
	}
	if _, _, err := ParseKey("c", p.Key("c", pagePartition)); err == nil {
		t.Error("a page's key is taken for a segment's")
	}
	if _, _, err := ParsePageKey("c", entry(0).Key("c", pagePartition)); err == nil {
		t.Error("a segment's key is taken for a page's")
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		if _, err := p.Open(pagePartition, bad); !errors.Is(err, ErrBadPage) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	for n := range b {
		if _, err := p.Open(pagePartition, b[:n]); !errors.Is(err, ErrBadPage) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	if _, err := p.Open(kafka.Partition{}, b); !errors.Is(err, ErrBadPage) {
		t.Fatalf("another partition's: %v", err)
	}
	other, _ := m.NewPage(pagePartition, 2, p.UUID)
	if _, err := other.Open(pagePartition, b); !errors.Is(err, ErrBadPage) {
		t.Fatalf("another page: %v", err)
	}
}

// False if: a manifest keeps in memory what it has spilled.
func TestASpilledManifestIsSmall(t *testing.T) {
	var m Manifest
	for i := range 10_000 {
		var err error
		if m, err = m.Append(entry(i), 0); err != nil {
			t.Fatal(err)
		}
		if m.Len() == 64 {
			p, _ := m.NewPage(pagePartition, 32, [16]byte{byte(i), byte(i >> 8)})
			if m, err = m.Spill(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if room := len(m.store.slots); room > 128 || m.Count() != 10_000 || len(m.Pages()) != 311 {
		t.Fatalf("%d slots, %d pages, %d entries", room, len(m.Pages()), m.Count())
	}
}

// False if: any bytes crash the decoder, or what it takes does not encode back.
func FuzzDecodePage(f *testing.F) {
	m := filled(f, 4)
	_, b := m.NewPage(pagePartition, 3, [16]byte{1})
	f.Add(b)
	f.Add(b[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		of, entries, err := DecodePage(b)
		if err != nil {
			if !errors.Is(err, ErrBadPage) || entries.Len() > 0 {
				t.Fatalf("%v, %d entries", err, entries.Len())
			}
			return
		}
		if again := encodePage(of, entries.Entries()); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}
