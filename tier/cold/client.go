package cold

import (
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// client is one reader of the bucket in all partitions: the calls of Read that name the same key. Memory is shared out
// among clients and not among streams: a consumer of a hundred partitions loads them in turns of large ranges, not all at
// once in small ones, and gets no more than one of a single partition. Guarded by Reader.mu.
type client struct {
	streams map[kafka.Partition]*stream
	active  int       // of these, what holds memory or waits
	held    int64     // bytes that the streams answer for
	fed     time.Time // when a read that waited last had its download begun
}

// stream returns the reader's state in the partition, as of a read with the manifest.
func (r *Reader) stream(key any, p kafka.Partition, m manifest.Manifest) *stream {
	c := r.clients[key]
	if c == nil {
		c = &client{streams: map[kafka.Partition]*stream{}}
		r.clients[key] = c
	}
	s := c.streams[p]
	if s == nil {
		s = &stream{client: c, partition: p, last: -1, next: -1, window: r.cfg.MinReadahead}
		c.streams[p] = s
		r.armJanitor()
	}
	s.used, s.manifest = time.Now(), m
	return s
}

// measure shares memory out: an equal part for each client that has or wants any.
func (r *Reader) measure() {
	n := int64(0)
	for _, c := range r.clients {
		if c.active > 0 {
			n++
		}
	}
	r.share = r.cfg.MaxInFlight / max(n, 1)
}

// mayDemand tells whether the client may have size more bytes that one of its reads waits for. Who has nothing may in any
// case; and while half of the memory is free, whoever asks.
func (r *Reader) mayDemand(c *client, size int64) bool {
	return c.held == 0 || c.held+size <= r.share || r.plenty(size)
}

// plenty tells whether half of the memory is free when size bytes more are taken.
func (r *Reader) plenty(size int64) bool {
	return r.memory.used-r.memory.idleBytes+size <= r.cfg.MaxInFlight/2
}

// mayAhead tells whether the stream may have size more bytes that nobody waits for yet.
func (r *Reader) mayAhead(s *stream, size int64) bool {
	return s.held+size <= r.share/int64(max(s.client.active, 1)) && s.client.held+size <= r.share
}

// owe makes s answer for the slab's memory; nil for nobody.
func (sl *slab) owe(s *stream) {
	if o := sl.owner; o != nil {
		o.held -= sl.owed
		o.client.held -= sl.owed
		o.count()
	}
	sl.owner, sl.owed = s, 0
	if s != nil {
		sl.owed = sl.size
		s.held += sl.owed
		s.client.held += sl.owed
		s.count()
	}
}

// count keeps client.active: called after each change of what the stream holds or waits for.
func (s *stream) count() {
	active := !s.forgotten && (s.held > 0 || len(s.slabs) > 0 || s.waits())
	switch {
	case active && !s.active:
		s.client.active++
	case !active && s.active:
		s.client.active--
	}
	s.active = active
}
