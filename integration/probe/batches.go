package probe

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// batch is one record batch (KIP-98, magic 2) as it lies in a file.
type batch struct {
	base, next int64
	bytes      []byte
}

const headerSize = 61

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batches splits a file's bytes. What follows the last whole batch is an error.
func batches(data []byte) ([]batch, error) {
	var all []batch
	for at := 0; at < len(data); {
		rest := data[at:]
		if len(rest) < headerSize {
			return all, fmt.Errorf("%d bytes at %d are no batch", len(rest), at)
		}
		base := int64(binary.BigEndian.Uint64(rest))
		size := 12 + int64(binary.BigEndian.Uint32(rest[8:]))
		if size < headerSize || size > int64(len(rest)) {
			return all, fmt.Errorf("batch of %d bytes at %d, with %d left", size, at, len(rest))
		}
		b := rest[:size]
		if b[16] != 2 {
			return all, fmt.Errorf("batch at %d has magic %d", at, b[16])
		}
		if want := binary.BigEndian.Uint32(b[17:]); crc32.Checksum(b[21:], castagnoli) != want {
			return all, fmt.Errorf("batch at %d, offset %d: its checksum is not %08x", at, base, want)
		}
		last := int64(int32(binary.BigEndian.Uint32(b[23:])))
		all = append(all, batch{base, base + last + 1, b})
		at += int(size)
	}
	return all, nil
}
