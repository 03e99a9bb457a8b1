package replica

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Followers would not get every byte, would tell a position that is not on their disk, or the leader would not learn how far
// they are; or an idle follower would keep asking.
func TestFollowersCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		l := newLeader(a)
		f := follow(t, b, l)
		for i := range int32(5) {
			p := a.open(id(i), nil)
			a.lead(p, 3)
			a.produce(p, 100)
			q := b.open(id(i), nil)
			q.Follow(1, 3)
			f.Follow(q)
		}
		f.Go()
		synctest.Wait()
		for range 20 {
			for i := range int32(5) {
				a.produce(a.parts[id(i)], 1000)
			}
		}
		for i := range int32(5) {
			p, q := a.parts[id(i)], b.parts[id(i)]
			if logOf(t, p) != logOf(t, q) || q.LocalEnd() != 21 {
				t.Errorf("partition %d ends at %d, the leader's at %d", i, q.LocalEnd(), p.LocalEnd())
			}
			if r := p.Replicas()[1]; r.Durable != 21 || q.Log().DurableEnd() != 21 {
				t.Errorf("partition %d: the leader knows of %d, %d are durable", i, r.Durable, q.Log().DurableEnd())
			}
		}
		if f.Len() != 5 || f.Bytes() == 0 || l.count().full > 2 {
			t.Errorf("%d partitions, %d bytes, %d sessions", f.Len(), f.Bytes(), l.count().full)
		}
		synctest.Wait()
		before := l.count()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if now := l.count(); now.requests-before.requests > 20 || now.named != before.named {
			t.Errorf("asked in 10 idle seconds: %+v, before %+v", now, before)
		}
	})
}

// Every partition that comes would have all others named again, or wait until the leader has news of those.
func TestNewcomersKeepTheSession(t *testing.T) {
	const first, more = 50, 20
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		l := newLeader(a)
		f := follow(t, b, l)
		add := func(i int32) {
			p := a.open(id(i), nil)
			a.lead(p, 3)
			q := b.open(id(i), nil)
			q.Follow(1, 3)
			f.Follow(q)
		}
		for i := range int32(first) {
			add(i)
		}
		f.Go()
		synctest.Wait()
		before, began := l.count(), time.Now()
		for i := range int32(more) {
			add(first + i)
			f.Go()
			a.produce(a.parts[id(first+i)], 100)
			if q := b.parts[id(first+i)]; q.LocalEnd() != 1 || q.Log().DurableEnd() != 1 {
				t.Errorf("newcomer %d has %d records", i, q.LocalEnd())
			}
			f.Forget(id(i))
			f.Go()
			synctest.Wait()
		}
		if now := l.count(); now.full != before.full || now.named-before.named > 2*more+1 || time.Since(began) != 0 {
			t.Errorf("asked %+v, before %+v, %v ago", now, before, time.Since(began))
		}
		a.produce(a.parts[id(0)], 100)
		a.produce(a.parts[id(more)], 100)
		if gone, stays := b.parts[id(0)].LocalEnd(), b.parts[id(more)].LocalEnd(); gone != 0 || stays != 1 {
			t.Errorf("the one that was forgotten has %d records, one of the others %d", gone, stays)
		}
	})
}

// A follower would tell its leader of records that its own disk does not have yet.
func TestPositionsAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		l := newLeader(a)
		f := follow(t, b, l)
		p, q := a.open(id(0), nil), b.open(id(0), nil)
		a.lead(p, 0)
		q.Follow(1, 0)
		f.Follow(q)
		f.Go()
		synctest.Wait()
		gate := make(chan struct{})
		b.fs.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.KindSyncVol {
				<-gate
			}
			return nil
		})
		a.produce(p, 100)
		if q.LocalEnd() != 1 || p.Replicas()[1].Durable != 0 {
			t.Errorf("the follower has written %d, the leader counts %d, nothing is flushed", q.LocalEnd(), p.Replicas()[1].Durable)
		}
		b.fs.SetHook(nil)
		close(gate)
		synctest.Wait()
		if r := p.Replicas()[1]; r.Durable != 1 {
			t.Errorf("the leader counts %d", r.Durable)
		}
	})
}

