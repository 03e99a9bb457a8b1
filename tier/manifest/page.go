package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Page is a run of a manifest's oldest entries that lies in the bucket, as one immutable object, and no longer in memory.
// What is needed without reading it is kept here.
type Page struct {
	Base         kafka.Offset `cbor:"1,keyasint"`
	Next         kafka.Offset `cbor:"2,keyasint"`
	Count        int32        `cbor:"3,keyasint"` // of entries
	Bytes        int64        `cbor:"4,keyasint"` // the sum of their objects' sizes
	MaxTimestamp int64        `cbor:"5,keyasint"` // the largest of theirs
	UUID         [16]byte     `cbor:"6,keyasint"` // of the page's own object
	CRC          uint32       `cbor:"7,keyasint"` // of the entries as they stand in it

	// By these retention tells whether it has to read the page, or all of it can go. Times are Entry.Time's.
	FirstSize  int64 `cbor:"8,keyasint"`
	FirstTime  int64 `cbor:"9,keyasint"`
	LatestTime int64 `cbor:"10,keyasint"`
}

// ErrSpilled says that what is asked stands in a page: it cannot be told from memory.
var ErrSpilled = errors.New("the entry's range is in a manifest page in the bucket")

// ErrConflict says that a page is not what the manifest has at its front.
var ErrConflict = errors.New("the manifest's oldest entries are not those of the page")

// ErrBadPage says that bytes are no page, or not the one that was expected.
var ErrBadPage = errors.New("manifest page is corrupt")

// Pages are the pages, oldest first. They are not to be changed.
func (m Manifest) Pages() []Page { return m.pages }

// Recent is the first offset of the entries in memory.
func (m Manifest) Recent() kafka.Offset {
	if len(m.slots) == 0 {
		return 0
	}
	return m.slots[0].entry.Base
}

// Count is the number of entries, those in pages included: all of a page's until it is trimmed away whole.
func (m Manifest) Count() int {
	n := len(m.slots)
	for i := range m.pages {
		n += int(m.pages[i].Count)
	}
	return n
}

// Has tells whether the remote log has an offset.
func (m Manifest) Has(offset kafka.Offset) bool {
	return len(m.slots) > 0 && m.Start() <= offset && offset < m.End()
}

// PageOf finds the page that speaks of an offset; ok is false when the entries in memory do, or nothing.
func (m Manifest) PageOf(offset kafka.Offset) (p Page, ok bool) {
	if len(m.pages) == 0 || offset < m.Start() || offset >= m.Recent() {
		return Page{}, false
	}
	return m.pages[sort.Search(len(m.pages), func(i int) bool { return m.pages[i].Next > offset })], true
}

// Alive tells whether an entry of a page is still in the manifest: it is, unless a trim has passed it.
func (m Manifest) Alive(e Entry) bool { return e.Next > m.Start() }

// Trimmed are the first page's entries that a trim has passed, which Count and Bytes still count; front are all of the page's.
func (m Manifest) Trimmed(front Manifest) (entries int, bytes int64) {
	for _, e := range front.All() {
		if m.Alive(e) {
			break
		}
		entries++
		bytes += e.Size
	}
	return entries, bytes
}

// NewPage makes a page of the manifest's oldest n entries, and its object. At least one entry must stay behind it.
func (m Manifest) NewPage(p kafka.Partition, n int, uuid [16]byte) (Page, []byte) {
	entries := Manifest{slots: m.slots[:n]}.Entries()
	return describe(entries, uuid), encodePage(p, entries)
}

func describe(entries []Entry, uuid [16]byte) Page {
	first := entries[0]
	page := Page{
		Base: first.Base, Next: entries[len(entries)-1].Next, Count: int32(len(entries)), MaxTimestamp: first.MaxTimestamp, UUID: uuid,
		CRC: crc32.Checksum(appendEntries(nil, entries), castagnoli), FirstSize: first.Size, FirstTime: first.Time(), LatestTime: first.Time(),
	}
	for _, e := range entries {
		page.Bytes += e.Size
		page.MaxTimestamp = max(page.MaxTimestamp, e.MaxTimestamp)
		page.LatestTime = max(page.LatestTime, e.Time())
	}
	return page
}

// Spill replaces the manifest's oldest entries by the page, if they are exactly those that it holds (ErrConflict), and others
// stay. A page that is there already changes nothing (a retried proposal).
func (m Manifest) Spill(p Page) (Manifest, error) {
	if slices.Contains(m.pages, p) {
		return m, nil
	}
	n := int(p.Count)
	if n < 1 || n >= len(m.slots) {
		return m, fmt.Errorf("%w: %d of %d entries", ErrConflict, n, len(m.slots))
	}
	if is := describe(Manifest{slots: m.slots[:n]}.Entries(), p.UUID); is != p {
		return m, fmt.Errorf("%w: it holds [%d, %d), they are [%d, %d)", ErrConflict, p.Base, p.Next, is.Base, is.Next)
	}
	if len(m.pages) > 0 && m.pages[len(m.pages)-1].Next != p.Base {
		return m, fmt.Errorf("%w: the pages end at %d", ErrConflict, m.pages[len(m.pages)-1].Next)
	}
	rest, _ := Manifest{slots: m.slots, store: m.store, bytes: m.bytes}.TrimBefore(p.Next)
	rest = rest.moved(len(rest.slots)) // the page's entries are to leave memory now
	rest.bytes = m.bytes
	rest.pages, rest.trimmed = append(slices.Clip(m.pages), p), m.trimmed
	return rest, nil
}

