package hosted

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world is a set that follows images, which commands make; node 1's, on a disk in memory.
type world struct {
	t       *testing.T
	disk    *vfs.Crash
	fs      *vfs.Faulty // in front of disk
	cfg     *config.Broker
	image   *image.Image
	index   uint64
	set     *Set
	tiers   *tiers
	flusher *hot.Flusher
	stop    context.CancelFunc
	running sync.WaitGroup
}

// tiers remembers what the archive would be told.
type tiers struct {
	mu    sync.Mutex
	heard []string
}

func (a *tiers) say(what string, p kafka.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, fmt.Sprintf("%s %d/%d", what, p.Topic[0], p.Index))
}

func (a *tiers) Add(s archive.Source)              { a.say("add", s.Partition()) }
func (a *tiers) Remove(p kafka.Partition)          { a.say("remove", p) }
func (a *tiers) RemovePartition(p kafka.Partition) { a.say("delete", p) }
func (a *tiers) Poke(p kafka.Partition)            { a.say("poke", p) }

// take returns what was heard since, in order of the alphabet.
func (a *tiers) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	heard := a.heard
	a.heard = nil
	slices.Sort(heard)
	return strings.Join(heard, ", ")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg, err := config.Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := vfs.NewCrash()
	w := &world{t: t, disk: disk, fs: vfs.NewFaulty(disk), cfg: cfg, image: image.Empty()}
	if err := w.fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	quiet := slog.New(slog.DiscardHandler)
	flusher, err := hot.NewFlusher(w.fs, "/data", journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, time.Now, quiet, func(err error) { panic(err) })
	if err != nil {
		w.t.Fatal(err)
	}
	reader := cold.NewReader(object.NewMem(time.Now), "c", cold.Config{}, quiet)
	w.running.Go(func() { _ = flusher.Run(ctx) })
	w.running.Go(func() { _ = reader.Run(ctx) })
	env := partition.Env{
		Log:  tierlog.Env{Hot: hot.Env{FS: w.fs, Flusher: flusher, Clock: time.Now, Log: quiet}, Cold: reader, Log: quiet},
		Node: 1, Clock: time.Now, ProducerExpiry: time.Hour, Deadlines: partition.NewDeadlines(time.Now), Logger: quiet,
	}
	w.flusher, w.stop, w.tiers = flusher, stop, &tiers{}
	w.set = New(env, func(p kafka.Partition) string { return fmt.Sprintf("/data/%s/%d", p.Topic, p.Index) }, w.cfg, w.tiers, quiet)
	w.running.Go(func() { _ = w.set.Run(ctx) })
}

func (w *world) close() {
	w.t.Helper()
	if err := w.set.Close(); err != nil {
		w.t.Error(err)
	}
	w.stop()
	w.running.Wait()
	if err := w.flusher.Close(); err != nil {
		w.t.Error(err)
	}
}

// commit makes the next image, without showing it to the set.
func (w *world) commit(commands ...command.Command) image.Changes {
	w.t.Helper()
	var changes image.Folder
	for _, c := range commands {
		w.index++
		next, _, ch, err := image.Apply(w.image, w.index, command.Envelope{TimeMs: 1}, c)
		if err != nil {
			w.t.Fatal(err)
		}
		w.image = next
		changes.Add(ch)
	}
	return changes.Take()
}

// do commits and applies.
func (w *world) do(commands ...command.Command) {
	w.t.Helper()
	ch := w.commit(commands...)
	w.set.Apply(w.t.Context(), w.image, ch)
	synctest.Wait()
}

func id(topic byte, index int32) kafka.Partition {
	return kafka.Partition{Topic: kafka.TopicID{topic, 15: 1}, Index: index}
}

// topic is the creation of a topic whose partitions have the given replicas.
func topic(n byte, replicas ...[]kafka.BrokerID) command.CreateTopic {
	return command.CreateTopic{ID: id(n, 0).Topic, Name: fmt.Sprintf("t%d", n), Partitions: replicas}
}

var here = []kafka.BrokerID{1}

type answer chan partition.Produced

func (a answer) Produced(_ int, r partition.Produced) { a <- r }

// produce appends a batch of one record and waits for its durability.
func (w *world) produce(p kafka.Partition) partition.Produced {
	w.t.Helper()
	var b batch.Builder
	b.Add(time.Now().UnixMilli(), nil, []byte("x"))
	v, err := b.Build()
	if err != nil {
		w.t.Fatal(err)
	}
	a := make(answer, 1)
	w.set.Get(p).Produce(v, nil, -1, time.Minute, a, 0)
	return <-a
}

func (w *world) hears(want string) {
	w.t.Helper()
	if got := w.tiers.take(); got != want {
		w.t.Errorf("the archive heard %q, want %q", got, want)
	}
}

