package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The format's version. A minor version adds (sections, fields at a section's
// end) and older readers go on; a major version changes, and they refuse.
const (
	versionMajor = 1
	versionMinor = 0
)

// magic ends every object.
const magic = "QANATSEG"

// footerLen is the fixed footer's length in bytes. Its last 16 bytes (version,
// CRC, magic) keep their place in every major version.
const footerLen = 40

// sectionHeaderLen is type, flags, payload length, CRC.
const sectionHeaderLen = 12

// Section types. A number is never given a second meaning.
const (
	sectionMetadata = 1
	sectionChunks   = 2
	sectionIndex    = 3
	sectionEpochs   = 4
	sectionAborted  = 5
	sectionState    = 6
)

// flagMustKnow on a section makes a reader that does not know its type refuse
// the object instead of skipping the section. No section of version 1.0 needs it.
const flagMustKnow = 1 << 0

// metadataCompacted is the flag in the metadata section.
const metadataCompacted = 1 << 0

// castagnoli is CRC32C's table: Kafka's batches and the trailer use the same polynomial.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append encodes the trailer (all sections and the fixed footer) behind dst.
// The object is the data followed by it. It panics when Check fails: an object
// that cannot be read again must never replace local data. Callers with facts
// from elsewhere ask Check first.
func (f *Footer) Append(dst []byte) []byte {
	if err := f.Check(); err != nil {
		panic(fmt.Sprintf("segment [%d, %d): footer does not hold together: %v", f.Base, f.Next, err))
	}
	start := len(dst)
	sections := uint32(0)
	add := func(kind uint16, payload func([]byte) []byte) {
		dst = appendSection(dst, kind, payload)
		sections++
	}
	add(sectionMetadata, f.appendMetadata)
	add(sectionChunks, f.appendChunks)
	add(sectionIndex, f.appendIndex)
	if len(f.Epochs) > 0 {
		add(sectionEpochs, f.appendEpochs)
	}
	if len(f.Aborted) > 0 {
		add(sectionAborted, f.appendAborted)
	}
	if len(f.State) > 0 {
		add(sectionState, func(b []byte) []byte { return append(b, f.State...) })
	}
	return appendFooter(dst, uint64(f.DataSize), uint64(len(dst)-start), sections)
}

// appendSection writes a header, the payload behind it, then comes back to fill
// in length and CRC. The CRC covers the header before it, and the payload.
func appendSection(dst []byte, kind uint16, payload func([]byte) []byte) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, 0) // flags
	dst = append(dst, make([]byte, 8)...)
	dst = payload(dst)
	binary.BigEndian.PutUint32(dst[at+4:], uint32(len(dst)-at-sectionHeaderLen))
	binary.BigEndian.PutUint32(dst[at+8:], sectionCRC(dst[at:]))
	return dst
}

// sectionCRC is the checksum of a whole section, its own CRC field left out.
func sectionCRC(section []byte) uint32 {
	crc := crc32.Update(0, castagnoli, section[:8])
	return crc32.Update(crc, castagnoli, section[sectionHeaderLen:])
}

func appendFooter(dst []byte, trailerAt, trailerLen uint64, sections uint32) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, trailerAt)
	dst = binary.BigEndian.AppendUint64(dst, trailerLen)
	dst = binary.BigEndian.AppendUint32(dst, sections)
	dst = binary.BigEndian.AppendUint32(dst, 0) // reserved
	dst = binary.BigEndian.AppendUint16(dst, versionMajor)
	dst = binary.BigEndian.AppendUint16(dst, versionMinor)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
	return append(dst, magic...)
}

func (f *Footer) appendMetadata(b []byte) []byte {
	b = append(b, f.Partition.Topic[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(f.Partition.Index))
	b = binary.BigEndian.AppendUint32(b, uint32(f.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Base))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Next))
	b = binary.BigEndian.AppendUint64(b, uint64(f.MinTimestamp))
	b = binary.BigEndian.AppendUint64(b, uint64(f.MaxTimestamp))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Records))
	var flags uint32
	if f.Compacted {
		flags |= metadataCompacted
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = appendString(b, f.Cluster)
	return appendString(b, f.Topic)
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func (f *Footer) appendChunks(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, ChunkSize)
	for _, crc := range f.Chunks {
		b = binary.BigEndian.AppendUint32(b, crc)
	}
	return b
}

// appendIndex writes each entry as three differences to the one before: about
// seven bytes instead of twenty-four, so that a 128 MiB segment's trailer
// arrives with the first guess at its length.
func (f *Footer) appendIndex(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Index)))
	var last IndexEntry
	for _, e := range f.Index {
		b = binary.AppendUvarint(b, uint64(e.Offset-last.Offset))
		b = binary.AppendUvarint(b, uint64(e.Pos-last.Pos))
		b = binary.AppendVarint(b, e.MaxTimestamp-last.MaxTimestamp) // wraps after BeforeAll, and back
		last = e
	}
	return b
}

func (f *Footer) appendEpochs(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Epochs)))
	for _, e := range f.Epochs {
		b = binary.BigEndian.AppendUint32(b, uint32(e.Epoch))
		b = binary.BigEndian.AppendUint64(b, uint64(e.Start))
	}
	return b
}

func (f *Footer) appendAborted(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Aborted)))
	for _, a := range f.Aborted {
		b = binary.BigEndian.AppendUint64(b, uint64(a.Producer))
		b = binary.BigEndian.AppendUint64(b, uint64(a.First))
		b = binary.BigEndian.AppendUint64(b, uint64(a.Last))
		b = binary.BigEndian.AppendUint64(b, uint64(a.LastStable))
	}
	return b
}