// A follower would stay behind when its leader was away, when its own disk was full for a while, when its leader's epoch is not
// the one it knows yet, or when it has to follow another leadership; or it would go on with one that is over.
func TestFollowersComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		l := newLeader(a)
		f := follow(t, b, l)
		p, q := a.open(id(0), nil), b.open(id(0), nil)
		a.lead(p, 0)
		same := func(what string) {
			t.Helper()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if logOf(t, p) != logOf(t, q) || p.Replicas()[1].Durable != p.LocalEnd() {
				t.Errorf("%s: the follower ends at %d, the leader at %d and counts %d", what, q.LocalEnd(), p.LocalEnd(), p.Replicas()[1].Durable)
			}
		}
		q.Follow(1, 1) // the image came here first
		f.Follow(q)
		f.Go()
		a.produce(p, 10)
		time.Sleep(time.Second)
		if q.LocalEnd() != 0 {
			t.Error("served under an epoch that the leader does not know")
		}
		a.lead(p, 1)
		same("the leader has heard")

		l.mu.Lock()
		l.down = true
		l.mu.Unlock()
		a.produce(p, 10)
		time.Sleep(time.Minute)
		l.mu.Lock()
		l.down = false
		l.mu.Unlock()
		same("the leader was away")

		b.fs.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.KindWrite && strings.HasSuffix(op.Path, ".log") {
				return &vfs.Partial{N: 3, Err: syscall.ENOSPC}
			}
			return nil
		})
		a.produce(p, 10_000) // what is small has its room
		time.Sleep(time.Minute)
		if q.LocalEnd() == p.LocalEnd() {
			t.Error("the disk was not full")
		}
		b.fs.SetHook(nil)
		same("the disk was full")

		a.lead(p, 4)
		a.produce(p, 10)
		time.Sleep(time.Second)
		synctest.Wait()
		if p.LocalEnd() == q.LocalEnd() {
			t.Error("fetched under an epoch that is over")
		}
		q.Follow(1, 4)
		f.Follow(q)
		f.Go()
		same("another leadership")

		q.Resign()
		f.Follow(q)
		f.Go()
		a.produce(p, 10)
		time.Sleep(time.Second)
		if f.Len() != 0 || q.LocalEnd() == p.LocalEnd() {
			t.Error("fetched by who follows nobody")
		}
	})
}

// A follower would keep what its leader does not have.
func TestFollowerTruncates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		f := follow(t, b, newLeader(a))
		p, q := a.open(id(0), nil), b.open(id(0), nil)
		q.Lead(partition.Leadership{Epoch: 1, Replicas: []kafkaID{2}, ISR: []kafkaID{2}})
		b.produce(q, 30)
		b.produce(q, 30)
		a.lead(p, 2)
		a.produce(p, 20)
		q.Follow(1, 2)
		f.Follow(q)
		f.Go()
		synctest.Wait()
		if logOf(t, p) != logOf(t, q) || q.LocalEnd() != 1 {
			t.Errorf("the follower ends at %d", q.LocalEnd())
		}
	})
}