// trimPages is TrimBefore for the pages: those wholly below start go, one that start cuts stays.
func (m *Manifest) trimPages(start kafka.Offset) {
	n := 0
	for n < len(m.pages) && m.pages[n].Next <= start {
		m.bytes -= m.pages[n].Bytes
		n++
	}
	m.pages = m.pages[n:]
	m.trimmed = max(m.trimmed, start)
	switch {
	case len(m.pages) == 0:
		m.pages, m.trimmed = nil, 0
	case m.trimmed <= m.pages[0].Base: // cuts nothing: equal manifests look alike
		m.trimmed = 0
	}
}

// A page's object (big endian), golden in testdata/page.golden, drawn in docs/formats-bucket.md:
//
//	"QANATPAG", version u32, topic id 16 bytes, partition i32, count u32, entries of 68 bytes, CRC u32 of all before
const (
	pageMagic   = "QANATPAG"
	pageVersion = 1
	pageHeader  = 8 + 4 + 16 + 4 + 4
	entrySize   = 8 + 8 + 4 + 16 + 4*8

	// MaxPageEntries bounds what a page can make a reader allocate.
	MaxPageEntries = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Size is the size of the page's object.
func (p Page) Size() int64 { return pageHeader + int64(p.Count)*entrySize + 4 }

// IsPage tells whether an object begins as a page does.
func IsPage(head []byte) bool {
	return len(head) >= len(pageMagic) && string(head[:len(pageMagic)]) == pageMagic
}

func encodePage(p kafka.Partition, entries []Entry) []byte {
	be := binary.BigEndian
	b := append(make([]byte, 0, pageHeader+len(entries)*entrySize+4), pageMagic...)
	b = be.AppendUint32(b, pageVersion)
	b = append(b, p.Topic[:]...)
	b = be.AppendUint32(b, uint32(p.Index))
	b = be.AppendUint32(b, uint32(len(entries)))
	b = appendEntries(b, entries)
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendEntries(b []byte, entries []Entry) []byte {
	be := binary.BigEndian
	for _, e := range entries {
		b = be.AppendUint64(b, uint64(e.Base))
		b = be.AppendUint64(b, uint64(e.Next))
		b = be.AppendUint32(b, uint32(e.Epoch))
		b = append(b, e.UUID[:]...)
		b = be.AppendUint64(b, uint64(e.Size))
		b = be.AppendUint64(b, uint64(e.DataSize))
		b = be.AppendUint64(b, uint64(e.MaxTimestamp))
		b = be.AppendUint64(b, uint64(e.Uploaded))
	}
	return b
}

// DecodePage reads a page's object: whose it is, and its entries, as a manifest. Errors wrap ErrBadPage.
func DecodePage(b []byte) (p kafka.Partition, entries Manifest, err error) {
	be := binary.BigEndian
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrBadPage, fmt.Sprintf(format, args...))
	}
	if len(b) < pageHeader+4 || !IsPage(b) {
		return p, entries, bad("%d bytes that do not begin as one", len(b))
	}
	if v := be.Uint32(b[8:]); v != pageVersion {
		return p, entries, bad("version %d, known is %d", v, pageVersion)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != be.Uint32(b[len(body):]) {
		return p, entries, bad("checksum")
	}
	copy(p.Topic[:], b[12:])
	p.Index = int32(be.Uint32(b[28:]))
	n := int64(be.Uint32(b[32:]))
	if n < 1 || n > MaxPageEntries || n*entrySize != int64(len(body)-pageHeader) {
		return p, entries, bad("%d entries in %d bytes", n, len(b))
	}
	list := make([]Entry, n)
	for i := range list {
		f := body[pageHeader+i*entrySize:]
		list[i] = Entry{
			Base: kafka.Offset(be.Uint64(f)), Next: kafka.Offset(be.Uint64(f[8:])), Epoch: kafka.LeaderEpoch(be.Uint32(f[16:])), UUID: [16]byte(f[20:36]),
			Size: int64(be.Uint64(f[36:])), DataSize: int64(be.Uint64(f[44:])), MaxTimestamp: int64(be.Uint64(f[52:])), Uploaded: int64(be.Uint64(f[60:])),
		}
	}
	if entries, err = New(list); err != nil {
		return p, Manifest{}, bad("%v", err)
	}
	return p, entries, nil
}

// Open reads the page's object and checks that it is the partition's page that the manifest speaks of.
func (p Page) Open(partition kafka.Partition, b []byte) (Manifest, error) {
	of, entries, err := DecodePage(b)
	if err != nil {
		return Manifest{}, err
	}
	if is := describe(entries.Entries(), p.UUID); of != partition || is != p {
		return Manifest{}, fmt.Errorf("%w: it is of %s, [%d, %d), not of %s, [%d, %d)", ErrBadPage, of, is.Base, is.Next, partition, p.Base, p.Next)
	}
	return entries, nil
}

// Key is the page's object's name: <cluster>/<topic id>/<partition>/<base>-<next>.page.<uuid>.
func (p Page) Key(cluster string, of kafka.Partition) string {
	return fmt.Sprintf("%s%020d-%020d.page.%x", Prefix(cluster, of), p.Base, p.Next, p.UUID)
}

// ParsePageKey reads what Page.Key made, as ParseKey does for segments: a page of which only the fields in the name are set.
func ParsePageKey(cluster, key string) (of kafka.Partition, p Page, err error) {
	n, ok := parseName(cluster, key)
	p = Page{Base: n.base, Next: n.next, UUID: n.uuid}
	if !ok || p.Key(cluster, n.partition) != key {
		return kafka.Partition{}, Page{}, fmt.Errorf("object key %q does not name a manifest page of cluster %q", key, cluster)
	}
	return n.partition, p, nil
}

// HoldsPage tells whether this very page is in the manifest.
func (m Manifest) HoldsPage(p Page) bool {
	return slices.ContainsFunc(m.pages, func(o Page) bool { return o.Base == p.Base && o.Next == p.Next && o.UUID == p.UUID })
}
