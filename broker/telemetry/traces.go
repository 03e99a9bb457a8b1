package telemetry

import (
	"context"
	"encoding/hex"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/qanat-io/qanat/wire"
)

// Why a trace is kept, or is not although it would be worth it.
const (
	traceFailed = iota
	traceSlow
	traceSampled
	traceLeftOut
	traceFates
)

var traceFateNames = [traceFates]string{"failed", "slow", "sampled", "left_out"}

// keptMost is how many slow and failed requests are kept in a second: when everything is slow, or a client fails in a loop, the
// first of them tell what the others would, and making spans for all would make it worse.
const keptMost = 100

// traces decides which requests are kept, when they have been answered, and makes their spans then.
type traces struct {
	tracer trace.Tracer // nil: nothing is traced
	slow   time.Duration
	every  uint64 // one of so many is kept in any case; 0: none
	// drawn tells whether it is one of so many: by the nanosecond at which it was answered, as a counter would be written by all
	// processors for each request.
	drawn func(every uint64, at int64) bool

	kept  atomic.Uint64 // seconds since the start, and below it how many slow and failed ones were kept in that second
	start time.Time
	fates [traceFates]atomic.Int64
}

func (t *traces) init(tracer trace.Tracer, cfg Config) {
	t.tracer, t.slow, t.start = tracer, cfg.TraceSlow, time.Now()
	t.drawn = drawn
	if cfg.TraceShare > 0 {
		t.every = uint64(max(1, math.Round(1/cfg.TraceShare)))
	}
}

// drawn scatters the time, whatever steps its clock goes in, and takes one part of so many.
func drawn(every uint64, at int64) bool {
	const golden = 0x9e3779b97f4a7c15 // 2^64 by the golden ratio: Knuth's multiplicative hashing, twice
	h := uint64(at) * golden
	part, _ := bits.Mul64((h^h>>32)*golden, every)
	return part == 0
}

// Tracing tells whether requests are traced.
func (t *traces) Tracing() bool { return t.tracer != nil }

// RequestTrace is a request that has been answered.
type RequestTrace struct {
	Key, Version      int16
	Client            *wire.Client
	ClientID          string
	Request, Response int // bytes
	Took              time.Duration
	Closed            bool // in place of an answer
	*wire.Trace
}

// fate decides what becomes of a request's trace; false: nothing, as of most.
func (t *traces) fate(r *RequestTrace) (why int, ok bool) {
	sampled := t.every > 0 && t.drawn(t.every, r.Start.UnixNano()+int64(r.Took))
	switch {
	case r.Closed || r.Error != 0:
		why = traceFailed
	case t.slow > 0 && r.Took-r.Waited >= t.slow && !waitsByDesign(r.Key):
		why = traceSlow
	case sampled:
		t.fates[traceSampled].Add(1)
		return traceSampled, true
	default:
		return 0, false
	}
	if !t.admit() && !sampled {
		t.fates[traceLeftOut].Add(1)
		return 0, false
	}
	t.fates[why].Add(1)
	return why, true
}

// waitsByDesign tells whether the answer waits for others to come: members of a group.
func waitsByDesign(key int16) bool {
	return key == int16(kmsg.JoinGroup) || key == int16(kmsg.SyncGroup)
}

// admit counts one that is kept, unless there were too many in this second.
func (t *traces) admit() bool {
	second := uint64(time.Since(t.start)/time.Second) << 32
	for {
		was := t.kept.Load()
		now := was + 1
		if was>>32 != second>>32 {
			now = second + 1
		}
		if now&(1<<32-1) > keptMost {
			return false
		}
		if t.kept.CompareAndSwap(was, now) {
			return true
		}
	}
}

// spans makes the request's spans, all of whose times are known.
//
//	Produce ├─ append ─┼─ flush ─┼─ replicate ─┼─ ack ─┤
//	Fetch   ├─ cache ─┼─ wait ─┼─ bucket ─┼─ send ─┤
//	                        GET ├────────┤ (may have begun ahead of time)
func (t *traces) spans(r *RequestTrace, why int) trace.SpanContext {
	end := r.Start.Add(r.Took)
	options := []trace.SpanStartOption{
		trace.WithTimestamp(r.Start), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(r.attributes(why)...),
	}
	if link, ok := r.link(); ok {
		options = append(options, trace.WithLinks(link))
	}
	ctx, root := t.tracer.Start(context.Background(), apiName(apiSlot(r.Key)), options...)
	switch {
	case r.Closed:
		root.SetStatus(codes.Error, "the connection was closed in place of an answer")
	case r.Error != 0:
		root.SetStatus(codes.Error, errorName(r.Error))
	}
	switch kmsg.Key(r.Key) {
	case kmsg.Produce:
		t.produceSpans(ctx, r, end)
	case kmsg.Fetch:
		t.fetchSpans(ctx, r, end)
	}
	root.End(trace.WithTimestamp(end))
	return root.SpanContext()
}

