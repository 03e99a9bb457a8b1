package statelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// cluster is a quorum without Raft, followed by any number of brokers.
type cluster struct {
	t     testing.TB
	index uint64
	now   int64

	mu       sync.Mutex
	image    *image.Image
	watchers []*quorum.Watcher
	calls    int // of watchers
}

func newCluster(t testing.TB) *cluster { return &cluster{t: t, image: image.Empty(), now: 1000} }

func (c *cluster) Image() *image.Image {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.image
}

func (c *cluster) Watch(f quorum.Watcher) (*image.Image, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, &f)
	return c.image, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers = slices.DeleteFunc(c.watchers, func(g *quorum.Watcher) bool { return g == &f })
	}
}

// entry applies commands as one entry.
func (c *cluster) entry(commands ...command.Command) {
	c.t.Helper()
	c.now++
	c.index++
	tx := image.Begin(c.Image())
	tx.Trace()
	for _, cmd := range commands {
		if _, err := tx.Apply(c.index, command.Envelope{TimeMs: c.now}, cmd); err != nil {
			c.t.Fatalf("%T: %v", cmd, err)
		}
	}
	m, _ := tx.Commit()
	c.mu.Lock()
	c.image = m
	watchers := slices.Clone(c.watchers)
	c.calls += len(watchers)
	c.mu.Unlock()
	for _, w := range watchers {
		(*w)(m, tx.Touches(), false)
	}
}

// restore has the image come as a snapshot.
func (c *cluster) restore() {
	var b bytes.Buffer
	if err := c.Image().Encode(&b); err != nil {
		c.t.Fatal(err)
	}
	m, err := image.Decode(&b)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.image = m
	watchers := slices.Clone(c.watchers)
	c.mu.Unlock()
	for _, w := range watchers {
		(*w)(m, nil, true)
	}
}

// on has a broker serve every partition.
func (c *cluster) on(node kafka.BrokerID) {
	var shards []command.ShardPlacement
	for i := range int32(image.CoordinatorShards) {
		shards = append(shards, command.ShardPlacement{Shard: i, Broker: node, Expected: c.Image().Coordinator(i).Epoch})
	}
	c.entry(command.PlaceCoordinators{Shards: shards})
}

func (c *cluster) topic(name string, partitions int) kafka.TopicID {
	id := kafka.NewTopicID()
	c.entry(command.CreateTopic{ID: id, Name: name, Partitions: slices.Repeat([][]kafka.BrokerID{{1}}, partitions)})
	return id
}

func commit(name string, topic kafka.TopicID, partition int32, offset kafka.Offset) command.CommitOffsets {
	return command.CommitOffsets{Group: name, Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: topic, Index: partition}, Offset: offset, LeaderEpoch: 3, Metadata: "m"}}}
}

// told is a record as a reader sees it.
type told struct {
	offset     int64
	timestamp  int64
	key, value []byte
}

