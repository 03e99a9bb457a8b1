package wire

import (
	"sync"
	"time"
)

// Trace is what a request went through, for spans that are made when it has been answered and is worth it. All times but
// Start are durations since Start; zero: it has not come by there. Whoever has the exchange writes to it, until Reply;
// a nil Trace stands for a request that nobody traces.
type Trace struct {
	Start time.Time // the request's last byte had been read

	Topic      string // of the first partition
	Partitions int
	Error      int16         // the first that a partition or the whole was answered with
	Answered   time.Duration // Reply was called

	// Produce.
	Appended time.Duration // every partition has its records, in the page cache
	Flushed  time.Duration // they are on this broker's disk; 0 with acks of 0 or 1
	Parent   [TraceparentLen]byte
	Linked   bool // Parent is the traceparent of the first record

	// Fetch.
	Read      time.Duration // what is in memory or the page cache was looked at
	Waited    time.Duration // in all, for records that had not been written: as the client wished
	Loading   time.Duration // in all, for the bucket
	LoadFrom  time.Duration // when it first waited for the bucket
	Bytes     int           // of records in the answer
	ColdBytes int           // of these, from the bucket
	Downloads []Download    // that it waited for, at most MaxDownloads
}

// Download is a ranged GET that a fetch waited for; it may have been begun for another, or ahead of time.
type Download struct {
	Key      string
	From     int64 // in the object
	Bytes    int64 // that it asked for
	Began    time.Time
	Took     time.Duration // until what had come by then
	Attempts int           // that had failed before
}

// MaxDownloads is how many of its downloads a trace remembers.
const MaxDownloads = 4

// TraceparentLen is the length of a W3C traceparent of version 00.
const TraceparentLen = 55

var traces = sync.Pool{New: func() any { return &Trace{Downloads: make([]Download, 0, MaxDownloads)} }}

// NewTrace returns an empty trace that begins then.
func NewTrace(start time.Time) *Trace {
	t := traces.Get().(*Trace)
	t.Start = start
	return t
}

// Clear makes it the trace of another request, which begins when Start is set.
func (t *Trace) Clear() {
	downloads := t.Downloads
	clear(downloads)
	*t = Trace{Downloads: downloads[:0]}
}

// Free gives the trace back; nobody may use it any more.
func (t *Trace) Free() {
	t.Clear()
	traces.Put(t)
}

// Since is how long ago the trace began; never 0.
func (t *Trace) Since() time.Duration { return max(time.Since(t.Start), 1) }

// Fail keeps the first error code that is not 0.
func (t *Trace) Fail(code int16) {
	if t.Error == 0 {
		t.Error = code
	}
}
