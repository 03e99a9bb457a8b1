package cold

import (
	"container/list"
	"sort"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// blockSize is the most that a block holds, unless a single index entry's
// batches are larger. It is what clients ask of a partition at a time
// (max.partition.fetch.bytes), so that one answer takes one block.
const blockSize = 1 << 20

// footerBlock stands for the footer where blocks are numbered.
const footerBlock = -1

// How long a failure is reported without asking the bucket again: clients
// retry faster than that.
const (
	cooldown        = time.Second
	corruptCooldown = 10 * time.Second
)

// remote is one object. Guarded by Reader.mu; footer and blocks are immutable
// once set.
type remote struct {
	id    remoteID
	key   string
	entry manifest.Entry

	footer *segment.Footer // nil until loaded
	blocks []block         // and one more that marks the end
	ranges []int           // the blocks that begin a range (see cutRanges), and one more that marks the end
	slabs  []*slab         // by block; nil where nobody has it

	load    loadState
	failed  map[int]failure
	waiters map[int][]*stream // whose read waits for the block
	asked   []func()          // calls of Footer that wait
	curious []*stream         // to be planned again when the footer is there
	live    int               // slabs that point here
	used    *list.Element     // in Reader.footers, once loaded
}

type loadState int

const (
	loadNone loadState = iota
	loadQueued
	loadRunning
)

// block is a range of the data that begins with an index entry.
type block struct {
	pos   int64
	first kafka.Offset
}

type failure struct {
	err   error
	until time.Time
}

// remoteID names an object as Key does, without building a string for every read.
type remoteID struct {
	partition  kafka.Partition
	base, next kafka.Offset
	epoch      kafka.LeaderEpoch
	uuid       [16]byte
}

// remote returns the object of an entry, known or not.
func (r *Reader) remote(p kafka.Partition, e manifest.Entry) *remote {
	id := remoteID{p, e.Base, e.Next, e.Epoch, e.UUID}
	rm := r.remotes[id]
	if rm == nil {
		rm = &remote{id: id, key: e.Key(r.cluster, p), entry: e, failed: map[int]failure{}, waiters: map[int][]*stream{}}
		r.remotes[id] = rm
	}
	return rm
}

// loaded installs the footer and lets those go on who wait for it.
func (rm *remote) loaded(r *Reader, f *segment.Footer) {
	rm.load = loadNone
	rm.footer = f
	rm.blocks = cutBlocks(f)
	rm.ranges = cutRanges(rm.blocks, r.cfg.rangeGoal())
	rm.slabs = make([]*slab, rm.count())
	delete(rm.failed, footerBlock)
	r.mended(rm.key, footerBlock)
	rm.used = r.footers.PushFront(rm)
	r.footerN += rm.bytes()
	rm.call(r, footerBlock)
	rm.plan(r)
	r.trimFooters()
}

// plan lets the streams that came to this object's border look again.
func (rm *remote) plan(r *Reader) {
	for _, s := range rm.curious {
		r.ahead.push(s)
	}
	rm.curious = nil
}

// bytes is about what the remote takes in memory.
func (rm *remote) bytes() int64 {
	f := rm.footer
	return int64(1024 + 24*len(f.Index) + 4*len(f.Chunks) + 16*len(f.Epochs) + 32*len(f.Aborted) + len(f.State) + 32*len(rm.blocks) + 8*len(rm.ranges))
}

func (r *Reader) touch(rm *remote) { r.footers.MoveToFront(rm.used) }

// trimFooters forgets the footers longest unused, but for those with slabs or waiters.
func (r *Reader) trimFooters() {
	for e := r.footers.Back(); e != nil && r.footerN > r.cfg.FooterBytes; {
		rm := e.Value.(*remote)
		e = e.Prev()
		if rm.live == 0 && len(rm.waiters) == 0 && len(rm.asked) == 0 && rm.used != r.footers.Front() {
			r.footers.Remove(rm.used)
			r.footerN -= rm.bytes()
			delete(r.remotes, rm.id)
		}
	}
}

// cutBlocks groups index entries into blocks.
func cutBlocks(f *segment.Footer) []block {
	var blocks []block
	for i, e := range f.Index {
		end := f.DataSize
		if i+1 < len(f.Index) {
			end = f.Index[i+1].Pos
		}
		if len(blocks) == 0 || end-blocks[len(blocks)-1].pos > blockSize {
			blocks = append(blocks, block{e.Pos, e.Offset})
		}
	}
	return append(blocks, block{f.DataSize, f.Next})
}

// cutRanges groups blocks into ranges of about the same size, at most goal unless a block is larger: what one GET asks for.
// They depend on nothing but the object, so that readers who come from different places want the same ones, and what
// the memory still has of an earlier reader leaves gaps of whole ranges, not splinters.
func cutRanges(blocks []block, goal int64) []int {
	last := len(blocks) - 1
	total := blocks[last].pos - blocks[0].pos
	n := max((total+goal-1)/goal, 1)
	var ranges []int
	for b := 0; b < last; {
		ranges = append(ranges, b)
		end := blocks[0].pos + int64(len(ranges))*total/n // if all were equal: the next one has what this one lacks
		for b++; b < last && blocks[b+1].pos <= end; b++ {
		}
	}
	return append(ranges, last)
}

// rangeEnd is the block behind the range that the block lies in.
func (rm *remote) rangeEnd(block int) int {
	return rm.ranges[sort.SearchInts(rm.ranges, block+1)]
}

func (rm *remote) count() int { return len(rm.blocks) - 1 }

// block returns the number of the block that holds offset, 0 for one below the first.
func (rm *remote) block(offset kafka.Offset) int {
	n := rm.count()
	return max(sort.Search(n, func(i int) bool { return rm.blocks[i].first > offset })-1, 0)
}

// size is the length of blocks [from, to).
func (rm *remote) size(from, to int) int64 { return rm.blocks[to].pos - rm.blocks[from].pos }

// failure returns the block's error while it is fresh.
func (rm *remote) failure(block int) error {
	f, ok := rm.failed[block]
	if !ok {
		return nil
	}
	if time.Now().After(f.until) {
		delete(rm.failed, block)
		return nil
	}
	return f.err
}

// fail remembers an error and wakes who waits for the block.
func (rm *remote) fail(r *Reader, block int, err error, d time.Duration) {
	r.stats.failures.Add(1)
	rm.broke(r, block, err)
	rm.failed[block] = failure{err, time.Now().Add(d)}
	rm.call(r, block)
}

// call makes ready the reads that wait for the block.
func (rm *remote) call(r *Reader, block int) {
	for ws := rm.waiters[block]; len(ws) > 0; ws = rm.waiters[block] {
		r.calls = append(r.calls, ws[0].awake())
	}
	if block == footerBlock {
		r.calls = append(r.calls, rm.asked...)
		rm.asked = nil
	}
}

func (rm *remote) callAll(r *Reader) {
	for b := range rm.waiters {
		rm.call(r, b)
	}
	rm.call(r, footerBlock)
}