// read reads what there is from an offset on; next is where to go on.
func read(t testing.TB, p *Partition, from kafka.Offset, maxBytes int) (got []told, next kafka.Offset) {
	t.Helper()
	next = from
	for {
		r, err := p.Read(partition.ReadRequest{From: next, CurrentEpoch: -1, MaxBytes: maxBytes})
		if err != nil {
			t.Fatalf("read at %d: %v", next, err)
		}
		if r.Run.Len() == 0 {
			return got, next
		}
		v := batch.View(r.Run.Bytes)
		if _, err := batch.Check(v); err != nil {
			t.Fatalf("read at %d: %v", next, err)
		}
		it := batch.Records(v)
		for rec := range it.All {
			got = append(got, told{int64(rec.Offset), rec.Timestamp, bytes.Clone(rec.Key), bytes.Clone(rec.Value)})
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
		if v.NextOffset() <= next {
			t.Fatalf("a batch at %d ends at %d", next, v.NextOffset())
		}
		next = v.NextOffset()
	}
}

// A lag exporter that reads from the beginning would not find what groups have committed, or not what they commit from then on.
func TestOffsets(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	topic := c.topic("orders", 4)
	c.entry(commit("g", topic, 0, 10), commit("g", topic, 1, 20), commit("other", topic, 1, 7))
	l := New(1, c)
	p := l.Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})

	got, next := read(t, p, 0, 1<<20)
	if len(got) != 2 {
		t.Fatalf("%d records of two", len(got))
	}
	var k kmsg.OffsetCommitKey
	var v kmsg.OffsetCommitValue
	if err := errors.Join(k.ReadFrom(got[1].key), v.ReadFrom(got[1].value)); err != nil {
		t.Fatal(err)
	}
	if k != (kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "orders", Partition: 1}) {
		t.Errorf("%+v", k)
	}
	if v.Version != 3 || v.Offset != 20 || v.LeaderEpoch != 3 || v.Metadata != "m" || v.CommitTimestamp != c.now || got[1].timestamp != c.now {
		t.Errorf("%+v at %d", v, got[1].timestamp)
	}
	if next != p.HighWatermark() || next != kafka.Offset(c.index)*perEntry || p.LogStart() != next-2 {
		t.Errorf("read to %d of [%d, %d) at entry %d", next, p.LogStart(), p.HighWatermark(), c.index)
	}

	heard := make(chan struct{}, 8)
	defer p.Subscribe(listener(heard))()
	c.entry(commit("g", topic, 0, 11))
	<-heard
	c.entry(command.DeleteOffsets{Group: "g", Partitions: []kafka.Partition{{Topic: topic, Index: 1}}})
	<-heard
	got, next = read(t, p, next, 1<<20)
	if len(got) != 2 || got[0].offset != int64(c.index-1)*perEntry || got[1].value != nil || next != p.HighWatermark() {
		t.Errorf("%+v to %d of %d", got, next, p.HighWatermark())
	}
	if got, _ := read(t, p, 0, 1<<20); len(got) != 2 {
		t.Errorf("from the beginning: %d records, of a commit and a tombstone", len(got))
	}
}

type listener chan struct{}

func (l listener) Advanced(*partition.Partition) { l <- struct{}{} }

// A tool that shows groups would not see who is in them, or not that one is gone.
func TestGroups(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	limits := group.DefaultLimits()
	g := group.New(&limits, time.UnixMilli(1))
	var out group.Effects
	g.Join(time.UnixMilli(2), group.JoinRequest{
		NewMemberID: "m-1", ClientID: "client", ClientHost: "/1.2.3.4", Session: 10 * time.Second, Rebalance: time.Minute, Type: "consumer",
		Protocols: []group.Protocol{{Name: "range", Metadata: []byte("subscribed")}},
	}, "join", &out)
	g.Advance(time.UnixMilli(2).Add(4*time.Second), &out)
	if len(out.Joins) == 0 {
		t.Fatal("nobody has joined")
	}
	g.Sync(time.UnixMilli(4005), group.SyncRequest{MemberID: "m-1", Generation: out.Joins[0].Generation, Assignments: []group.Assignment{{MemberID: "m-1", Data: []byte("assigned")}}}, "sync", &out)
	if len(out.Persists) == 0 {
		t.Fatal("nothing is durable")
	}
	c.entry(command.PutGroup{Group: "g", Type: "classic", State: out.Persists[len(out.Persists)-1].State})

	p := New(1, c).Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})
	got, next := read(t, p, 0, 1<<20)
	if len(got) != 1 {
		t.Fatalf("%d records of one group", len(got))
	}
	var k kmsg.GroupMetadataKey
	var v kmsg.GroupMetadataValue
	if err := errors.Join(k.ReadFrom(got[0].key), v.ReadFrom(got[0].value)); err != nil {
		t.Fatal(err)
	}
	if k.Group != "g" || k.Version != 2 || v.Version != 2 || v.ProtocolType != "consumer" || v.Generation != 1 || *v.Protocol != "range" || *v.Leader != "m-1" || len(v.Members) != 1 {
		t.Fatalf("%+v %+v", k, v)
	}
	if m := v.Members[0]; m.MemberID != "m-1" || m.ClientID != "client" || m.ClientHost != "/1.2.3.4" || m.SessionTimeoutMillis != 10000 || m.RebalanceTimeoutMillis != 60000 ||
		string(m.Subscription) != "subscribed" || string(m.Assignment) != "assigned" {
		t.Errorf("%+v", m)
	}

	c.entry(command.DeleteGroup{Group: "g"})
	if got, _ = read(t, p, next, 1<<20); len(got) != 1 || got[0].value != nil || k.ReadFrom(got[0].key) != nil || k.Group != "g" {
		t.Errorf("the deletion: %+v", got)
	}
}

