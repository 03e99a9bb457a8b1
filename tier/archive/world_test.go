package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world is a quorum, a bucket and partitions around an archive: all that
// survives its crash.
type world struct {
	t      testing.TB
	mem    *object.Mem
	bucket *object.Faulty
	quorum *fakeQuorum
	parts  []*fakePart
	// pageEntries is how many entries a manifest page has; 0 for no pages.
	pageEntries int

	// crash, when not nil, is asked before and after each step that has an effect; once
	// it has said yes, nothing has any effect any more.
	crash func(step string) bool
	mu    sync.Mutex
	dead  bool
}

var errCrashed = errors.New("the process is dead")

// step runs an effect unless the process is dead, or dies just before it. It
// may also die just after, with the effect done and the caller not knowing.
func (w *world) step(name string, effect func() error) error {
	if w.dies("before " + name) {
		return errCrashed
	}
	err := effect()
	if w.dies("after " + name) {
		return errCrashed
	}
	return err
}

func (w *world) dies(step string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dead && w.crash != nil && w.crash(step) {
		w.dead = true
	}
	return w.dead
}

func newWorld(t testing.TB, partitions int) *world {
	w := &world{t: t, mem: object.NewMem(time.Now)}
	w.bucket = object.NewFaulty(w.mem)
	w.quorum = &fakeQuorum{w: w}
	for i := range partitions {
		id := kafka.Partition{Topic: kafka.TopicID{1, 2, 3}, Index: int32(i)}
		p := &fakePart{id: id, policy: Policy{Remote: true, LocalRetention: Retention{-1, -1}, Retention: Retention{-1, -1}}}
		p.log = &fakeLog{w: w}
		w.parts = append(w.parts, p)
	}
	return w
}

const cluster = "cluster"