func (r *RequestTrace) attributes(why int) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.operation.name", apiName(apiSlot(r.Key))),
		attribute.String("messaging.client.id", strings.ToValidUTF8(r.ClientID, "?")),
		attribute.Int("kafka.api.version", int(r.Version)),
		attribute.Int("kafka.request.size", r.Request),
		attribute.Int("kafka.response.size", r.Response),
		attribute.String("qanat.kept", traceFateNames[why]),
	}
	if r.Client != nil {
		list = append(list, attribute.String("network.peer.address", r.Client.Addr.String()), attribute.String("qanat.listener", r.Client.Listener))
	}
	if r.Topic != "" {
		list = append(list, attribute.String("messaging.destination.name", r.Topic))
	}
	if r.Partitions > 0 {
		list = append(list, attribute.Int("kafka.partitions", r.Partitions))
	}
	if r.Error != 0 {
		list = append(list, attribute.String("error.type", errorName(r.Error)))
	}
	return list
}

func errorName(code int16) string {
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return strconv.Itoa(int(code))
}

// link is the trace that the first record of a produce belongs to, as its producer says.
func (r *RequestTrace) link() (trace.Link, bool) {
	p := string(r.Parent[:])
	if !r.Linked || p[:3] != "00-" || p[35] != '-' || p[52] != '-' {
		return trace.Link{}, false
	}
	var c trace.SpanContextConfig
	id, err := trace.TraceIDFromHex(p[3:35])
	if err != nil {
		return trace.Link{}, false
	}
	c.TraceID, c.Remote = id, true
	if c.SpanID, err = trace.SpanIDFromHex(p[36:52]); err != nil {
		return trace.Link{}, false
	}
	flags, err := hex.DecodeString(p[53:])
	if err != nil {
		return trace.Link{}, false
	}
	c.TraceFlags = trace.TraceFlags(flags[0])
	return trace.Link{SpanContext: trace.NewSpanContext(c)}, true
}

// stage makes a child span from one point in time to another; none where nothing has happened between them.
func (t *traces) stage(ctx context.Context, name string, from, to time.Time, attributes ...attribute.KeyValue) (context.Context, bool) {
	if !to.After(from) {
		return ctx, false
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
	s.End(trace.WithTimestamp(to))
	return ctx, true
}

func (t *traces) produceSpans(ctx context.Context, r *RequestTrace, end time.Time) {
	at := r.Start
	to := func(name string, d time.Duration) {
		if next := r.Start.Add(d); d > 0 && next.After(at) {
			t.stage(ctx, name, at, next)
			at = next
		}
	}
	to("append", r.Appended)
	to("flush", r.Flushed)
	if r.Flushed > 0 {
		to("replicate", r.Answered)
	} else {
		at = r.Start.Add(max(r.Answered, r.Appended))
	}
	t.stage(ctx, "ack", at, end)
}

func (t *traces) fetchSpans(ctx context.Context, r *RequestTrace, end time.Time) {
	read := r.Start.Add(r.Read)
	t.stage(ctx, "cache", r.Start, read, attribute.Bool("qanat.hit", r.Loading == 0), attribute.Int("qanat.bytes", r.Bytes))
	if r.Waited > 0 {
		t.stage(ctx, "wait", read, read.Add(r.Waited))
	}
	if r.Loading > 0 {
		from := r.Start.Add(r.LoadFrom)
		in, _ := t.stage(ctx, "bucket", from, from.Add(r.Loading), attribute.Int("qanat.bytes", r.ColdBytes))
		for _, d := range r.Downloads {
			t.stage(in, "GET", d.Began, d.Began.Add(d.Took), attribute.String("aws.s3.key", d.Key),
				attribute.Int64("qanat.range.from", d.From), attribute.Int64("qanat.range.size", d.Bytes), attribute.Int("qanat.attempts", d.Attempts+1))
		}
	}
	t.stage(ctx, "send", r.Start.Add(r.Answered), end)
}

// Traced decides whether a request that has been answered is kept, makes its spans then, and has the request's histogram name it.
func (t *Telemetry) Traced(r RequestTrace) {
	why, ok := t.traces.fate(&r)
	if !ok {
		return
	}
	// The wall clock may have been set since the server looked at it; how long ago it was is right.
	now := time.Now()
	r.Start = now.Add(-now.Sub(r.Start))
	c := t.traces.spans(&r, why)
	id, span := c.TraceID(), c.SpanID()
	t.requests.list[apiSlot(r.Key)].exemplify(int64(r.Took), exemplar{trace: id, span: span, value: r.Took.Seconds(), at: r.Start.Add(r.Took)})
}