// A tool that looks for hanging transactions would not see their state.
func TestTransactions(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	topic := c.topic("orders", 4)
	put := func(state command.TxnState, revision uint64) {
		c.entry(command.PutTransaction{Transaction: command.Transaction{
			ID: "tx", Revision: revision, Producer: 7, Epoch: 2, LastProducer: kafka.NoProducer, LastEpoch: -1, Next: kafka.NoProducer, State: state, TimeoutMs: 60000,
			Partitions: []kafka.Partition{{Topic: topic, Index: 1}, {Topic: topic, Index: 3}}, StartedMs: 5, ChangedMs: 6,
		}})
	}
	put(command.TxnOngoing, 1)
	p := New(1, c).Get(kafka.Partition{Topic: Transactions.ID, Index: PartitionOf("tx")})
	got, next := read(t, p, 0, 1<<20)
	var k kmsg.TxnMetadataKey
	var v kmsg.TxnMetadataValue
	if len(got) != 1 || errors.Join(k.ReadFrom(got[0].key), v.ReadFrom(got[0].value)) != nil {
		t.Fatalf("%+v", got)
	}
	if k.TransactionalID != "tx" || v.ProducerID != 7 || v.ProducerEpoch != 2 || v.State != kmsg.TransactionStateOngoing || v.TimeoutMillis != 60000 || v.StartTimestamp != 5 ||
		v.LastUpdateTimestamp != 6 || len(v.Topics) != 1 || v.Topics[0].Topic != "orders" || !slices.Equal(v.Topics[0].Partitions, []int32{1, 3}) {
		t.Errorf("%+v %+v", k, v)
	}
	put(command.TxnPrepareCommit, 2)
	if got, _ = read(t, p, next, 1<<20); len(got) != 1 || v.ReadFrom(got[0].value) != nil || v.State != kmsg.TransactionStatePrepareCommit {
		t.Errorf("%+v", v)
	}
}

// A reader that is sent from broker to broker, of which each shows what it does since another time, would miss a change, or be sent back.
func TestReadersMoveBetweenBrokers(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			c := newCluster(t)
			topic := c.topic("orders", 8)
			brokers := []*Logs{New(1, c), New(2, c), New(3, c)}
			names := []string{"a", "b"} // of several partitions
			seen := map[string]string{}
			next := [Partitions]kafka.Offset{}
			at := 0
			for range 300 {
				switch rnd.IntN(12) {
				case 0:
					at = rnd.IntN(len(brokers))
				case 1:
					brokers[rnd.IntN(len(brokers))].each((*Partition).forget)
				case 2:
					if rnd.IntN(10) == 0 {
						c.restore()
					}
				case 3, 4, 5:
					c.on(brokers[at].node)
					for i := range int32(Partitions) {
						got, to := read(t, &brokers[at].offsets[i], next[i], 1+rnd.IntN(400))
						next[i] = to
						for _, r := range got {
							seen[string(r.key)] = string(r.value)
						}
					}
				default:
					var commands []command.Command
					for range 1 + rnd.IntN(5) {
						commands = append(commands, commit(names[rnd.IntN(len(names))], topic, rnd.Int32N(8), kafka.Offset(rnd.IntN(1000))))
					}
					c.entry(commands...)
				}
			}
			c.on(brokers[at].node)
			for i := range int32(Partitions) {
				got, _ := read(t, &brokers[at].offsets[i], next[i], 1<<20)
				for _, r := range got {
					seen[string(r.key)] = string(r.value)
				}
			}
			want := map[string]string{}
			for _, name := range names {
				c.Image().Offsets(name, func(o *image.Offset) bool {
					want[string(offsetKey(name, "orders", o.Partition.Index))] = string(offsetValue(o))
					return true
				})
			}
			if !maps.Equal(seen, want) {
				t.Errorf("a reader has seen %d keys, there are %d, or they differ", len(seen), len(want))
			}
		})
	}
}

