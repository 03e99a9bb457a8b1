package cold

import "sync/atomic"

// Stats is what the reader has done since it was made, and what it holds now.
type Stats struct {
	Gets      uint64 // requests, footers and lookups included
	Footers   uint64 // of these, for footers
	Bytes     uint64 // downloaded
	ReadBytes uint64 // handed out
	Hits      uint64 // reads answered from memory
	Misses    uint64 // reads answered with ErrLoading
	Retries   uint64 // attempts after an error
	Throttled uint64 // of these, because the store asked for patience
	Hedges    uint64 // attempts given up for a new one because nothing came
	Corrupt   uint64 // checks that failed
	Failures  uint64 // times that readers were told of an error
	Cancelled uint64 // downloads that nobody wanted any more

	InFlight    int   // GETs running or about to
	Limit       int   // of GETs at once, as of now
	Held        int64 // bytes of memory for data; Idle and Spare are part of it
	HeldPeak    int64 // the most that ever was
	Idle        int64 // data that nobody wants now
	Spare       int64 // buffers without data
	FooterBytes int64 // of footers, in memory
	Streams     int
}

type counters struct {
	gets, footers, bytes, readBytes, hits, misses, retries, throttled, hedges, corrupt, failures, cancelled atomic.Uint64
}

// Stats returns a snapshot.
func (r *Reader) Stats() Stats {
	c := &r.stats
	s := Stats{
		Gets: c.gets.Load(), Footers: c.footers.Load(), Bytes: c.bytes.Load(), ReadBytes: c.readBytes.Load(),
		Hits: c.hits.Load(), Misses: c.misses.Load(), Retries: c.retries.Load(), Throttled: c.throttled.Load(),
		Hedges: c.hedges.Load(), Corrupt: c.corrupt.Load(), Failures: c.failures.Load(), Cancelled: c.cancelled.Load(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.InFlight, s.Limit = r.busy, r.pace.workers()
	s.Held, s.HeldPeak, s.Idle = r.memory.used+r.memory.spare, r.memory.peak, r.memory.idleBytes
	s.Spare = r.memory.spare
	s.FooterBytes = r.footerN
	for _, c := range r.clients {
		s.Streams += len(c.streams)
	}
	return s
}
