package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// TailGuess is how much of an object's end ReadFooter asks for first. The
// trailer of a 128 MiB segment is 15-25 KiB plus the producer state.
const TailGuess = 128 << 10

// maxTrailer bounds what a footer can make ReadFooter allocate.
const maxTrailer = 256 << 20

// ReadFooter reads the trailer of an object of the given size, with one read as
// a rule and two at most. Errors wrap ErrCorrupt or ErrVersion when the bytes
// are at fault, and are the reader's own otherwise.
func ReadFooter(r io.ReaderAt, size int64) (*Footer, error) {
	if size < footerLen {
		return nil, corruptf("object of %d bytes is too short", size)
	}
	tail := make([]byte, min(size, TailGuess))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return nil, fmt.Errorf("read segment footer: %w", err)
	}
	fixed, err := decodeFixed(tail[len(tail)-footerLen:], size)
	if err != nil {
		return nil, err
	}
	want := int(fixed.trailerLen) + footerLen
	if missing := want - len(tail); missing > 0 {
		whole := make([]byte, want)
		copy(whole[missing:], tail)
		if err := readFull(r, whole[:missing], fixed.trailerAt); err != nil {
			return nil, fmt.Errorf("read segment trailer: %w", err)
		}
		tail = whole
	}
	return decodeTrailer(tail[len(tail)-want:len(tail)-footerLen], fixed)
}

// DecodeTrailer decodes an object's trailer and fixed footer when exactly these
// are at hand: b is the last len(b) bytes of an object of the given size, as a
// reader that knows the data's size from elsewhere asks for.
func DecodeTrailer(b []byte, size int64) (*Footer, error) {
	if len(b) < footerLen || int64(len(b)) > size {
		return nil, corruptf("trailer of %d bytes in an object of %d", len(b), size)
	}
	fixed, err := decodeFixed(b[len(b)-footerLen:], size)
	if err != nil {
		return nil, err
	}
	if fixed.trailerLen != int64(len(b)-footerLen) {
		return nil, corruptf("trailer of %d bytes, expected are %d", fixed.trailerLen, len(b)-footerLen)
	}
	return decodeTrailer(b[:len(b)-footerLen], fixed)
}

// readFull reads all of p. A reader may say EOF together with the last bytes.
func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%d of %d bytes at %d: %w", n, len(p), at, io.ErrUnexpectedEOF)
	}
	return err
}

// fixed is the decoded fixed footer.
type fixed struct {
	trailerAt  int64
	trailerLen int64
	sections   uint32
}

func decodeFixed(b []byte, size int64) (fixed, error) {
	if string(b[footerLen-len(magic):]) != magic {
		return fixed{}, corruptf("no segment footer at the object's end")
	}
	// The version is judged before the CRC: another version may place it elsewhere.
	if major := binary.BigEndian.Uint16(b[24:]); major != versionMajor {
		return fixed{}, fmt.Errorf("%w: major version %d, known is %d", ErrVersion, major, versionMajor)
	}
	if binary.BigEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return fixed{}, corruptf("footer checksum does not match")
	}
	at, n := binary.BigEndian.Uint64(b[0:]), binary.BigEndian.Uint64(b[8:])
	if n > maxTrailer || at > uint64(size) || at+n+footerLen != uint64(size) {
		return fixed{}, corruptf("trailer of %d bytes at %d in an object of %d", n, at, size)
	}
	return fixed{trailerAt: int64(at), trailerLen: int64(n), sections: binary.BigEndian.Uint32(b[16:])}, nil
}

// decodeTrailer walks the sections. Each known one may come once.
func decodeTrailer(b []byte, fx fixed) (*Footer, error) {
	f := &Footer{DataSize: fx.trailerAt}
	decoders := map[uint16]func([]byte) error{
		sectionMetadata: f.decodeMetadata,
		sectionChunks:   f.decodeChunks,
		sectionIndex:    f.decodeIndex,
		sectionEpochs:   f.decodeEpochs,
		sectionAborted:  f.decodeAborted,
		sectionState:    func(p []byte) error { f.State = slices.Clone(p); return nil },
	}
	var seen [sectionState + 1]bool
	for i := uint32(0); i < fx.sections; i++ {
		section, rest, err := cutSection(b)
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", i, err)
		}
		b = rest
		kind, flags := binary.BigEndian.Uint16(section[0:]), binary.BigEndian.Uint16(section[2:])
		decode, known := decoders[kind]
		if !known {
			if flags&flagMustKnow != 0 {
				return nil, fmt.Errorf("%w: section type %d must be known", ErrVersion, kind)
			}
			continue
		}
		if seen[kind] {
			return nil, corruptf("section type %d comes twice", kind)
		}
		seen[kind] = true
		if err := decode(section[sectionHeaderLen:]); err != nil {
			return nil, fmt.Errorf("section type %d: %w", kind, err)
		}
	}
	if len(b) != 0 {
		return nil, corruptf("%d bytes behind the last section", len(b))
	}
	if !seen[sectionMetadata] || !seen[sectionChunks] || !seen[sectionIndex] {
		return nil, corruptf("metadata, chunks or index missing")
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	return f, nil
}

