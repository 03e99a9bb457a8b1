package index

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTables reads the end of each of Badger's tables and verifies the index
// that it holds. Badger does so too, but believes the lengths there, and panics
// on a goroutine of its own: that would end the broker. Blocks are Badger's to
// verify, when they are read.
//
//	blocks … │ index │ its length u32 │ checksum (protobuf) │ its length u32
func checkTables(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := checkTable(name); err != nil {
			return fmt.Errorf("table %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

func checkTable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	// cut reads the n bytes before end and moves end before them.
	cut := func(n int64) ([]byte, error) {
		if n < 0 || n > end {
			return nil, fmt.Errorf("%w: %d bytes before position %d", errPage, n, end)
		}
		end -= n
		b := make([]byte, n)
		_, err := f.ReadAt(b, end)
		return b, err
	}
	cutPrefixed := func() ([]byte, error) {
		n, err := cut(4)
		if err != nil {
			return nil, err
		}
		return cut(int64(binary.BigEndian.Uint32(n)))
	}
	sum, err := cutPrefixed()
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return err
	}
	if _, known := pb.Checksum_Algorithm_name[int32(want.Algo)]; !known {
		return fmt.Errorf("%w: unknown checksum", errPage)
	}
	index, err := cutPrefixed()
	if err != nil {
		return err
	}
	if len(index) < 8 {
		return fmt.Errorf("%w: index of %d bytes", errPage, len(index))
	}
	return y.VerifyChecksum(index, &want)
}