// A new replica of a partition whose history is in the bucket would fetch more than the local tail from its leader, or could not
// be read from the beginning when it leads (scenario 16, KAFKA-15695).
func TestBootstrapFromTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		p := a.history(id(0))
		if p.Log().LocalStart() < 80 {
			t.Fatalf("the bucket ends at %d, local begins at %d", p.Log().Manifest().End(), p.Log().LocalStart())
		}
		b.manifest = a.manifest
		l := newLeader(a)
		f := follow(t, b, l)
		q := b.open(id(0), tiered)
		q.Follow(1, 2)
		f.Follow(q)
		f.Go()
		synctest.Wait()
		tail := int64(len(logOf(t, p)))
		if q.LocalEnd() != 100 || f.Bytes() > tail {
			t.Errorf("ends at %d with %d bytes from the leader, which has %d on its disk", q.LocalEnd(), f.Bytes(), tail)
		}
		t.Logf("%d bytes of %d were fetched from the leader", f.Bytes(), 100*1070)

		// One that was away until its leader has nothing of what follows its log begins anew, too.
		late := newHost(t, 2, bucket)
		g := follow(t, late, newLeader(a))
		r := late.open(id(0), func(c *config.Topic) { c.SegmentBytes = 10_000 }) // opened when nothing was in the bucket
		r.Follow(1, 2)
		r.Publish(a.manifest, 0)
		g.Follow(r)
		g.Go()
		synctest.Wait()
		if r.LocalEnd() != 100 || g.Bytes() > tail {
			t.Errorf("the late one ends at %d with %d bytes from the leader", r.LocalEnd(), g.Bytes())
		}

		f.Forget(id(0))
		q.Lead(partition.Leadership{Epoch: 3, Replicas: []kafkaID{2}, ISR: []kafkaID{2}})
		from, read := kafkaOffset(0), 0
		for from < 100 {
			ready := make(chan struct{})
			res, err := q.Read(partition.ReadRequest{From: from, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 5000, Ready: func() { close(ready) }})
			if err != nil {
				t.Fatalf("read at %d: %v", from, err)
			}
			if res.Loading {
				<-ready
				continue
			}
			from, read = next(t, res.Run, from), read+1
		}
		if read < 10 {
			t.Errorf("read in %d pieces", read)
		}
	})
}

// A broker that has just led, with records that are not on its disk yet, would begin to follow only when the partitions that it follows
// already have news, or their wait at the leader ends: as long would the new leader's producers wait.
func TestWhoHasJustLedFollowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newStillHost(t, 2, bucket)
		f := follow(t, b, newLeader(a))
		for i := range int32(2) {
			a.lead(a.open(id(i), nil), 2)
			b.open(id(i), nil)
		}
		idle, q := b.parts[id(0)], b.parts[id(1)]
		idle.Follow(1, 2)
		f.Follow(idle)
		f.Go()
		synctest.Wait()
		q.Lead(partition.Leadership{Epoch: 1, Replicas: []kafkaID{2}, ISR: []kafkaID{2}})
		b.produce(q, 10)
		if _, flushed := q.Position(); flushed {
			t.Fatal("flushed already")
		}
		q.Follow(1, 2)
		f.Follow(q)
		f.Go()
		synctest.Wait()
		if q.LocalEnd() != 0 { // the leader says that it does not have this
			t.Errorf("ends at %d: it has not asked its leader", q.LocalEnd())
		}
	})
}

// hanging is a bucket that answers no read.
type hanging struct{ object.Bucket }

func (hanging) Get(ctx context.Context, _ string, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A follower that needs the bucket, which does not answer, would say nothing of it; or a failure that lasts would be said each time.
func TestFailuresAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, hanging{bucket})
		a.history(id(0))
		var said strings.Builder
		f := New(Config{Node: 2}, newLeader(a), b.flusher, func() kafka.BrokerEpoch { return 7 }, slog.New(slog.NewTextHandler(&said, nil)))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = f.Run(ctx) })
		q := b.open(id(0), func(c *config.Topic) { c.SegmentBytes = 10_000 }) // opened when nothing was in the bucket
		q.Publish(a.manifest, 0)
		q.Follow(1, 2)
		f.Follow(q)
		f.Go()
		time.Sleep(10 * time.Minute)
		stop()
		running.Wait()
		if n := strings.Count(said.String(), "replicate partition"); n != 1 {
			t.Errorf("said %d times in ten minutes:\n%s", n, said.String())
		}
	})
}
