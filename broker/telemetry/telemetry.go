package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"go.opentelemetry.io/otel"
)

// Config says who reports.
type Config struct {
	Version   string
	NodeID    int32
	ClusterID string
	// SeriesMax is metrics.partition.series.max.
	SeriesMax int
}

// Telemetry is safe for concurrent use. Its recording methods never block.
type Telemetry struct {
	recorder
	registry *prometheus.Registry
	provider *sdk.MeterProvider
	sources  atomic.Pointer[Sources]
	cluster  clusterCache
	cfg      Config
}

// New starts reporting. Metrics are pushed, besides being pulled, when the
// environment asks for it as OpenTelemetry specifies (OTEL_METRICS_EXPORTER,
// OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT and what
// goes with them). Failures to push are logged, seldom, and change nothing else.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry(), cfg: cfg}
	t.sources.Store(&Sources{})
	t.cluster.ask = func() ClusterState {
		if f := t.sources.Load().Cluster; f != nil {
			return f()
		}
		return ClusterState{}
	}
	t.recorder.init()
	pull, err := otelprom.New(
		otelprom.WithProducer(&t.recorder),
		otelprom.WithRegisterer(t.registry),
		otelprom.WithoutScopeInfo(),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("prometheus reader: %w", err)
	}
	options := []sdk.Option{
		sdk.WithReader(pull),
		sdk.WithResource(describe(ctx, cfg, log)),
		sdk.WithCardinalityLimit(0), // series are bounded where they are made, all or none of a kind
	}
	if pushWanted(os.Getenv) {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry", "error", err) }))
		autoexport.WithFallbackMetricProducer(func(context.Context) (sdk.Producer, error) { return &t.recorder, nil })
		push, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("metrics exporter from OTEL_* environment: %w", err)
		}
		options = append(options, sdk.WithReader(push))
	}
	t.provider = sdk.NewMeterProvider(options...)
	if err := t.instruments(); err != nil {
		return nil, errors.Join(err, t.provider.Shutdown(ctx))
	}
	if err := runtime.Start(runtime.WithMeterProvider(t.provider)); err != nil {
		return nil, errors.Join(fmt.Errorf("runtime metrics: %w", err), t.provider.Shutdown(ctx))
	}
	return t, nil
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

// Close pushes what is left and stops. ctx bounds how long it waits for the collector.
func (t *Telemetry) Close(ctx context.Context) error {
	t.Connect(Sources{})
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("stop telemetry: %w", err)
	}
	return nil
}

// pushWanted tells whether the environment asks for an exporter.
func pushWanted(getenv func(string) string) bool {
	if getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	switch getenv("OTEL_METRICS_EXPORTER") {
	case "none", "prometheus": // the latter is served already
		return false
	case "":
		return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") != ""
	}
	return true
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