// A partition would not be open, led under the image's epoch and known to the archive as soon as Apply returns, or one would
// be that other brokers hold.
func TestCreatedPartitionsAreLed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.do(topic(1, here, here, []kafka.BrokerID{2}), topic(2, []kafka.BrokerID{2, 1}))
		if w.set.Len() != 3 || w.set.Get(id(1, 2)) != nil || w.set.Get(id(3, 0)) != nil {
			t.Fatalf("%d partitions", w.set.Len())
		}
		w.hears("add 1/0, add 1/1, add 2/0")
		for i := range int32(2) {
			if p := w.set.Get(id(1, i)); p.LeaderEpoch() != 0 || p.Topic() != "t1" || p.ID() != id(1, i) {
				t.Errorf("%d: epoch %d of %s", i, p.LeaderEpoch(), p.Topic())
			}
		}
		if r := w.produce(id(1, 1)); r.Err != nil || r.Base != 0 {
			t.Errorf("%+v", r)
		}
		if p := w.set.Get(id(2, 0)); p.LeaderEpoch() != kafka.NoEpoch {
			t.Errorf("a partition that node 2 leads is led here, epoch %d", p.LeaderEpoch())
		}
		w.do(command.AddPartitions{ID: id(1, 0).Topic, From: 3, Replicas: [][]kafka.BrokerID{here}})
		if w.set.Len() != 4 || w.set.Get(id(1, 3)) == nil {
			t.Errorf("%d partitions after one was added", w.set.Len())
		}
		n := 0
		w.set.Each(func(*partition.Partition) { n++ })
		if n != 4 {
			t.Errorf("Each calls %d times", n)
		}
	})
}

// An election would leave the old epoch in force, or the old leader leading.
func TestElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.do(topic(1, []kafka.BrokerID{1, 2}))
		p := w.set.Get(id(1, 0))
		elect := func(leader kafka.BrokerID, isr ...kafka.BrokerID) {
			t.Helper()
			now, _ := w.image.Partition(id(1, 0))
			w.do(command.ElectLeaders{Elections: []command.Election{{Partition: now.Partition, Leader: leader, ISR: isr, Expected: now.PartitionEpoch}}})
		}
		elect(1, 1, 2)
		if p.LeaderEpoch() != 1 {
			t.Errorf("epoch %d after an election, want 1", p.LeaderEpoch())
		}
		elect(2, 2, 1)
		if p.LeaderEpoch() != kafka.NoEpoch {
			t.Errorf("node 2 was elected, and this broker leads under epoch %d", p.LeaderEpoch())
		}
		if err := p.CheckEpoch(-1); !errors.Is(err, partition.ErrNotLeader) {
			t.Errorf("a request: %v", err)
		}
		elect(1, 1, 2)
		if p.LeaderEpoch() != 3 {
			t.Errorf("epoch %d after coming back, want 3", p.LeaderEpoch())
		}
	})
}

// What the quorum commits of a partition's tiers would not reach it, nor the archive be told to look.
func TestTiersArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.do(topic(1, here, here))
		for range 3 {
			w.produce(id(1, 0))
		}
		w.tiers.take()
		w.do(command.CommitSegment{Partition: id(1, 0), Entry: manifest.Entry{Base: 0, Next: 2, UUID: [16]byte{1}, Size: 100, DataSize: 90}})
		if m := w.set.Get(id(1, 0)).Log().Manifest(); m.End() != 2 {
			t.Errorf("the manifest ends at %d, want 2", m.End())
		}
		w.do(command.TrimLog{Partition: id(1, 0), Start: 1})
		if start := w.set.Get(id(1, 0)).LogStart(); start != 1 {
			t.Errorf("the log starts at %d, want 1", start)
		}
		w.hears("poke 1/0, poke 1/0")
	})
}

// A deleted topic would stay open, known to the archive, or on the disk; or its name not be free for another.
func TestDeletedTopicsAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.do(topic(1, here, here), topic(2, here))
		p := w.set.Get(id(1, 0))
		w.produce(id(1, 0))
		w.tiers.take()
		again := topic(3, here)
		again.Name = "t1"
		w.do(command.DeleteTopic{ID: id(1, 0).Topic}, again)
		if w.set.Len() != 2 || w.set.Get(id(1, 0)) != nil || w.set.Get(id(1, 1)) != nil || w.set.Get(id(2, 0)) == nil {
			t.Errorf("%d partitions", w.set.Len())
		}
		w.hears("add 3/0, delete 1/0, delete 1/1")
		if err := p.CheckEpoch(-1); !errors.Is(err, partition.ErrNotLeader) {
			t.Errorf("whoever still holds the partition is told %v", err)
		}
		if _, err := w.fs.Stat("/data/" + id(1, 0).Topic.String() + "/0"); err == nil {
			t.Error("its directory is there")
		}
		if r := w.produce(id(3, 0)); r.Err != nil || r.Base != 0 {
			t.Errorf("its successor: %+v", r)
		}
	})
}