// What is committed over and over while somebody reads would fill the memory.
func TestOutdatedRecordsGo(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	topic := c.topic("orders", 1)
	p := New(1, c).Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})
	p.HighWatermark()
	for i := range 3 * fewRecords {
		c.entry(commit("g", topic, 0, kafka.Offset(i)))
	}
	if len(p.records) > fewRecords {
		t.Errorf("%d records of one key", len(p.records))
	}
	for range 2 * maxTombstones {
		c.entry(commit("g", topic, 0, 1), command.DeleteGroup{Group: "g"})
	}
	if len(p.records) > 3*maxTombstones {
		t.Errorf("%d records of two keys that are gone", len(p.records))
	}
	if got, next := read(t, p, 0, 1000); next != p.HighWatermark() || got[len(got)-1].value != nil {
		t.Errorf("read to %d of %d", next, p.HighWatermark())
	}
}

func (p *Partition) now() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (c *cluster) watched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.watchers) > 0
}

// A cluster that nobody reads this of any more would go on paying for it.
func TestForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.on(1)
		topic := c.topic("orders", 1)
		l := New(1, c)
		p := l.Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})
		c.entry(commit("g", topic, 0, 1))
		if c.calls != 0 {
			t.Fatal("it watches before anybody has read")
		}
		_, next := read(t, p, 0, 1<<20)
		time.Sleep(idle - time.Second)
		read(t, p, next, 1<<20)
		time.Sleep(idle / 2)
		synctest.Wait()
		if p.now() != open {
			t.Error("forgotten while it was read")
		}
		time.Sleep(2 * idle)
		synctest.Wait()
		if p.now() != unread || c.watched() {
			t.Error("not forgotten")
		}
		c.entry(commit("g", topic, 0, 2))
		if got, _ := read(t, p, next, 1<<20); len(got) != 1 {
			t.Errorf("%d records since", len(got))
		}
		l.Close()
		if _, err := p.Read(partition.ReadRequest{From: 0, CurrentEpoch: -1, MaxBytes: 1}); !errors.Is(err, partition.ErrStorage) {
			t.Errorf("read of what is closed: %v", err)
		}
	})
}

// A partition that is opened again while the metadata stand still would end before where it has ended, and its readers be ahead of it.
func TestTheEndDoesNotGoBack(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	topic := c.topic("orders", 2)
	p := New(1, c).Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})
	p.HighWatermark()
	c.entry(commit("g", topic, 0, 1), commit("g", topic, 1, 1))
	_, next := read(t, p, 0, 1<<20)
	p.forget()
	if end := p.HighWatermark(); end != next {
		t.Errorf("it ends at %d, it has ended at %d", end, next)
	}
	c.entry(commit("g", topic, 1, 2))
	if got, _ := read(t, p, next, 1<<20); len(got) != 1 {
		t.Errorf("%d records since", len(got))
	}
	if got, _ := read(t, p, 0, 1<<20); len(got) != 2 {
		t.Errorf("%d records from the beginning", len(got))
	}
}

