package hot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// stateFile is the content of <base>.state, which begins with its segment:
// everything that was known of the log below base. It is a convenience. One
// that is missing or fails its checksum costs a scan of headers, no data.
//
// Format (big endian), golden in testdata/state.golden, drawn in docs/formats-local.md.
type stateFile struct {
	base   kafka.Offset
	epochs []segment.EpochStart // the whole history below base, oldest first
	blob   []byte               // State.Snapshot as of base; nil when there was none
	prev   *prevSegment         // the segment that ends at base; nil when the log begins there
}

type prevSegment struct {
	base kafka.Offset
	size int64
	facts
}

const (
	stateMagic   = "QANATSTA"
	stateVersion = 1
	stateFixed   = 8 + 4 + 4 + 8 + 5*8 // magic, version, flags, base, previous segment

	stateHasBlob = 1 << 0
	stateHasPrev = 1 << 1
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	errBadState = errors.New("state file is corrupt")
	// ErrNewer says that a file was written by a newer release, which this one must not guess at.
	ErrNewer = errors.New("file was written by a newer release")
)

func (s *stateFile) encode() []byte {
	be := binary.BigEndian
	var flags uint32
	prev := prevSegment{facts: noFacts}
	if s.blob != nil {
		flags |= stateHasBlob
	}
	if s.prev != nil {
		flags |= stateHasPrev
		prev = *s.prev
	}
	b := append(make([]byte, 0, stateFixed+12+12*len(s.epochs)+len(s.blob)), stateMagic...)
	b = be.AppendUint32(b, stateVersion)
	b = be.AppendUint32(b, flags)
	b = be.AppendUint64(b, uint64(s.base))
	b = be.AppendUint64(b, uint64(prev.base))
	b = be.AppendUint64(b, uint64(prev.size))
	b = be.AppendUint64(b, uint64(prev.created))
	b = be.AppendUint64(b, uint64(prev.maxTimestamp))
	b = be.AppendUint64(b, uint64(prev.maxAt))
	b = be.AppendUint32(b, uint32(len(s.epochs)))
	b = appendEpochs(b, s.epochs)
	b = be.AppendUint32(b, uint32(len(s.blob)))
	b = append(b, s.blob...)
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeState(b []byte) (*stateFile, error) {
	be := binary.BigEndian
	if len(b) < stateFixed+12 || string(b[:8]) != stateMagic {
		return nil, fmt.Errorf("%w: %d bytes", errBadState, len(b))
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != be.Uint32(b[len(body):]) {
		return nil, fmt.Errorf("%w: checksum", errBadState)
	}
	if v := be.Uint32(b[8:]); v != stateVersion {
		return nil, fmt.Errorf("state file version %d: %w", v, ErrNewer)
	}
	flags := be.Uint32(b[12:])
	if flags&^(stateHasBlob|stateHasPrev) != 0 {
		return nil, fmt.Errorf("%w: flags %x", errBadState, flags)
	}
	s := &stateFile{base: kafka.Offset(be.Uint64(b[16:]))}
	if flags&stateHasPrev != 0 {
		s.prev = &prevSegment{
			base: kafka.Offset(be.Uint64(b[24:])), size: int64(be.Uint64(b[32:])),
			facts: facts{created: int64(be.Uint64(b[40:])), maxTimestamp: int64(be.Uint64(b[48:])), maxAt: kafka.Offset(be.Uint64(b[56:]))},
		}
	}
	rest := body[stateFixed:]
	epochs := int64(be.Uint32(rest))
	rest = rest[4:]
	if epochs*epochLen+4 > int64(len(rest)) {
		return nil, fmt.Errorf("%w: %d epochs", errBadState, epochs)
	}
	s.epochs = decodeEpochs(rest[:epochs*epochLen])
	rest = rest[epochs*epochLen:]
	if n := int64(be.Uint32(rest)); n != int64(len(rest)-4) {
		return nil, fmt.Errorf("%w: %d bytes of state", errBadState, n)
	}
	if flags&stateHasBlob != 0 {
		s.blob = append([]byte{}, rest[4:]...)
	}
	return s, nil
}

const epochLen = 12

func appendEpochs(b []byte, epochs []segment.EpochStart) []byte {
	for _, e := range epochs {
		b = binary.BigEndian.AppendUint32(b, uint32(e.Epoch))
		b = binary.BigEndian.AppendUint64(b, uint64(e.Start))
	}
	return b
}

// decodeEpochs reads a multiple of epochLen bytes.
func decodeEpochs(b []byte) []segment.EpochStart {
	var epochs []segment.EpochStart
	for ; len(b) >= epochLen; b = b[epochLen:] {
		epochs = append(epochs, segment.EpochStart{
			Epoch: kafka.LeaderEpoch(binary.BigEndian.Uint32(b)), Start: kafka.Offset(binary.BigEndian.Uint64(b[4:])),
		})
	}
	return epochs
}

// writeState writes <base>.state in place: a torn one fails its checksum and counts as missing.
func writeState(fsys vfs.FS, dir string, s *stateFile) error {
	return writeStateTo(fsys, filepath.Join(dir, fileName(s.base, stateSuffix)), s, false)
}

func writeStateTo(fsys vfs.FS, path string, s *stateFile, sync bool) error {
	f, err := fsys.OpenRW(path)
	if err != nil {
		return err
	}
	b := s.encode()
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// readState returns nil without error when there is no such file.
func readState(fsys vfs.FS, dir string, base kafka.Offset) (*stateFile, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, fileName(base, stateSuffix)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := decodeState(b)
	if err == nil && s.base != base {
		err = fmt.Errorf("%w: it says base %d", errBadState, s.base)
	}
	if err != nil {
		return nil, fmt.Errorf("state of segment %d: %w", base, err)
	}
	return s, nil
}