// start runs an archive over the world until the returned function is called. It sweeps by itself only where the test says when.
func (w *world) start(cfg Config) (*Archive, func()) {
	cfg.Cluster = cluster
	if cfg.SweepInterval == 0 {
		cfg.SweepInterval = -1
	}
	a := New(stepBucket{w.bucket, w}, w.quorum, w.quorum, cfg, time.Now, slog.New(slog.DiscardHandler))
	a.letGo = func(*hot.Sealed) error { return nil }
	if w.pageEntries > 0 {
		a.SpillWith(pageReader{w}, w.quorum, w.pageEntries)
	}
	w.quorum.setPoke(a.Poke)
	for _, p := range w.parts {
		a.Add(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	return a, func() { cancel(); <-done }
}

// put puts something behind the archive's back.
func (w *world) put(key string) {
	w.t.Helper()
	if err := w.mem.Put(context.Background(), key, strings.NewReader("x"), 1); err != nil {
		w.t.Fatal(err)
	}
}

// objects are the keys in the bucket.
func (w *world) objects() []string {
	var keys []string
	if err := w.mem.List(context.Background(), "", func(i object.Info) error { keys = append(keys, i.Key); return nil }); err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// check holds what must be true of the world at any moment.
func (w *world) check() {
	w.t.Helper()
	for _, p := range w.parts {
		m := p.Manifest()
		for _, e := range w.entries(p) {
			w.checkObject(p, e)
		}
		// What can be read is somewhere: local from some offset on, remote before.
		segs := p.log.Segments()
		if from := segs[0].Base; from > p.Start() && from > m.End() {
			w.t.Fatalf("partition %d: local begins at %d, remote ends at %d, log starts at %d: data is lost", p.id.Index, from, m.End(), p.Start())
		}
		if from := segs[0].Base; from > p.Start() && m.Start() > p.Start() {
			w.t.Fatalf("partition %d: remote begins at %d, log starts at %d: data is lost", p.id.Index, m.Start(), p.Start())
		}
	}
}

// pageReader reads pages each time anew.
type pageReader struct{ w *world }

func (r pageReader) Page(ctx context.Context, p kafka.Partition, page manifest.Page) (manifest.Manifest, error) {
	body, err := r.w.bucket.Get(ctx, page.Key(cluster, p), 0, -1)
	if err != nil {
		return manifest.Manifest{}, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return manifest.Manifest{}, err
	}
	return page.Open(p, b)
}

// entries are all that the partition's manifest names, those in pages included.
func (w *world) entries(p *fakePart) (list []manifest.Entry) {
	w.t.Helper()
	m := p.Manifest()
	for _, page := range m.Pages() {
		body, err := w.mem.Get(context.Background(), page.Key(cluster, p.id), 0, -1)
		if err != nil {
			w.t.Fatalf("committed page [%d, %d) without an object: %v", page.Base, page.Next, err)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			w.t.Fatal(err)
		}
		entries, err := page.Open(p.id, b)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries.All() {
			if m.Alive(e) {
				list = append(list, e)
			}
		}
	}
	return append(list, m.Entries()...)
}

// checkObject reads an object and compares it with what was appended.
func (w *world) checkObject(p *fakePart, e manifest.Entry) {
	w.t.Helper()
	body, err := w.mem.Get(context.Background(), e.Key(cluster, p.id), 0, -1)
	if err != nil {
		w.t.Fatalf("committed entry without an object: %v", err)
	}
	data, err := io.ReadAll(body)
	if err != nil || int64(len(data)) != e.Size {
		w.t.Fatalf("object of %d bytes, entry says %d, %v", len(data), e.Size, err)
	}
	f, err := segment.ReadFooter(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		w.t.Fatalf("footer: %v", err)
	}
	if f.Base != e.Base || f.Next != e.Next || f.Partition != p.id || f.Cluster != cluster || f.Topic != "orders" || f.Epoch != e.Epoch || f.DataSize != e.DataSize {
		w.t.Fatalf("footer %+v of entry %+v", f, e)
	}
	if !bytes.Equal(data[:e.DataSize], p.log.history(e.Base, e.Next)) {
		w.t.Fatalf("object [%d, %d) holds other bytes than were appended", e.Base, e.Next)
	}
}

// stepBucket lets the process die around each effect on the bucket.
type stepBucket struct {
	object.Bucket
	w *world
}

func (b stepBucket) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.w.step("put", func() error { return b.Bucket.Put(ctx, key, body, size) })
}

func (b stepBucket) Delete(ctx context.Context, key string) error {
	return b.w.step("delete", func() error { return b.Bucket.Delete(ctx, key) })
}

// fakeQuorum commits as metadata/image does, and publishes at once or when told.
type fakeQuorum struct {
	w    *world
	mu   sync.Mutex
	poke func(kafka.Partition)
	hold bool // commit, but do not publish
	// fail, when not nil, may refuse a commit before it is made; lose, its answer after.
	fail, lose func(e manifest.Entry) error
	failTrim   error
	current    func() error // nil: what is published is all that there is
	commits    []manifest.Entry
}

func (q *fakeQuorum) setPoke(f func(kafka.Partition)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.poke = f
}

func (q *fakeQuorum) part(id kafka.Partition) *fakePart {
	for _, p := range q.w.parts {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (q *fakeQuorum) CommitSegment(ctx context.Context, id kafka.Partition, e manifest.Entry) error {
	return q.w.step("commit", func() error { return q.commit(ctx, id, e) })
}

func (q *fakeQuorum) commit(ctx context.Context, id kafka.Partition, e manifest.Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		if err := q.fail(e); err != nil {
			return err
		}
	}
	p := q.part(id)
	if e.Next <= p.committedStart {
		return manifest.ErrNotContiguous
	}
	m, err := p.committed.Append(e, p.committedEpoch)
	if err != nil {
		return err
	}
	p.committed = m
	q.commits = append(q.commits, e)
	q.publishLocked(p)
	if q.lose != nil {
		return q.lose(e)
	}
	return ctx.Err()
}

func (q *fakeQuorum) SpillSegments(_ context.Context, id kafka.Partition, epoch kafka.LeaderEpoch, page manifest.Page) error {
	return q.w.step("spill", func() error {
		q.mu.Lock()
		defer q.mu.Unlock()
		p := q.part(id)
		if epoch != p.committedEpoch {
			return manifest.ErrStaleEpoch
		}
		m, err := p.committed.Spill(page)
		if err != nil {
			return err
		}
		p.committed = m
		q.publishLocked(p)
		return nil
	})
}

func (q *fakeQuorum) TrimSegments(ctx context.Context, id kafka.Partition, epoch kafka.LeaderEpoch, start kafka.Offset) error {
	return q.w.step("trim", func() error {
		q.mu.Lock()
		defer q.mu.Unlock()
		p := q.part(id)
		if q.failTrim != nil {
			return q.failTrim
		}
		if epoch != p.committedEpoch {
			return manifest.ErrStaleEpoch
		}
		if start > p.committedStart {
			p.committedStart = start
			p.committed, _ = p.committed.TrimBefore(start)
		}
		q.publishLocked(p)
		return nil
	})
}

func (q *fakeQuorum) publishLocked(p *fakePart) {
	if q.hold {
		return
	}
	p.mu.Lock()
	p.manifest, p.start = p.committed, p.committedStart
	p.mu.Unlock()
	if q.poke != nil {
		q.poke(p.id)
	}
}

// setHold holds back publication, or lets it go on.
func (q *fakeQuorum) setHold(hold bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.hold = hold
	for _, p := range q.w.parts {
		q.publishLocked(p)
	}
}

// Current, Manifest and Each are what a sweep asks.
func (q *fakeQuorum) Current(context.Context) error {
	q.mu.Lock()
	current := q.current
	q.mu.Unlock()
	if current != nil {
		return current()
	}
	return nil
}

func (q *fakeQuorum) Manifest(id kafka.Partition) (manifest.Manifest, bool) {
	if p := q.part(id); p != nil {
		return p.Manifest(), true
	}
	return manifest.Manifest{}, false
}

func (q *fakeQuorum) Each(f func(kafka.Partition, manifest.Manifest)) {
	for _, p := range q.w.parts {
		f(p.id, p.Manifest())
	}
}

// fakePart is a Source.
type fakePart struct {
	id  kafka.Partition
	log *fakeLog

	// Under fakeQuorum.mu.
	committed      manifest.Manifest
	committedStart kafka.Offset
	committedEpoch kafka.LeaderEpoch

	mu       sync.Mutex
	manifest manifest.Manifest
	start    kafka.Offset
	epoch    kafka.LeaderEpoch
	policy   Policy
	limit    kafka.Offset // below the high watermark: -1 for not
	damaged  []kafka.Offset
}

func (p *fakePart) Partition() kafka.Partition { return p.id }
func (p *fakePart) Topic() string              { return "orders" }
func (p *fakePart) Local() Local               { return p.log }
func (p *fakePart) Epoch() kafka.LeaderEpoch   { p.mu.Lock(); defer p.mu.Unlock(); return p.epoch }
func (p *fakePart) Manifest() manifest.Manifest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.manifest
}
func (p *fakePart) Start() kafka.Offset { p.mu.Lock(); defer p.mu.Unlock(); return p.start }
func (p *fakePart) Policy() Policy      { p.mu.Lock(); defer p.mu.Unlock(); return p.policy }
func (p *fakePart) StableEnd() kafka.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit > 0 {
		return p.limit
	}
	return p.log.end()
}
func (p *fakePart) SegmentDamaged(base kafka.Offset, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.damaged = append(p.damaged, base)
}

// set changes the partition as its leader or its topic's configuration would.
func (p *fakePart) set(f func(p *fakePart)) { p.mu.Lock(); defer p.mu.Unlock(); f(p) }

// lead starts a leadership everywhere.
func (q *fakeQuorum) lead(p *fakePart, epoch kafka.LeaderEpoch) {
	q.mu.Lock()
	p.committedEpoch = epoch
	q.mu.Unlock()
	p.set(func(p *fakePart) { p.epoch = epoch })
}

// fakeLog is a local log of real batches in memory. It survives crashes.
type fakeLog struct {
	w        *world
	mu       sync.Mutex
	segments []*fakeSegment
	next     kafka.Offset
	all      []byte // everything ever appended, and where offsets lie in it
	at       map[kafka.Offset]int
	rolls    int
}

type fakeSegment struct {
	hot.SegmentInfo
	data []byte
}

func (l *fakeLog) end() kafka.Offset { l.mu.Lock(); defer l.mu.Unlock(); return l.next }

// append adds a batch of n records of about so many bytes each.
func (l *fakeLog) append(n, size int, epoch kafka.LeaderEpoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b batch.Builder
	b.ProducerID = kafka.NoProducer
	now := time.Now()
	for i := range n {
		b.Add(now.UnixMilli(), nil, bytes.Repeat([]byte{byte(l.next) + byte(i)}, size))
	}
	v, err := b.Build()
	if err != nil {
		l.w.t.Fatal(err)
	}
	v.Stamp(l.next, epoch)
	if l.at == nil {
		l.at = map[kafka.Offset]int{}
	}
	l.at[l.next] = len(l.all)
	l.all = append(l.all, v...)
	s := l.active()
	if len(s.data) == 0 {
		s.Created = now
	}
	l.next += kafka.Offset(n)
	s.data = append(s.data, v...)
	s.Next, s.Size, s.MaxTimestamp = l.next, int64(len(s.data)), now.UnixMilli()
	l.at[l.next] = len(l.all)
}

func (l *fakeLog) active() *fakeSegment {
	if n := len(l.segments); n > 0 && !l.segments[n-1].Sealed {
		return l.segments[n-1]
	}
	s := &fakeSegment{SegmentInfo: hot.SegmentInfo{Base: l.next, Next: l.next, MaxTimestamp: -1}}
	l.segments = append(l.segments, s)
	return s
}

func (l *fakeLog) history(from, to kafka.Offset) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[l.at[from]:l.at[to]]
}

