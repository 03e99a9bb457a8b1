package telemetry

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/qanat-io/qanat/broker/clientmetrics"
)

// forwarder pushes what clients tell of themselves (KIP-714) to where the broker's own metrics are pushed.
type forwarder struct {
	exporter sdk.Exporter // nil: nowhere
	queue    chan *metricdata.ResourceMetrics
	node     string

	forwarded, dropped atomic.Int64
}

// clientQueue bounds what waits to be pushed; what comes beyond is dropped, since whoever brings it must not wait.
const clientQueue = 256

// clientPush bounds one push.
const clientPush = 10 * time.Second

// openClients makes a way out of its own: the SDK's readers push what they collect, and nothing else. It is there when the broker's metrics are
// pushed over OTLP.
func (t *Telemetry) openClients(ctx context.Context, getenv func(string) string) error {
	if kind := getenv("OTEL_METRICS_EXPORTER"); !metricsSignal.wanted(getenv) || kind != "" && kind != "otlp" {
		return nil
	}
	protocol := getenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
	if protocol == "" {
		protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	var e sdk.Exporter
	var err error
	if protocol == "grpc" {
		e, err = otlpmetricgrpc.New(ctx)
	} else {
		e, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("exporter for clients' metrics from OTEL_* environment: %w", err)
	}
	c := &t.forwarder
	c.exporter, c.queue, c.node = e, make(chan *metricdata.ResourceMetrics, clientQueue), strconv.Itoa(int(t.cfg.NodeID))
	pushing, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go c.push(pushing, stopped)
	var once sync.Once
	t.closers = append(t.closers, func(ctx context.Context) (err error) {
		once.Do(func() {
			stop()
			<-stopped
			err = e.Shutdown(ctx)
		})
		return err
	})
	return nil
}

// push sends what is queued, one after the other, until ctx ends. That the endpoint is away the broker's own metrics tell.
func (c *forwarder) push(ctx context.Context, stopped chan struct{}) {
	defer close(stopped)
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-c.queue:
			one, done := context.WithTimeout(ctx, clientPush)
			err := c.exporter.Export(one, m)
			done()
			if err != nil {
				c.dropped.Add(1)
			} else {
				c.forwarded.Add(1)
			}
		}
	}
}

// ClientSink is where clients' metrics go; nil when nowhere.
func (t *Telemetry) ClientSink() clientmetrics.Sink {
	if t.forwarder.exporter == nil {
		return nil
	}
	return t.forwarder.take
}

// take queues a client's metrics.
func (c *forwarder) take(of clientmetrics.Client, m *metricspb.MetricsData) {
	for _, rm := range c.labelled(of, m) {
		select {
		case c.queue <- rm:
		default:
			c.dropped.Add(1)
		}
	}
}

// labelled is what a client has sent, with who it is (KIP-714's labels) besides what it says of itself. Java sends each metric as a resource of its
// own; what is of one is put together, for one push.
func (c *forwarder) labelled(of clientmetrics.Client, m *metricspb.MetricsData) []*metricdata.ResourceMetrics {
	var list []*metricdata.ResourceMetrics
	known := map[attribute.Distinct]*metricdata.ResourceMetrics{}
	for _, rm := range m.ResourceMetrics {
		who := resource.NewSchemaless(append(attributesOf(rm.GetResource().GetAttributes()), c.labels(of)...)...)
		out := known[who.Equivalent()]
		if out == nil {
			out = &metricdata.ResourceMetrics{Resource: who}
			known[who.Equivalent()] = out
			list = append(list, out)
		}
		for _, sm := range rm.ScopeMetrics {
			s := scope(out, instrumentation.Scope{Name: sm.GetScope().GetName(), Version: sm.GetScope().GetVersion()})
			for _, m := range sm.Metrics {
				if data := aggregation(m); data != nil {
					s.Metrics = append(s.Metrics, metricdata.Metrics{Name: m.Name, Description: m.Description, Unit: m.Unit, Data: data})
				}
			}
		}
	}
	return list
}

// scope finds or adds a scope of a resource.
func scope(of *metricdata.ResourceMetrics, s instrumentation.Scope) *metricdata.ScopeMetrics {
	for i := range of.ScopeMetrics {
		if of.ScopeMetrics[i].Scope == s {
			return &of.ScopeMetrics[i]
		}
	}
	of.ScopeMetrics = append(of.ScopeMetrics, metricdata.ScopeMetrics{Scope: s})
	return &of.ScopeMetrics[len(of.ScopeMetrics)-1]
}

func (c *forwarder) labels(of clientmetrics.Client) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("client_instance_id", of.Instance.String()), attribute.String("client_id", of.ID),
		attribute.String("client_software_name", of.Software), attribute.String("client_software_version", of.SoftwareVersion),
		attribute.String("client_source_address", of.Address), attribute.Int("client_source_port", of.Port),
		attribute.String("principal", of.Principal), attribute.String("broker_id", c.node),
	}
}

// aggregation is a metric's data; nil for those kinds that no client sends.
func aggregation(m *metricspb.Metric) metricdata.Aggregation {
	switch d := m.Data.(type) {
	case *metricspb.Metric_Gauge:
		return metricdata.Gauge[float64]{DataPoints: points(d.Gauge.GetDataPoints())}
	case *metricspb.Metric_Sum:
		return metricdata.Sum[float64]{
			DataPoints: points(d.Sum.GetDataPoints()), IsMonotonic: d.Sum.GetIsMonotonic(), Temporality: temporality(d.Sum.GetAggregationTemporality()),
		}
	case *metricspb.Metric_Histogram:
		h := metricdata.Histogram[float64]{Temporality: temporality(d.Histogram.GetAggregationTemporality())}
		for _, p := range d.Histogram.GetDataPoints() {
			h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes: attribute.NewSet(attributesOf(p.Attributes)...), StartTime: at(p.StartTimeUnixNano), Time: at(p.TimeUnixNano),
				Count: p.Count, Sum: p.GetSum(), Bounds: p.ExplicitBounds, BucketCounts: p.BucketCounts,
			})
		}
		return h
	}
	return nil
}

func temporality(t metricspb.AggregationTemporality) metricdata.Temporality {
	if t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
		return metricdata.CumulativeTemporality
	}
	return metricdata.DeltaTemporality
}

func points(from []*metricspb.NumberDataPoint) []metricdata.DataPoint[float64] {
	out := make([]metricdata.DataPoint[float64], 0, len(from))
	for _, p := range from {
		v := p.GetAsDouble()
		if i, ok := p.Value.(*metricspb.NumberDataPoint_AsInt); ok {
			v = float64(i.AsInt)
		}
		out = append(out, metricdata.DataPoint[float64]{
			Attributes: attribute.NewSet(attributesOf(p.Attributes)...), StartTime: at(p.StartTimeUnixNano), Time: at(p.TimeUnixNano), Value: v,
		})
	}
	return out
}

func at(nanos uint64) time.Time { return time.Unix(0, int64(nanos)) }

// attributesOf are those of single values.
func attributesOf(from []*commonpb.KeyValue) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(from)+8)
	for _, a := range from {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out = append(out, attribute.String(a.Key, v.StringValue))
		case *commonpb.AnyValue_BoolValue:
			out = append(out, attribute.Bool(a.Key, v.BoolValue))
		case *commonpb.AnyValue_IntValue:
			out = append(out, attribute.Int64(a.Key, v.IntValue))
		case *commonpb.AnyValue_DoubleValue:
			out = append(out, attribute.Float64(a.Key, v.DoubleValue))
		}
	}
	return out
}
