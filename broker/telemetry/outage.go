package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// outage hears how every push went, and tells people: one warning when they begin to fail, whichever signal's is first, and one
// line when all go through again. The SDK's processors have bounded queues and drop what does not fit: an endpoint that is
// slow, or not there, costs that much memory and no request any time.
type outage struct {
	log *slog.Logger

	mu      sync.Mutex
	failing map[signal]bool
	since   time.Time
	told    bool      // the warning of this outage was written
	last    time.Time // when it was

	collected, failed bool // of metrics: a collection was made; the push that followed has failed
	closed            bool
}

// tellAgain is how long an endpoint that comes and goes is not told of again.
const tellAgain = 10 * time.Minute

// pushed notes how a push of a signal went.
func (o *outage) pushed(s signal, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushedLocked(s, err)
}

func (o *outage) pushedLocked(s signal, err error) {
	if o.closed {
		return
	}
	now := time.Now()
	if err != nil {
		if len(o.failing) == 0 {
			o.since = now
			if o.told = o.last.IsZero() || now.Sub(o.last) >= tellAgain; o.told {
				o.last = now
				o.log.Warn("telemetry cannot be pushed: what does not fit the queues is dropped until it can; nothing else waits for it",
					"signal", s.String(), "error", short(err))
			}
		}
		o.failing[s] = true
		o.log.Debug("telemetry was not pushed", "signal", s.String(), "error", short(err))
		return
	}
	if !o.failing[s] {
		return
	}
	if delete(o.failing, s); len(o.failing) == 0 && o.told {
		o.told = false
		o.log.Info("telemetry is pushed again", "after", now.Sub(o.since))
	}
}

// short is what of an error is worth a line: exporters quote whole answers.
func short(err error) string {
	const most = 300
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// close ends the telling: what fails from now on fails because the broker stops.
func (o *outage) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

// Handle implements otel.ErrorHandler. What comes here is of metrics: the other exporters are watched, and tell nobody else.
func (o *outage) Handle(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = true
	o.pushedLocked(metricsSignal, err)
}

// watchedMetrics are the histograms as the pushing reader asks for them. autoexport makes reader and exporter in one, so that of a
// push only its failure is heard; but a reader collects, pushes, and reports a failure before it collects again. So at the next
// collection the last push is known to have gone well, if nothing was heard.
type watchedMetrics struct {
	*recorder
	outage *outage
}

// Produce implements the SDK's Producer.
func (w watchedMetrics) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	o := w.outage
	o.mu.Lock()
	if o.collected && !o.failed {
		o.pushedLocked(metricsSignal, nil)
	}
	o.collected, o.failed = true, false
	o.mu.Unlock()
	return w.recorder.Produce(ctx)
}

var _ sdk.Producer = watchedMetrics{}

// watchedSpans and watchedLogs are exporters whose failures the outage hears of, and nobody else.
type watchedSpans struct {
	sdktrace.SpanExporter
	outage *outage
}

func (w watchedSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	w.outage.pushed(tracesSignal, w.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

type watchedLogs struct {
	sdklog.Exporter
	outage *outage
}

func (w watchedLogs) Export(ctx context.Context, records []sdklog.Record) error {
	w.outage.pushed(logsSignal, w.Exporter.Export(ctx, records))
	return nil
}