// cutSection returns the first section of b, verified, and what follows it.
func cutSection(b []byte) (section, rest []byte, err error) {
	if len(b) < sectionHeaderLen {
		return nil, nil, corruptf("%d bytes are no section", len(b))
	}
	n := binary.BigEndian.Uint32(b[4:])
	if uint64(n) > uint64(len(b)-sectionHeaderLen) {
		return nil, nil, corruptf("length %d with %d bytes left", n, len(b)-sectionHeaderLen)
	}
	section, rest = b[:sectionHeaderLen+int(n)], b[sectionHeaderLen+int(n):]
	if binary.BigEndian.Uint32(section[8:]) != sectionCRC(section) {
		return nil, nil, corruptf("checksum does not match")
	}
	return section, rest, nil
}

// metadataFixed is the length of the metadata's fields before its strings.
const metadataFixed = 16 + 4 + 4 + 5*8 + 4

func (f *Footer) decodeMetadata(b []byte) error {
	if len(b) < metadataFixed {
		return corruptf("%d bytes", len(b))
	}
	copy(f.Partition.Topic[:], b)
	f.Partition.Index = int32(binary.BigEndian.Uint32(b[16:]))
	f.Epoch = kafka.LeaderEpoch(binary.BigEndian.Uint32(b[20:]))
	f.Base = kafka.Offset(binary.BigEndian.Uint64(b[24:]))
	f.Next = kafka.Offset(binary.BigEndian.Uint64(b[32:]))
	f.MinTimestamp = int64(binary.BigEndian.Uint64(b[40:]))
	f.MaxTimestamp = int64(binary.BigEndian.Uint64(b[48:]))
	f.Records = int64(binary.BigEndian.Uint64(b[56:]))
	f.Compacted = binary.BigEndian.Uint32(b[64:])&metadataCompacted != 0
	b = b[metadataFixed:]
	var err error
	if f.Cluster, b, err = cutString(b); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if f.Topic, _, err = cutString(b); err != nil { // a later minor version may add behind it
		return fmt.Errorf("topic: %w", err)
	}
	return nil
}

func cutString(b []byte) (s string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, corruptf("no length")
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b)-2 {
		return "", nil, corruptf("length %d with %d bytes left", n, len(b)-2)
	}
	return string(b[2 : 2+n]), b[2+n:], nil
}

func (f *Footer) decodeChunks(b []byte) error {
	if len(b) < 4 || len(b)%4 != 0 || binary.BigEndian.Uint32(b) != ChunkSize {
		return corruptf("not checksums of %d bytes each", ChunkSize)
	}
	b = b[4:]
	f.Chunks = make([]uint32, len(b)/4)
	for i := range f.Chunks {
		f.Chunks[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return nil
}

func (f *Footer) decodeIndex(b []byte) error {
	count, b, err := cutCount(b, 3) // three varints of a byte at least
	if err != nil {
		return err
	}
	f.Index = make([]IndexEntry, count)
	var last IndexEntry
	for i := range f.Index {
		offset, n1 := binary.Uvarint(b)
		if n1 <= 0 {
			return corruptf("entry %d is cut short", i)
		}
		pos, n2 := binary.Uvarint(b[n1:])
		if n2 <= 0 {
			return corruptf("entry %d is cut short", i)
		}
		at, n3 := binary.Varint(b[n1+n2:])
		if n3 <= 0 {
			return corruptf("entry %d is cut short", i)
		}
		b = b[n1+n2+n3:]
		last.Offset += kafka.Offset(offset)
		last.Pos += int64(pos)
		last.MaxTimestamp += at
		f.Index[i] = last
	}
	return nil
}

func (f *Footer) decodeEpochs(b []byte) error {
	count, b, err := cutCount(b, 12)
	if err != nil {
		return err
	}
	f.Epochs = make([]EpochStart, count)
	for i := range f.Epochs {
		f.Epochs[i] = EpochStart{
			Epoch: kafka.LeaderEpoch(binary.BigEndian.Uint32(b[12*i:])),
			Start: kafka.Offset(binary.BigEndian.Uint64(b[12*i+4:])),
		}
	}
	return nil
}

func (f *Footer) decodeAborted(b []byte) error {
	count, b, err := cutCount(b, 32)
	if err != nil {
		return err
	}
	f.Aborted = make([]AbortedTxn, count)
	for i := range f.Aborted {
		p := b[32*i:]
		f.Aborted[i] = AbortedTxn{
			Producer:   kafka.ProducerID(binary.BigEndian.Uint64(p)),
			First:      kafka.Offset(binary.BigEndian.Uint64(p[8:])),
			Last:       kafka.Offset(binary.BigEndian.Uint64(p[16:])),
			LastStable: kafka.Offset(binary.BigEndian.Uint64(p[24:])),
		}
	}
	return nil
}

// cutCount reads a count of elements that take each bytes at least, and
// refuses one that what is left cannot hold.
func cutCount(b []byte, each int) (count int, rest []byte, err error) {
	if len(b) < 4 {
		return 0, nil, corruptf("no count")
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n)*uint64(each) > uint64(len(b)-4) {
		return 0, nil, corruptf("%d elements in %d bytes", n, len(b)-4)
	}
	return int(n), b[4:], nil
}
