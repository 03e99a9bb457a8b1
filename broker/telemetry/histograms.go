package telemetry

import (
	"context"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
)

// distribution is a histogram that costs one or two atomic additions to
// record to: OpenTelemetry's own takes a lock and a look-up by attributes,
// which is a good part of a small request's whole cost. Values are whole
// numbers (nanoseconds, or counts); scale makes them the metric's unit.
//
// A collection beside recordings may see a value in its bucket and not in the
// sum yet; each is right a moment later.
type distribution struct {
	attributes attribute.Set
	bounds     []int64   // inclusive upper bounds
	from       [65]uint8 // by the length of a value in bits: the first bucket that may be its
	buckets    []atomic.Uint64
	sum        atomic.Int64
	exemplars  []atomic.Pointer[exemplar] // by bucket: the last request that was traced
}

// exemplar is a value and the trace that it is of.
type exemplar struct {
	trace trace.TraceID
	span  trace.SpanID
	value float64 // in the metric's unit
	at    time.Time
}

func newDistribution(bounds []float64, scale float64, set attribute.Set) *distribution {
	d := &distribution{attributes: set, buckets: make([]atomic.Uint64, len(bounds)+1), exemplars: make([]atomic.Pointer[exemplar], len(bounds)+1)}
	for _, b := range bounds {
		d.bounds = append(d.bounds, int64(math.Round(b*scale)))
	}
	for n := 1; n < len(d.from); n++ {
		i, _ := slices.BinarySearch(d.bounds, int64(min(uint64(1)<<(n-1), math.MaxInt64)))
		d.from[n] = uint8(i)
	}
	return d
}

func (d *distribution) record(v int64) {
	d.buckets[d.bucket(v)].Add(1)
	d.sum.Add(v)
}

// any tells whether anything was ever recorded.
func (d *distribution) any() bool {
	for i := range d.buckets {
		if d.buckets[i].Load() > 0 {
			return true
		}
	}
	return false
}

// exemplify names a trace for the bucket of v.
func (d *distribution) exemplify(v int64, e exemplar) { d.exemplars[d.bucket(v)].Store(&e) }

// bucket is the place of v: a step or two from where values of its length begin, which a processor foresees better than the turns of a binary search.
func (d *distribution) bucket(v int64) int {
	i := int(d.from[bits.Len64(uint64(max(v, 0)))])
	for i < len(d.bounds) && d.bounds[i] < v {
		i++
	}
	return i
}

// point is the state now; ok is false when nothing was ever recorded.
func (d *distribution) point(bounds []float64, scale float64, start, now time.Time) (p metricdata.HistogramDataPoint[float64], ok bool) {
	p = metricdata.HistogramDataPoint[float64]{
		Attributes: d.attributes, StartTime: start, Time: now, Bounds: bounds,
		BucketCounts: make([]uint64, len(d.buckets)), Sum: float64(d.sum.Load()) / scale,
	}
	for i := range d.buckets {
		p.BucketCounts[i] = d.buckets[i].Load()
		p.Count += p.BucketCounts[i]
		if e := d.exemplars[i].Load(); e != nil {
			p.Exemplars = append(p.Exemplars, metricdata.Exemplar[float64]{Time: e.at, Value: e.value, TraceID: e.trace[:], SpanID: e.span[:]})
		}
	}
	return p, p.Count > 0
}

// family is a histogram with its attribute sets.
type family struct {
	declaration Declaration
	scale       float64
	list        []*distribution
}

// newFamily makes one distribution for each set.
func newFamily(name string, sets ...attribute.Set) *family {
	f := &family{declaration: declared(name), scale: 1}
	if f.declaration.Unit == "s" {
		f.scale = float64(time.Second)
	}
	for _, s := range sets {
		f.list = append(f.list, newDistribution(f.declaration.Buckets, f.scale, s))
	}
	return f
}

// Produce implements the SDK's Producer: the histograms as they are now. They
// are cumulative, whatever temporality an exporter prefers.
func (r *recorder) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	s := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scopeName}}
	for _, f := range r.families {
		h := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
		for _, d := range f.list {
			if p, ok := d.point(f.declaration.Buckets, f.scale, r.start, now); ok {
				h.DataPoints = append(h.DataPoints, p)
			}
		}
		if len(h.DataPoints) > 0 {
			s.Metrics = append(s.Metrics, metricdata.Metrics{Name: f.declaration.Name, Description: f.declaration.Help, Unit: f.declaration.Unit, Data: h})
		}
	}
	return []metricdata.ScopeMetrics{s}, nil
}