// Changed overrides, of the topic or of the brokers, would not hold, or would reach topics that they are not of.
func TestReconfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		first := topic(1, here)
		first.Configs = map[string]string{"max.message.bytes": "1111"}
		w.do(first, topic(2, here))
		is := func(n byte, want int32) {
			t.Helper()
			if got := w.set.Get(id(n, 0)).Settings().MaxMessageBytes; got != want {
				t.Errorf("topic %d: max.message.bytes %d, want %d", n, got, want)
			}
		}
		other := w.set.Get(id(2, 0)).Settings()
		is(1, 1111)
		w.tiers.take()
		w.do(command.SetConfigs{Type: command.Topic, Name: "t1", Set: map[string]string{"max.message.bytes": "2222"}})
		is(1, 2222)
		w.hears("poke 1/0")
		if w.set.Get(id(2, 0)).Settings() != other {
			t.Error("another topic was reconfigured")
		}
		w.do(command.SetConfigs{Type: command.Broker, Name: "", Set: map[string]string{"message.max.bytes": "3333"}})
		is(1, 2222)
		is(2, 3333)
		w.do(command.SetConfigs{Type: command.Broker, Name: "1", Set: map[string]string{"message.max.bytes": "4444"}})
		is(2, 4444)
		w.do(command.SetConfigs{Type: command.Topic, Name: "t1", Delete: []string{"max.message.bytes"}})
		is(1, 4444)
	})
}

// Await would return before the partition can be used, hang after it can, or not end with its context.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		ch := w.commit(topic(1, here))
		done := make(chan error, 1)
		go func() { done <- w.set.Await(t.Context(), id(1, 0)) }()
		synctest.Wait()
		w.set.Apply(t.Context(), w.image, image.Changes{}) // of something else
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("returned %v before the partition was there", err)
		default:
		}
		w.set.Apply(t.Context(), w.image, ch)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := w.set.Await(t.Context(), id(1, 0)); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.set.Await(ctx, id(9, 0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a partition that never comes: %v", err)
		}
	})
}

// One partition whose storage fails would take others with it, not be reported, have whoever awaits it hang, or never be tried
// again; or its failure be reported after its topic is gone.
func TestFailedPartitionIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		bad := id(1, 1).Topic.String() + "/1"
		fail := func(op vfs.Op) error {
			if strings.Contains(op.Path, bad) {
				return syscall.EIO
			}
			return nil
		}
		w.fs.SetHook(fail)
		done := make(chan error, 1)
		go func() { done <- w.set.Await(t.Context(), id(1, 1)) }()
		synctest.Wait()
		w.do(topic(1, here, here, here))
		if err := <-done; !errors.Is(err, syscall.EIO) {
			t.Errorf("whoever awaits it is told %v", err)
		}
		failed := w.set.Failed()
		if w.set.Len() != 2 || w.set.Get(id(1, 1)) != nil || len(failed) != 1 || !errors.Is(failed[id(1, 1)], syscall.EIO) {
			t.Fatalf("%d open, failed %v", w.set.Len(), failed)
		}
		if r := w.produce(id(1, 2)); r.Err != nil {
			t.Error(r.Err)
		}
		w.fs.SetHook(nil)
		w.set.Load(t.Context(), w.image)
		if len(w.set.Failed()) != 0 || w.set.Len() != 3 {
			t.Fatalf("with the disk well again: %d open, failed %v", w.set.Len(), w.set.Failed())
		}
		bad = id(2, 0).Topic.String() + "/0"
		w.fs.SetHook(fail)
		w.do(topic(2, here))
		if len(w.set.Failed()) != 1 {
			t.Fatalf("failed %v", w.set.Failed())
		}
		w.do(command.DeleteTopic{ID: id(2, 0).Topic})
		if len(w.set.Failed()) != 0 {
			t.Errorf("a deleted topic's partition is reported: %v", w.set.Failed())
		}
		w.fs.SetHook(nil)
	})
}

// A restarted broker would lack partitions, or what they held.
func TestLoadAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var replicas [][]kafka.BrokerID
		for range 20 {
			replicas = append(replicas, here)
		}
		w.do(topic(1, replicas...), topic(2, here))
		for i := range int32(20) {
			for range i {
				w.produce(id(1, i))
			}
		}
		w.close()
		if heard := w.tiers.take(); strings.Count(heard, "remove") != 21 {
			t.Errorf("the archive heard %q", heard)
		}
		w.start()
		defer w.close()
		w.set.Load(t.Context(), w.image)
		if w.set.Len() != 21 {
			t.Fatalf("%d partitions, want 21", w.set.Len())
		}
		for i := range int32(20) {
			if p := w.set.Get(id(1, i)); p.HighWatermark() != kafka.Offset(i) || p.LeaderEpoch() != 0 {
				t.Errorf("partition %d ends at %d, epoch %d", i, p.HighWatermark(), p.LeaderEpoch())
			}
		}
	})
}

// Segments would not be rolled by age without anybody producing.
func TestRunRollsByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := topic(1, here)
		c.Configs = map[string]string{"segment.ms": "60000", "segment.jitter.ms": "0"}
		w.do(c)
		w.produce(id(1, 0))
		segments := func() int { return len(w.set.Get(id(1, 0)).Log().Local().Segments()) }
		before := segments()
		time.Sleep(62 * time.Second)
		synctest.Wait()
		if got := segments(); got != before+1 {
			t.Errorf("%d segments, want %d", got, before+1)
		}
	})
}
