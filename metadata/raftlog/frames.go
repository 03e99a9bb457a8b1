package raftlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// A file of raft-wal v0.4.0's is a header, then frames, each with a header of its own: a byte of type, three of nothing, and four, little
// endian, of the length of what follows, which is padded to a multiple of 8. A commit has instead of a length the CRC32C of all since the
// commit before, and nothing follows it. A file's last commit may hold an index of the file's entries, 4 bytes each: the file is sealed.
const (
	fileHeaderBytes  = 32
	frameHeaderBytes = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// contents is what a file's commits hold, those that are whole.
type contents struct {
	entries uint64
	end     int64 // behind the last commit; 0 when there is none
	index   int64 // where the index begins that the last commit holds; 0 without
}

// sealed says that nothing can be added any more.
func (c contents) sealed() bool { return c.index != 0 }

// readThrough reads the log file of a name to its end. raft-wal itself looks at the last commit's checksum alone, and takes all that it cannot read for an end
// that was never stored. A commit that is broken while a later one is whole cannot be that: types.ErrCorrupt.
func readThrough(file io.Reader, name string) (found contents, err error) {
	r := frames{r: bufio.NewReaderSize(file, 256<<10)}
	if _, err := r.take(fileHeaderBytes); err != nil {
		return found, ended(err)
	}
	pending, broken := contents{}, false
	for {
		sum, at := r.sum, r.at
		header, err := r.take(frameHeaderBytes)
		if err != nil {
			return found, ended(err)
		}
		n := binary.LittleEndian.Uint32(header[4:])
		switch header[0] {
		case segment.FrameEntry:
			pending.entries++
		case segment.FrameIndex:
			pending.index = r.at
		case segment.FrameCommit:
			switch {
			case n != sum:
				broken = true
			case broken:
				return found, fmt.Errorf("%w: %s: what was stored before byte %d is not what is there", types.ErrCorrupt, name, at)
			default:
				found = contents{entries: found.entries + pending.entries, index: pending.index, end: r.at}
			}
			pending, r.sum = contents{}, 0
			continue
		default:
			return found, nil
		}
		if err := r.skip((int64(n) + frameHeaderBytes - 1) / frameHeaderBytes * frameHeaderBytes); err != nil {
			return found, ended(err)
		}
	}
}

// ended is nil where a file has come to its end.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// frames reads on and sums up what it has read.
type frames struct {
	r    *bufio.Reader
	at   int64
	sum  uint32
	head [fileHeaderBytes]byte
}

func (f *frames) take(n int) ([]byte, error) {
	b := f.head[:n]
	if _, err := io.ReadFull(f.r, b); err != nil {
		return nil, err
	}
	_, err := f.Write(b)
	return b, err
}

func (f *frames) skip(n int64) error {
	_, err := io.CopyN(f, f.r, n)
	return err
}

// Write implements io.Writer.
func (f *frames) Write(b []byte) (int, error) {
	f.sum = crc32.Update(f.sum, castagnoli, b)
	f.at += int64(len(b))
	return len(b), nil
}

// zeroFrom stores zeros for whatever else a file has from an offset on.
func zeroFrom(f *os.File, offset int64) error {
	zeros, b := make([]byte, 256<<10), make([]byte, 256<<10)
	for wrote := false; ; {
		n, err := f.ReadAt(b, offset)
		if !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := f.WriteAt(zeros[:n], offset); err != nil {
				return err
			}
			wrote = true
		}
		offset += int64(n)
		switch {
		case err == nil:
		case err != io.EOF:
			return err
		case wrote:
			return f.Sync()
		default:
			return nil
		}
	}
}