// segment appends a few batches and seals them.
func (l *fakeLog) segment(epoch kafka.LeaderEpoch) {
	for range 3 {
		l.append(10, 100, epoch)
	}
	if err := l.Roll(); err != nil {
		l.w.t.Fatal(err)
	}
}

// fill makes n segments.
func (l *fakeLog) fill(n int, epoch kafka.LeaderEpoch) {
	for range n {
		l.segment(epoch)
	}
}

func (l *fakeLog) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.active(); s.Size > 0 {
		s.Sealed, s.Durable = true, true
		l.rolls++
		l.active()
	}
	return nil
}

func (l *fakeLog) Segments() []hot.SegmentInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active()
	infos := make([]hot.SegmentInfo, len(l.segments))
	for i, s := range l.segments {
		infos[i] = s.SegmentInfo
	}
	return infos
}

func (l *fakeLog) Size() (n int64) {
	for _, s := range l.Segments() {
		n += s.Size
	}
	return n
}

func (l *fakeLog) OpenSealed(base kafka.Offset) (*hot.Sealed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.Base == base && s.Sealed {
			return &hot.Sealed{Info: s.SegmentInfo, Data: bytes.NewReader(s.data), State: fmt.Appendf(nil, "state at %d", s.Next)}, nil
		}
	}
	return nil, hot.ErrOutOfRange
}

func (l *fakeLog) ReleaseBefore(next kafka.Offset) (freed int64, err error) {
	err = l.w.step("release", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.segments = slices.DeleteFunc(l.segments, func(s *fakeSegment) bool {
			gone := s.Sealed && s.Next <= next
			if gone {
				freed += s.Size
			}
			return gone
		})
		return nil
	})
	return freed, err
}

// after waits so long, by the bubble's clock, and for all to have settled.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// partitionOf cuts the partition's part out of a key.
func partitionOf(key string) string { return strings.Split(key, "/")[2] }

func (*fakePart) Aborted(_, _ kafka.Offset) []segment.AbortedTxn { return nil }
