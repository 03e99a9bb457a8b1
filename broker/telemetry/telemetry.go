package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"go.opentelemetry.io/otel"
)

// Config says who reports.
type Config struct {
	Version   string
	NodeID    int32
	ClusterID string
	// SeriesMax is metrics.partition.series.max.
	SeriesMax int
	// TraceSlow and TraceShare are trace.slow.ms and trace.sample.ratio.
	TraceSlow  time.Duration
	TraceShare float64
	// ClientsMax is metrics.clients.max.
	ClientsMax int
}

// Telemetry is safe for concurrent use. Its recording methods never block.
type Telemetry struct {
	recorder
	traces
	clients   clients
	forwarder forwarder
	outage    *outage
	closers   []func(context.Context) error // of traces, logs and clients' metrics
	outlet    *logOutlet                    // nil unless logs are pushed
	registry  *prometheus.Registry
	provider  *sdk.MeterProvider
	sources   atomic.Pointer[Sources]
	cluster   clusterCache
	cfg       Config
}

// New starts reporting. Metrics are pushed, besides being pulled, and so are
// traces, and log's lines if NewLogger made it, when the environment asks for
// it as OpenTelemetry specifies (OTEL_EXPORTER_OTLP_ENDPOINT and what goes with
// it). Failures to push are logged once, and change nothing else.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry(), cfg: cfg, outage: &outage{log: log, failing: map[signal]bool{}}}
	t.sources.Store(&Sources{})
	t.cluster.ask = func() ClusterState {
		if f := t.sources.Load().Cluster; f != nil {
			return f()
		}
		return ClusterState{}
	}
	t.recorder.init()
	t.clients.most = cfg.ClientsMax
	pull, err := otelprom.New(
		otelprom.WithProducer(&t.recorder),
		otelprom.WithRegisterer(t.registry),
		otelprom.WithoutScopeInfo(),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("prometheus reader: %w", err)
	}
	who := describe(ctx, cfg, log)
	options := []sdk.Option{
		sdk.WithReader(pull),
		sdk.WithResource(who),
		sdk.WithCardinalityLimit(0), // series are bounded where they are made, all or none of a kind
	}
	if metricsSignal.wanted(os.Getenv) {
		otel.SetErrorHandler(t.outage)
		autoexport.WithFallbackMetricProducer(func(context.Context) (sdk.Producer, error) {
			return watchedMetrics{&t.recorder, t.outage}, nil
		})
		push, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("metrics exporter from OTEL_* environment: %w", err)
		}
		options = append(options, sdk.WithReader(push))
	}
	t.provider = sdk.NewMeterProvider(options...)
	if err := errors.Join(t.pushTraces(ctx, who), t.pushLogs(ctx, who, log), t.openClients(ctx, os.Getenv)); err != nil {
		return nil, errors.Join(err, t.Close(ctx))
	}
	if err := t.instruments(); err != nil {
		return nil, errors.Join(err, t.provider.Shutdown(ctx))
	}
	if err := runtime.Start(runtime.WithMeterProvider(t.provider)); err != nil {
		return nil, errors.Join(fmt.Errorf("runtime metrics: %w", err), t.provider.Shutdown(ctx))
	}
	return t, nil
}

// pushTraces makes a tracer, if the environment asks for traces. Which requests are kept is decided when they have been
// answered, so everything that reaches the SDK is for it to push.
func (t *Telemetry) pushTraces(ctx context.Context, who *resource.Resource) error {
	if !tracesSignal.wanted(os.Getenv) {
		return nil
	}
	e, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("traces exporter from OTEL_* environment: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(watchedSpans{e, t.outage}), sdktrace.WithResource(who), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	t.closers = append(t.closers, p.Shutdown)
	t.traces.init(p.Tracer(scopeName), t.cfg)
	return nil
}

// pushLogs opens the way out for the lines of log, if it has one.
func (t *Telemetry) pushLogs(ctx context.Context, who *resource.Resource, log *slog.Logger) error {
	h, ok := log.Handler().(*pushingHandler)
	if !ok {
		return nil
	}
	e, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return fmt.Errorf("logs exporter from OTEL_* environment: %w", err)
	}
	p := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(watchedLogs{e, t.outage})), sdklog.WithResource(who))
	t.closers = append(t.closers, p.Shutdown)
	t.outlet = h.outlet
	t.outlet.open(p)
	return nil
}

func (t *Telemetry) instruments() error {
	meter := t.provider.Meter(scopeName)
	if err := t.observe(meter); err != nil {
		return err
	}
	if err := t.registry.Register(exporterNames{t}); err != nil {
		return fmt.Errorf("register kafka_exporter names: %w", err)
	}
	return nil
}

// Connect sets where state comes from. It may be called again, as parts come up.
func (t *Telemetry) Connect(s Sources) { t.sources.Store(&s) }

// Handler serves the metrics in Prometheus' text format or OpenMetrics, as asked.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 20 * time.Second})
}

// Close pushes what is left and stops. ctx bounds how long it waits for the
// collector; that it cannot be reached is nothing that the broker fails for.
func (t *Telemetry) Close(ctx context.Context) error {
	t.Connect(Sources{})
	t.outage.close()
	if t.outlet != nil {
		t.outlet.close()
	}
	var all sync.WaitGroup
	for _, shutdown := range append(t.closers, t.provider.Shutdown) {
		all.Go(func() {
			if err := shutdown(ctx); err != nil {
				t.outage.log.Debug("telemetry that was left could not be pushed", "error", short(err))
			}
		})
	}
	all.Wait()
	return nil
}

// describe is the resource that metrics belong to; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME go over it.
func describe(ctx context.Context, cfg Config, log *slog.Logger) *resource.Resource {
	r, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "qanat"),
			attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", fmt.Sprint(cfg.NodeID)),
			attribute.String("kafka.cluster.id", cfg.ClusterID),
		),
		resource.WithFromEnv())
	if err != nil {
		// What could be found out is there all the same.
		log.Warn("telemetry resource is incomplete", "error", err)
	}
	return r
}
