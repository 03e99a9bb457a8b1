package partition

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// of is a transactional batch.
func of(id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32, n int) []byte {
	return build(n, func(b *batch.Builder) {
		b.Idempotent, b.Transactional, b.ProducerID, b.ProducerEpoch, b.BaseSequence = true, true, id, epoch, sequence
	})
}

var verified = Transaction{Verify: func() error { return nil }, FromZero: true}

// within waits for the answer to a batch of a transaction.
func (w *world) within(t Transaction, records []byte) Produced {
	w.t.Helper()
	o := make(once)
	go w.p.ProduceWithin(t, records, nil, -1, time.Minute, o, 0)
	r := <-o
	synctest.Wait()
	return r
}

// mark waits for the answer to a marker.
func (w *world) mark(e End) Produced {
	w.t.Helper()
	o := make(once)
	go w.p.AppendMarker(e, time.Minute, o, 0)
	r := <-o
	synctest.Wait()
	return r
}

func ended(id kafka.ProducerID, epoch kafka.ProducerEpoch, commit bool) End {
	return End{Producer: id, Epoch: epoch, Marker: batch.Marker{Commit: commit, Coordinator: 1}}
}

// committed reads as a read_committed client does, and returns the base offsets of the batches that it shows.
func committed(t tb, p *Partition, from kafka.Offset) (shown []kafka.Offset, upTo kafka.Offset) {
	t.Helper()
	for {
		ready := make(chan struct{})
		res, err := p.Read(ReadRequest{From: from, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 700, Committed: true, Stream: p, Ready: func() { close(ready) }})
		if err != nil {
			t.Fatalf("read at %d: %v", from, err)
		}
		if res.Loading {
			<-ready
			continue
		}
		if res.Run.Len() == 0 {
			return shown, from
		}
		if !slices.IsSortedFunc(res.Aborted, func(a, b AbortedTxn) int { return int(a.First - b.First) }) {
			t.Fatalf("aborted transactions are not in order: %v", res.Aborted)
		}
		list, aborted := res.Aborted, map[kafka.ProducerID]bool{}
		for rest := bytesOf(t, res.Run); len(rest) > 0; {
			v, next, err := batch.Next(rest)
			if err != nil {
				break
			}
			for len(list) > 0 && list[0].First <= v.LastOffset() {
				aborted[list[0].Producer] = true
				list = list[1:]
			}
			switch a := v.Attributes(); {
			case a.Control():
				delete(aborted, v.ProducerID())
			case !a.Transactional() || !aborted[v.ProducerID()]:
				shown = append(shown, v.BaseOffset())
			}
			from, rest = v.NextOffset(), next
		}
	}
}

// txnModel is what a log with transactions must show.
type txnModel struct {
	end     kafka.Offset
	started map[kafka.ProducerID]kafka.Offset   // open transactions
	pending map[kafka.ProducerID][]kafka.Offset // their batches
	shown   []kafka.Offset
	epochs  map[kafka.ProducerID]kafka.ProducerEpoch
	next    map[kafka.ProducerID]int32
}

func (m *txnModel) lastStable() kafka.Offset {
	at := m.end
	for _, first := range m.started {
		at = min(at, first)
	}
	return at
}

