package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// resum gives a header that was changed its right checksum.
func resum(page []byte) []byte {
	binary.BigEndian.PutUint32(page[20:], crc32.Checksum(page[:20], castagnoli))
	return page
}
