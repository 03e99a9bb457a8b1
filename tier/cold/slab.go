package cold

import (
	"container/list"
	"sort"
	"time"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// slab is a range of an object's blocks in memory, filled front to back by one
// GET (and its retries). Guarded by Reader.mu, but for buf's bytes: those of
// [from, ready) are immutable, those behind belong to the running GET.
type slab struct {
	r        *Reader
	remote   *remote
	from, to int    // blocks
	ready    int    // blocks [from, ready) can be read
	buf      []byte // nil until the GET begins, unless a used one was at hand
	size     int64  // of buf, now or then: what the account has it for
	start    int64  // position of buf[0] in the object

	wanted  []*stream // whose window it is in
	owner   *stream   // who answers for its memory: one that wants it, or the last that did while it is being sent
	owed    int64     // what owner was charged
	refs    int       // Runs that point to it, and the running GET
	loading bool      // a GET is running, queued or waiting for its retry
	gone    bool      // no longer to be found: the buffer is freed when refs is 0
	idle    *list.Element

	attempts int    // since the last block arrived
	reread   int    // block whose check failed once; footerBlock for none
	cancel   func() // ends the running GET; nil when none runs

	began, arrived time.Time // of the last attempt, and of the last block
	failed         int       // attempts before it
}

// run cuts whole batches out of the slab, beginning with the one that holds
// from, which is sought in block b. ok is false when all of b lies below from
// (only after compaction). next is the offset behind the run.
func (sl *slab) run(b int, from kafka.Offset, limit int) (run batch.Run, next kafka.Offset, ok bool) {
	rm, f := sl.remote, sl.remote.footer
	readyEnd := rm.blocks[sl.ready].pos
	begin := max(f.Locate(from).Pos, rm.blocks[b].pos)
	at, ok := segment.Search(sl.bytes(begin, rm.blocks[b+1].pos), from)
	if !ok {
		return batch.Run{}, 0, false
	}
	begin += int64(at)
	end, next := readyEnd, rm.blocks[sl.ready].first
	if begin+int64(limit) < readyEnd {
		end, next = sl.cut(begin, begin+int64(limit))
	}
	sl.refs++
	sl.r.memory.settle(sl)
	p := sl.bytes(begin, end)
	return batch.Run{Bytes: p, N: len(p), Hold: sl}, next, true
}

// cut returns the last batch border at or before limit, and the offset there;
// the border behind the first batch when that is larger.
func (sl *slab) cut(begin, limit int64) (end int64, next kafka.Offset) {
	index := sl.remote.footer.Index
	i := sort.Search(len(index), func(i int) bool { return index[i].Pos > limit }) - 1
	end = begin
	if index[i].Pos > begin {
		end, next = index[i].Pos, index[i].Offset
	}
	for {
		v := batch.View(sl.bytes(end, end+batch.HeaderLen))
		if end+int64(v.Size()) > limit && end > begin {
			return end, next
		}
		end += int64(v.Size())
		next = v.NextOffset()
		if end >= limit {
			return end, next
		}
	}
}

// bytes are those of positions [from, to) of the object.
func (sl *slab) bytes(from, to int64) []byte {
	return sl.buf[from-sl.start : to-sl.start : to-sl.start]
}

// Downloaded tells of the GET that has brought a Run, or brings what is behind it: what it asked for, and what it took until
// the last block that has come. For traces.
func (sl *slab) Downloaded() (key string, from, bytes int64, began time.Time, took time.Duration, attempts int) {
	sl.r.mu.Lock()
	defer sl.r.mu.Unlock()
	return sl.remote.key, sl.start, sl.remote.size(sl.from, sl.to), sl.began, sl.arrived.Sub(sl.began), sl.failed
}

// Release lets go of a Run's bytes. It implements batch.Holder.
func (sl *slab) Release() {
	r := sl.r
	r.mu.Lock()
	defer r.unlockAway()
	sl.unref()
	r.pump()
}

func (sl *slab) unref() {
	if sl.refs--; sl.refs < 0 {
		panic("cold: a run was released twice")
	}
	sl.r.memory.settle(sl)
}

// truncate gives up the blocks that have not arrived. Who waits for them is
// told to look again.
func (sl *slab) truncate() {
	rm := sl.remote
	for b := sl.ready; b < sl.to; b++ {
		rm.slabs[b] = nil
		rm.call(sl.r, b)
	}
	sl.to = sl.ready
	sl.loading = false
	if sl.cancel != nil {
		sl.cancel()
		sl.cancel = nil
	}
	if sl.from == sl.to {
		sl.vanish()
	}
	sl.r.memory.settle(sl)
}

// vanish takes the slab out of its object. Its buffer lives on while it is pointed to.
func (sl *slab) vanish() {
	if sl.gone {
		return
	}
	sl.gone = true
	for b := sl.from; b < sl.to; b++ {
		sl.remote.slabs[b] = nil
	}
	sl.remote.live--
}

// memory is the account of slabs' buffers. Guarded by Reader.mu.
//
// Invariant: used + spare <= limit, unless a single slab is larger.
type memory struct {
	limit, idleLimit int64
	usual            int64 // a buffer for any whole range
	used             int64 // bytes of buffers that slabs have
	peak             int64 // the most that used + spare ever was
	spare            int64 // bytes of buffers that nobody has, kept because fresh memory costs page faults
	free             map[int][][]byte
	idle             list.List // slabs that nobody wants or points to, the oldest first
	idleBytes        int64
}

// bufferUnit is what buffers' sizes are multiples of, from there on.
const bufferUnit = 1 << 20

// roundUp is the size of the buffer for n bytes. Ranges of several MiB differ a little from each other, and come in one size
// or a few, where the memory is large enough for that: a buffer that is not used again has to be cleared and mapped again, a seventh
// of all that a replay costs.
func (m *memory) roundUp(n int64) int64 {
	switch {
	case n < bufferUnit/2:
		return n
	case m.usual > 4*bufferUnit && m.usual <= m.limit/16 && n > m.usual/2 && n <= m.usual:
		return m.usual
	}
	return (n + bufferUnit - 1) / bufferUnit * bufferUnit
}

// take reserves a buffer for n bytes, evicting what is idle; ok is false when
// there is no room. buf is nil when none is at hand: whoever fills it makes one of
// size bytes, outside of mu, since making it means clearing it.
func (m *memory) take(n int64) (buf []byte, size int64, ok bool) {
	size = m.roundUp(n)
	if m.used-m.idleBytes+size > m.limit && m.used > m.idleBytes {
		return nil, 0, false // not even without all that is idle
	}
	for {
		if bufs := m.free[int(size)]; len(bufs) > 0 {
			buf := bufs[len(bufs)-1]
			bufs[len(bufs)-1] = nil
			m.free[int(size)] = bufs[:len(bufs)-1]
			m.spare -= size
			m.used += size
			return buf[:n], size, true
		}
		if m.used+m.spare+size <= m.limit {
			break
		}
		if e := m.idle.Front(); e != nil {
			m.evict(e.Value.(*slab)) // its buffer may be the one
		} else if m.spare > 0 {
			m.dropSpare()
		} else {
			break // a slab larger than the limit, alone
		}
	}
	m.used += size
	m.peak = max(m.peak, m.used+m.spare)
	return nil, size, true
}

// evict forgets a slab that nobody points to.
func (m *memory) evict(sl *slab) {
	sl.vanish()
	m.settle(sl)
}

// put takes a buffer, or what was reserved for one, back.
func (m *memory) put(buf []byte, size int64) {
	m.used -= size
	most := m.limit / 4
	if buf == nil || size%bufferUnit != 0 || size > most || m.used+m.spare+size > m.limit {
		return
	}
	if m.spare+size > most {
		m.dropSpare() // of sizes that are no longer asked for, most likely
	}
	if m.free == nil {
		m.free = map[int][][]byte{}
	}
	m.free[int(size)] = append(m.free[int(size)], buf[:0])
	m.spare += size
}

func (m *memory) dropSpare() {
	m.free, m.spare = nil, 0
}

// settle puts a slab where its counts say it belongs: freed, idle, or in use.
func (m *memory) settle(sl *slab) {
	idle := !sl.gone && len(sl.wanted) == 0 && sl.refs == 0 && !sl.loading
	switch {
	case idle && sl.idle == nil:
		sl.idle = m.idle.PushBack(sl)
		m.idleBytes += sl.size
		sl.owe(nil)
		for m.idleBytes > m.idleLimit {
			m.evict(m.idle.Front().Value.(*slab))
		}
		return
	case !idle && sl.idle != nil:
		m.idle.Remove(sl.idle)
		m.idleBytes -= sl.size
		sl.idle = nil
	}
	if sl.gone && sl.refs == 0 && sl.size > 0 {
		sl.owe(nil)
		m.put(sl.buf, sl.size)
		sl.buf, sl.size = nil, 0
	}
}

// evictIdle forgets all that is idle.
func (m *memory) evictIdle() {
	for e := m.idle.Front(); e != nil; e = m.idle.Front() {
		m.evict(e.Value.(*slab))
	}
}