// A read_committed consumer would see what is undecided or was aborted, or miss what was committed: whatever the order of
// transactions, however segments roll, when the broker restarts or loses power, and when part of the log is in the bucket only.
func TestReadCommittedAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			w := newWorld(rt, func(c *config.Topic) {
				c.SegmentBytes = rapid.SampledFrom([]int64{1, 400, 1500, 1 << 20}).Draw(rt, "segment bytes")
				c.RemoteStorage = rapid.Bool().Draw(rt, "remote")
				c.LocalRetentionBytes = rapid.SampledFrom([]int64{-1, 0, 1000}).Draw(rt, "local")
				if !c.RemoteStorage {
					c.LocalRetentionBytes = -1
				}
			})
			defer func() { w.close() }()
			m := &txnModel{
				started: map[kafka.ProducerID]kafka.Offset{}, pending: map[kafka.ProducerID][]kafka.Offset{},
				epochs: map[kafka.ProducerID]kafka.ProducerEpoch{}, next: map[kafka.ProducerID]int32{},
			}
			producer := rapid.Map(rapid.IntRange(1, 3), func(n int) kafka.ProducerID { return kafka.ProducerID(n) })
			write := func(rt *rapid.T) { m.write(rt, w, producer.Draw(rt, "producer")) }
			mark := func(rt *rapid.T) { m.mark(rt, w, producer.Draw(rt, "producer"), rapid.Bool().Draw(rt, "commit")) }
			rt.Repeat(map[string]func(*rapid.T){
				"write": write, "write more": write, "mark": mark, "mark more": mark,
				"plain": func(rt *rapid.T) {
					w.must(plain(1), m.end)
					m.shown = append(m.shown, m.end)
					m.end++
				},
				"roll": func(rt *rapid.T) {
					if err := w.p.Log().Local().Roll(); err != nil {
						rt.Fatal(err)
					}
					w.archive.Poke(w.p.ID())
					synctest.Wait()
				},
				"tick": func(rt *rapid.T) {
					if err := w.p.Tick(time.Now()); err != nil {
						rt.Fatal(err)
					}
				},
				"reopen": func(rt *rapid.T) { w.reopen(); synctest.Wait() },
				"power cut": func(rt *rapid.T) {
					after := w.disk.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose})
					w.close()
					w.disk, w.fs = after, vfs.NewFaulty(after)
					w.open()
					synctest.Wait()
				},
				"": func(rt *rapid.T) { m.compare(rt, w) },
			})
		})
	})
}

func (m *txnModel) write(rt *rapid.T, w *world, id kafka.ProducerID) {
	if r := w.within(verified, of(id, m.epochs[id], m.next[id], 1)); r.Err != nil || r.Base != m.end {
		rt.Fatalf("transactional batch: %+v, want offset %d", r, m.end)
	}
	if _, open := m.started[id]; !open {
		m.started[id] = m.end
	}
	m.pending[id] = append(m.pending[id], m.end)
	m.next[id]++
	m.end++
}

func (m *txnModel) mark(rt *rapid.T, w *world, id kafka.ProducerID, commit bool) {
	m.epochs[id]++
	m.next[id] = 0
	if r := w.mark(ended(id, m.epochs[id], commit)); r.Err != nil || r.Base != m.end {
		rt.Fatalf("marker: %+v, want offset %d", r, m.end)
	}
	if commit {
		m.shown = append(m.shown, m.pending[id]...)
	}
	delete(m.started, id)
	delete(m.pending, id)
	m.end++
}

func (m *txnModel) compare(rt *rapid.T, w *world) {
	stable := m.lastStable()
	if got := w.p.LastStable(); got != stable {
		rt.Fatalf("last stable offset %d, want %d", got, stable)
	}
	var want []kafka.Offset
	for _, o := range m.shown {
		if o < stable {
			want = append(want, o)
		}
	}
	slices.Sort(want)
	if got, upTo := committed(rt, w.p, w.p.LogStart()); !slices.Equal(got, want) || upTo != stable {
		rt.Fatalf("read %v up to %d, want %v up to %d", got, upTo, want, stable)
	}
}

// A marker of an older epoch, or of a coordinator that was replaced, would end a transaction that it does not know of; a batch
// would get into a transaction that nobody has begun, or past its end.
func TestTransactionsAreFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		gone := errors.New("not under way")
		if r := w.within(Transaction{Verify: func() error { return gone }}, of(1, 0, 0, 1)); !errors.Is(r.Err, gone) {
			t.Errorf("not verified: %+v", r)
		}
		if r := w.produce(of(1, 0, 0, 1), -1); !errors.Is(r.Err, ErrTransactional) {
			t.Errorf("without a transaction: %+v", r)
		}
		if r := w.within(verified, of(1, 0, 1, 1)); !errors.Is(r.Err, ErrOutOfOrderSequence) {
			t.Errorf("the second batch before the first: %+v", r)
		}
		if r := w.within(verified, of(1, 0, 0, 1)); r.Err != nil {
			t.Fatal(r.Err)
		}
		if r := w.within(Transaction{Verify: func() error { return gone }}, of(1, 0, 1, 1)); r.Err != nil {
			t.Errorf("the open transaction's second batch is asked about: %+v", r)
		}
		if r := w.produce(from(1, 0, 2, 1), -1); !errors.Is(r.Err, ErrInTransaction) {
			t.Errorf("beside its open transaction: %+v", r)
		}
		if !w.p.Enlists(of(1, 1, 0, 1)) || w.p.Enlists(of(1, 0, 1, 1)) {
			t.Error("the next transaction's first batch is taken for one of the transaction whose marker is still to come, or the reverse")
		}
		e := ended(1, 1, true)
		e.Verify = func() error { return gone }
		if r := w.mark(e); !errors.Is(r.Err, gone) || w.p.LastStable() != 0 {
			t.Errorf("marker that is not to be written any more: %+v", r)
		}
		e = ended(1, 1, false)
		e.Coordinator = 5
		if r := w.mark(e); r.Err != nil {
			t.Fatal(r.Err)
		}
		if r := w.mark(ended(1, 0, true)); !errors.Is(r.Err, ErrProducerFenced) {
			t.Errorf("marker of an older epoch: %+v", r)
		}
		if r := w.mark(ended(1, 1, true)); !errors.Is(r.Err, ErrCoordinatorFenced) {
			t.Errorf("marker of an older coordinator: %+v", r)
		}
		if r := w.within(verified, of(1, 0, 2, 1)); !errors.Is(r.Err, ErrProducerFenced) {
			t.Errorf("a late batch of the transaction before: %+v", r)
		}
	})
}