// Who is not the leader, or is asked beyond anything that there can be, would answer all the same.
func TestRefusals(t *testing.T) {
	c := newCluster(t)
	p := New(1, c).Get(kafka.Partition{Topic: Offsets.ID, Index: 4})
	if _, err := p.Read(partition.ReadRequest{CurrentEpoch: -1}); !errors.Is(err, partition.ErrNotLeader) {
		t.Errorf("nobody leads: %v", err)
	}
	c.on(1)
	c.on(2)
	c.on(1)
	for _, q := range []struct {
		r    partition.ReadRequest
		want error
	}{
		{partition.ReadRequest{CurrentEpoch: 3}, nil},
		{partition.ReadRequest{CurrentEpoch: 2}, partition.ErrFencedEpoch},
		{partition.ReadRequest{CurrentEpoch: 4}, partition.ErrUnknownEpoch},
		{partition.ReadRequest{CurrentEpoch: -1, From: -1}, partition.ErrOutOfRange},
		{partition.ReadRequest{CurrentEpoch: -1, From: p.HighWatermark() + 3*perEntry}, nil}, // another broker was faster
		{partition.ReadRequest{CurrentEpoch: -1, From: 1 << 60}, partition.ErrOutOfRange},
	} {
		if _, err := p.Read(q.r); !errors.Is(err, q.want) {
			t.Errorf("%+v: %v", q.r, err)
		}
	}
	for timestamp, want := range map[int64]kafka.Offset{-1: p.HighWatermark(), -2: p.LogStart(), -4: p.LogStart(), -3: -1, -5: -1, 0: -1} {
		if at, err := p.ListOffset(context.Background(), timestamp, false); err != nil || at.Offset != want {
			t.Errorf("offset of %d: %+v, %v", timestamp, at, err)
		}
	}
}

// A lookup by time would miss the record.
func TestByTime(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	topic := c.topic("orders", 3)
	for i := range int32(3) {
		c.now = int64(1000 * (i + 1))
		c.entry(commit("g", topic, i, 1))
	}
	p := New(1, c).Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})
	for timestamp, want := range map[int64]kafka.Offset{0: 0, 1001: 0, 1002: 1, 3001: 2, 3002: -1, -3: 2} {
		at, err := p.ListOffset(context.Background(), timestamp, false)
		if want >= 0 {
			want += p.LogStart()
		}
		if err != nil || at.Offset != want {
			t.Errorf("%d: %+v, %v; want %d", timestamp, at, err, want)
		}
	}
}

// Programs that work out a group's partition, as Kafka does, would look into another one.
func TestPartitionOf(t *testing.T) {
	for name, want := range map[string]int32{"": 0, "hello": 99162322 % 50, "polygenelubricants": 0, "group": 98629247 % 50, "é€😀": -1} {
		got := PartitionOf(name)
		if want < 0 { // by Java's definition
			hash := int32(0)
			for _, unit := range []uint16{0xe9, 0x20ac, 0xd83d, 0xde00} {
				hash = hash*31 + int32(unit)
			}
			want = max(hash, -hash) % 50
		}
		if got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}

// Records that are further apart than a batch can say would not be read, or would stop the reader.
func TestFarApart(t *testing.T) {
	c := newCluster(t)
	c.on(1)
	topic := c.topic("orders", 2)
	p := New(1, c).Get(kafka.Partition{Topic: Offsets.ID, Index: PartitionOf("g")})
	_, next := read(t, p, 0, 1<<20)
	c.entry(commit("g", topic, 0, 1))
	c.index += 1 << 20
	c.entry(commit("g", topic, 1, 2))
	c.index += 1 << 20
	c.entry(commit("g", topic, 1, 3))
	got, to := read(t, p, next, 1<<20)
	if len(got) != 2 || to != p.HighWatermark() || got[1].offset != int64(c.index)*perEntry {
		t.Errorf("%+v to %d of %d", got, to, p.HighWatermark())
	}
	if v := binary.BigEndian.Uint16(got[1].value); v != 3 {
		t.Errorf("version %d", v)
	}
}
