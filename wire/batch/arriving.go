package batch

import (
	"encoding/binary"
	"hash/crc32"
)

// Checked is what was found out about a batch while its bytes arrived.
type Checked struct {
	bytes []byte // which ones: the batch, or what should be one
	crc   uint32
	// walked tells that the records were walked and are sound, but for what a topic may want of them.
	walked       bool
	keyless      bool  // a record has no key
	minTime      int64 // of the records' own timestamps
	maxTime      int64
	maxTimeDelta int32
	walkedCount  int32
}

// time notes a record's timestamp.
func (c *Checked) time(at int64, index int32) {
	if index == 0 || at < c.minTime {
		c.minTime = at
	}
	if index == 0 || at > c.maxTime {
		c.maxTime, c.maxTimeDelta = at, index
	}
}

// Of tells whether it is about these bytes: not their like, but the same.
func (c *Checked) Of(v []byte) bool {
	return c != nil && len(c.bytes) == len(v) && len(v) > 0 && &c.bytes[0] == &v[0]
}

// CheckCRCSeen is CheckCRC by what was seen of the batch, if that is this batch; seen may be nil.
func (v View) CheckCRCSeen(seen *Checked) error {
	if !seen.Of(v) {
		return v.CheckCRC()
	}
	return v.compareCRC(seen.crc)
}

// ValidateSeen is Validate by what was seen of the batch, if that is this batch and nothing is to be found fault with; seen may be nil.
func ValidateSeen(v View, limits Limits, seen *Checked) (RecordsInfo, error) {
	if !seen.Of(v) || !seen.walked || seen.walkedCount != v.RecordCount() || limits.RequireKeys && seen.keyless {
		return Validate(v, limits)
	}
	if err := validateHeader(v, &limits); err != nil {
		return RecordsInfo{}, err
	}
	info := RecordsInfo{Count: v.RecordCount(), MaxTimestamp: -1, Uncompressed: int64(len(v) - HeaderLen)}
	switch {
	case v.Attributes().LogAppendTime():
		info.MaxTimestamp = v.MaxTimestamp()
	case limits.LogAppendTime:
	case limits.bounds() && (seen.minTime < limits.Earliest || seen.maxTime > limits.Latest):
		return Validate(v, limits)
	case seen.maxTime > info.MaxTimestamp:
		info.MaxTimestamp, info.MaxTimestampDelta = seen.maxTime, seen.maxTimeDelta
	}
	return info, nil
}

// Arriving checks one batch while its bytes arrive, and a core's cache still has them: what is checked only when a frame of some MiB is whole comes
// back from memory, at three times the processor time. Bytes that have arrived must not change before Done.
type Arriving struct {
	checker
	checked Checked
	summed  int // the CRC's, from the batch's first byte
	at      int // where the next record begins
	walking bool
}

// Begin begins with a batch, of which nothing need have arrived.
func (a *Arriving) Begin(b []byte) {
	*a = Arriving{checked: Checked{bytes: b}, summed: crcFrom, at: HeaderLen}
}

// Arrived takes the bytes before the n-th.
func (a *Arriving) Arrived(n int) {
	b := a.checked.bytes
	if a.summed < n {
		a.checked.crc = crc32.Update(a.checked.crc, castagnoli, b[a.summed:n])
		a.summed = n
	}
	if a.at == HeaderLen && !a.walking && n >= HeaderLen {
		v := View(b)
		a.walking = v.Attributes().Codec() == None && v.RecordCount() > 0
		a.checker = checker{limits: &noLimits, base: v.BaseTimestamp(), want: v.RecordCount(), timestamps: !v.Attributes().LogAppendTime(), seen: &a.checked}
	}
	if a.walking {
		a.walk(b[:n])
	}
}

var noLimits Limits

// walk checks the records that are whole.
func (a *Arriving) walk(b []byte) {
	for a.index < a.want {
		p := b[a.at:]
		length, n := varint(p)
		if n <= 0 && len(p) < binary.MaxVarintLen64 {
			return
		}
		if n <= 0 || length < 0 || length > int64(len(a.checked.bytes)-a.at-n) {
			a.walking = false // whoever looks at the batch says what is wrong
			return
		}
		if length > int64(len(p)-n) {
			return
		}
		if a.record(p[n:n+int(length)]) != nil {
			a.walking = false
			return
		}
		a.at += n + int(length)
		a.index++
	}
}

// Done is what was found out, when all bytes have arrived.
func (a *Arriving) Done() Checked {
	a.checked.walked = a.walking && a.index == a.want && a.at == len(a.checked.bytes)
	a.checked.walkedCount = a.want
	return a.checked
}
