package history

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// Payload is a record's value: "PROCESS.N:" and letters that follow from both and from their place, up to size.
// Whoever reads it can tell a record that is not whole from one that is, in any language.
func Payload(v Value, size int) []byte {
	b := strconv.AppendInt(make([]byte, 0, size+24), int64(v.Process()), 10)
	b = strconv.AppendInt(append(b, '.'), int64(v.N()), 10)
	b = append(b, ':')
	for i := len(b); i < size; i++ {
		b = append(b, letter(v, i))
	}
	return b
}

func letter(v Value, i int) byte { return 'a' + byte((int(v.Process())+int(v.N())+i)%26) }

// ParsePayload is the value that a record carries, or what is wrong with its bytes.
func ParsePayload(b []byte) (Value, error) {
	colon := bytes.IndexByte(b[:min(len(b), 24)], ':')
	dot := bytes.IndexByte(b[:max(colon, 0)], '.')
	if dot < 0 {
		return None, fmt.Errorf("no value in %q", b[:min(len(b), 24)])
	}
	process, err := integer(b[:dot])
	if err != nil {
		return None, err
	}
	n, err := integer(b[dot+1 : colon])
	if err != nil {
		return None, err
	}
	if process < 0 || process > math.MaxInt32 || n < 0 || n > math.MaxInt32 {
		return None, fmt.Errorf("%d.%d is out of range", process, n)
	}
	v := ValueOf(int32(process), int32(n))
	for i := colon + 1; i < len(b); i++ {
		if b[i] != letter(v, i) {
			return None, fmt.Errorf("byte %d of value %v is %q, not %q", i, v, b[i], letter(v, i))
		}
	}
	return v, nil
}
