package partition

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// model is what a partition should hold: batches in order, and what each producer's last ones were.
type model struct {
	end       kafka.Offset
	batches   []modelBatch
	producers map[kafka.ProducerID]*modelProducer
}

type modelBatch struct {
	base     kafka.Offset
	n        int
	producer kafka.ProducerID
	sequence int32
}

type modelProducer struct {
	epoch kafka.ProducerEpoch
	next  int32
	last  []modelBatch // of the epoch, five at most
}

// produce says what the partition must answer.
func (m *model) produce(id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32, n int) (kafka.Offset, error) {
	if id >= 0 {
		p := m.producers[id]
		switch {
		case p == nil:
			p = &modelProducer{epoch: epoch, next: sequence}
		case epoch < p.epoch:
			return -1, ErrProducerFenced
		case epoch > p.epoch:
			if sequence != 0 {
				return -1, ErrOutOfOrderSequence
			}
			p = &modelProducer{epoch: epoch}
		}
		for _, b := range p.last {
			if b.sequence == sequence && b.n == n {
				return b.base, nil
			}
		}
		if sequence != p.next {
			return -1, ErrOutOfOrderSequence
		}
		p.next += int32(n)
		p.last = append(p.last, modelBatch{m.end, n, id, sequence})
		p.last = p.last[max(0, len(p.last)-5):]
		m.producers[id] = p
	}
	base := m.end
	m.batches = append(m.batches, modelBatch{base, n, id, sequence})
	m.end += kafka.Offset(n)
	return base, nil
}

// Some order of produces, retries, rolls, archiving, leaderships, restarts and power cuts would answer, or leave in the log,
// something else than a list of batches and five remembered ones per producer.
func TestProducesAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A deadline of real time must not be asked for within a bubble: the interface hides it.
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			w := newWorld(rt, func(c *config.Topic) {
				c.SegmentBytes = rapid.SampledFrom([]int64{1, 700, 3000, 1 << 20}).Draw(rt, "segment bytes")
				c.RemoteStorage = rapid.Bool().Draw(rt, "remote")
				c.LocalRetentionBytes = rapid.SampledFrom([]int64{-1, 0, 2000}).Draw(rt, "local")
				if !c.RemoteStorage {
					c.LocalRetentionBytes = -1
				}
			})
			defer func() { w.close() }()
			m := &model{producers: map[kafka.ProducerID]*modelProducer{}}
			rt.Repeat(map[string]func(*rapid.T){
				"plain":      func(rt *rapid.T) { w.step(rt, m, -1, 0, -1) },
				"idempotent": func(rt *rapid.T) { w.idempotent(rt, m) },
				"again":      func(rt *rapid.T) { w.idempotent(rt, m) },
				"roll": func(rt *rapid.T) {
					if err := w.p.Log().Local().Roll(); err != nil {
						rt.Fatal(err)
					}
					w.archive.Poke(w.p.ID())
					synctest.Wait()
				},
				"lead": func(rt *rapid.T) {
					w.mu.Lock()
					w.epoch++
					w.mu.Unlock()
					w.lead(w.epoch)
				},
				"reopen": func(rt *rapid.T) { w.reopen() },
				"power cut": func(rt *rapid.T) {
					after := w.disk.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose})
					w.close()
					w.disk, w.fs = after, vfs.NewFaulty(after)
					w.open()
				},
				"": func(rt *rapid.T) { w.compare(rt, m) },
			})
		})
	})
}

func (w *world) idempotent(rt *rapid.T, m *model) {
	id := kafka.ProducerID(rapid.IntRange(0, 2).Draw(rt, "producer"))
	epoch, sequence := kafka.ProducerEpoch(0), int32(0)
	if p := m.producers[id]; p != nil {
		epoch = max(0, p.epoch+kafka.ProducerEpoch(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, -1}).Draw(rt, "epoch")))
		sequence = max(0, p.next-int32(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 4, 6, -1}).Draw(rt, "back")))
		if epoch > p.epoch && rapid.Bool().Draw(rt, "from zero") {
			sequence = 0
		}
	}
	w.step(rt, m, id, epoch, sequence)
}

func (w *world) step(rt *rapid.T, m *model, id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32) {
	n := rapid.IntRange(1, 2).Draw(rt, "records")
	b := plain(n)
	if id >= 0 {
		b = from(id, epoch, sequence, n)
	}
	base, want := m.produce(id, epoch, sequence, n)
	r := w.produce(b, Acks(rapid.SampledFrom([]int{-1, 1}).Draw(rt, "acks")))
	if r.Base != base || !errors.Is(r.Err, want) || (r.Err == nil) != (want == nil) {
		rt.Fatalf("producer %d epoch %d sequence %d, %d records: %d, %v; want %d, %v", id, epoch, sequence, n, r.Base, r.Err, base, want)
	}
}

func (w *world) compare(rt *rapid.T, m *model) {
	if w.p.LocalEnd() != m.end || w.p.HighWatermark() != m.end {
		rt.Fatalf("end %d, high watermark %d, want %d", w.p.LocalEnd(), w.p.HighWatermark(), m.end)
	}
	var got []modelBatch
	for _, v := range w.read(0) {
		got = append(got, modelBatch{v.BaseOffset(), int(v.RecordCount()), v.ProducerID(), v.BaseSequence()})
	}
	if fmt.Sprint(got) != fmt.Sprint(m.batches) {
		rt.Fatalf("the log holds %v, want %v", got, m.batches)
	}
}

type discard struct{ done chan struct{} }

func (d discard) Produced(_ int, r Produced) {
	if r.Err != nil {
		panic(r.Err)
	}
	d.done <- struct{}{}
}

// benchmark appends batches of about the given size; flushes go on beside it.
func benchmark(b *testing.B, size int) {
	w := emptyWorld(b, func(c *config.Topic) { c.SegmentBytes, c.MaxMessageBytes = 1<<30, 4<<20 })
	w.dir, w.fs = b.TempDir(), vfs.NewFaulty(vfs.OS{}) // a journal in memory would grow for ever
	w.open()
	defer w.close()
	var builder batch.Builder
	builder.Add(time.Now().UnixMilli(), nil, make([]byte, size))
	records, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	d := discard{make(chan struct{}, 1)}
	b.SetBytes(int64(len(records)))
	b.ReportAllocs()
	for b.Loop() {
		w.p.Produce(records, nil, 1, time.Minute, d, 0)
		<-d.done
	}
}

func BenchmarkProduce1KiB(b *testing.B) { benchmark(b, 1<<10) }
func BenchmarkProduce1MB(b *testing.B)  { benchmark(b, 1e6) }
