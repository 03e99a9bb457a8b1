package api

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

// trace notes what a produce is about: nothing of its records but the traceparent of the first, where that is to be
// seen without decompressing. Its topic's name comes with the partitions.
func (c *produceCall) trace(req *kmsg.ProduceRequest) {
	t := c.x.Trace
	t.Partitions = len(c.slots)
	for i := range req.Topics {
		if rt := &req.Topics[i]; len(rt.Partitions) > 0 {
			t.Linked = traceparent(&t.Parent, rt.Partitions[0].Records)
			return
		}
	}
}

// traceparentWithin is how much of the first record's end, where headers are, is looked at for one.
const traceparentWithin = 4 << 10

var traceparentKey = []byte("traceparent")

// traceparent finds the header of that name in the first record of a batch that nobody has checked yet.
func traceparent(to *[wire.TraceparentLen]byte, records []byte) bool {
	if len(records) <= batch.HeaderLen {
		return false
	}
	v := batch.View(records)
	if a := v.Attributes(); v.Magic() != 2 || a.Codec() != batch.None || a.Control() {
		return false
	}
	// Nearly none has one, and this look costs a fraction of what taking the record apart does, for each request.
	first := records[batch.HeaderLen:]
	length, n := binary.Varint(first)
	if n <= 0 || length < 0 || length > int64(len(first)-n) {
		return false
	}
	first = first[n : n+int(length)]
	if !bytes.Contains(first[max(0, len(first)-traceparentWithin):], traceparentKey) {
		return false
	}
	for r := range batch.Records(v).All {
		for key, value := range r.Headers.All {
			if bytes.Equal(key, traceparentKey) && len(value) == len(to) {
				copy(to[:], value)
				return true
			}
		}
		return false
	}
	return false
}

// traceBegin notes what a fetch is about.
func (f *fetcher) traceBegin() {
	t := f.x.Trace
	if t == nil {
		return
	}
	f.parkedAt = 0
	if t.Partitions = f.n; f.session != nil {
		t.Partitions = len(f.session.slots)
	}
}

// traceRead notes that what is here has been looked at once.
func (f *fetcher) traceRead() {
	if t := f.x.Trace; t != nil && t.Read == 0 {
		t.Read = t.Since()
	}
}

// traceParked notes that the fetch falls asleep, and traceWoken that it goes on.
func (f *fetcher) traceParked() {
	t := f.x.Trace
	if t == nil {
		return
	}
	f.parkedAt, f.parkedLoading = t.Since(), f.anyLoading()
	if f.parkedLoading && t.LoadFrom == 0 {
		t.LoadFrom = f.parkedAt
	}
}

func (f *fetcher) traceWoken() {
	t := f.x.Trace
	if t == nil || f.parkedAt == 0 {
		return
	}
	took := t.Since() - f.parkedAt
	f.parkedAt = 0
	if f.parkedLoading {
		t.Loading += took
	} else {
		t.Waited += took
	}
}

// downloaded is what a run's holder may know of the GET that brought it.
type downloaded interface {
	Downloaded() (key string, from, bytes int64, began time.Time, took time.Duration, attempts int)
}

// traceSlot notes what the answer has of one partition.
func (f *fetcher) traceSlot(s *slot, p *wire.FetchPartition) {
	t := f.x.Trace
	if t == nil {
		return
	}
	t.Fail(p.ErrorCode)
	n := p.Records.Len()
	if t.Topic == "" && (n > 0 || p.ErrorCode != 0) {
		if t.Topic = s.key.name; f.byID() {
			if topic, ok := f.h.quorum.Image().TopicByID(s.key.id); ok {
				t.Topic = topic.Name
			}
		}
	}
	t.Bytes += n
	if !s.result.Cold {
		return
	}
	t.ColdBytes += n
	if d, ok := p.Records.Hold.(downloaded); ok && t.Loading > 0 && len(t.Downloads) < wire.MaxDownloads {
		key, from, bytes, began, took, attempts := d.Downloaded()
		t.Downloads = append(t.Downloads, wire.Download{Key: key, From: from, Bytes: bytes, Began: began, Took: took, Attempts: attempts})
	}
}