// An open transaction would be forgotten with idle producers, and its records shown to nobody for ever.
func TestOpenTransactionsOutliveExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.within(verified, of(1, 0, 0, 1))
		w.produce(from(2, 0, 0, 1), -1)
		time.Sleep(49 * time.Hour)
		if err := w.p.Tick(time.Now()); err != nil {
			t.Fatal(err)
		}
		if list := w.p.Producers(); len(list) != 1 || list[0].ID != 1 || list[0].TxnStart != 0 {
			t.Errorf("producers after expiry: %+v", list)
		}
		if r := w.mark(ended(1, 1, true)); r.Err != nil || w.p.LastStable() != 3 {
			t.Errorf("marker: %+v, last stable %d", r, w.p.LastStable())
		}
	})
}

// A follower whose marker is cut off would go on to show the transaction as decided; one that takes over would not know what was
// open, or aborted.
func TestFollowersKnowTransactions(t *testing.T) {
	c := trio(t, nil)
	c.hear()
	lead := c.node(1)
	o := &answers{}
	put := func(n *node, records []byte) {
		n.p.ProduceWithin(verified, records, nil, 1, time.Minute, o, 0)
	}
	put(lead, of(1, 0, 0, 1)) // 0: to be aborted
	put(lead, of(2, 0, 0, 1)) // 1: to stay open
	lead.p.AppendMarker(ended(1, 1, false), time.Minute, o, 1)
	lead.flush()
	c.round(2, 3)
	c.round(2, 3)
	c.round(2, 3)
	if hw, lso := c.node(2).p.HighWatermark(), c.node(2).p.LastStable(); hw != 3 || lso != 1 {
		t.Fatalf("follower: high watermark %d, last stable %d; want 3, 1", hw, lso)
	}
	// A marker that only the leader and one follower have.
	lead.p.AppendMarker(ended(2, 1, true), time.Minute, o, 2)
	lead.flush()
	c.round(2)
	if lso := c.node(2).p.LastStable(); lso != 1 {
		t.Errorf("a marker above the high watermark decides: last stable %d", lso)
	}
	c.elect(3, 1)
	c.hear()
	if lso := c.node(3).p.LastStable(); lso > 1 {
		t.Errorf("the new leader shows what is undecided: last stable %d", lso)
	}
	c.round(2)
	c.round(2)
	c.round(2)
	if end := c.node(2).p.LocalEnd(); end != 3 {
		t.Fatalf("follower ends at %d, not cut", end)
	}
	for _, id := range []kafka.BrokerID{2, 3} {
		p := c.node(id).p
		open := slices.IndexFunc(p.Producers(), func(i ProducerInfo) bool { return i.ID == 2 && i.TxnStart == 1 })
		if open < 0 || p.LastStable() != 1 {
			t.Errorf("broker %d: %+v, last stable %d", id, p.Producers(), p.LastStable())
		}
	}
	c.node(3).p.AppendMarker(ended(2, 1, false), time.Minute, o, 3)
	c.node(3).flush()
	c.round(2)
	c.round(2)
	if shown, upTo := committed(t, c.node(3).p, 0); len(shown) != 0 || upTo != 4 {
		t.Errorf("read %v up to %d, all of it aborted", shown, upTo)
	}
}
