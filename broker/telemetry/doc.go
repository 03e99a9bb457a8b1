// Package telemetry is everything the broker says of itself to machines:
// metrics, as OpenTelemetry and as Prometheus reads them, traces, and the logger.
//
//	server ── Request(api, duration, …) ─▸ histogram, by API      ┐
//	hot ───── Flush(duration, logs) ─────▸ histograms              │
//	archive ─ Upload(bytes, duration) ───▸ histograms, counters    ├─▸ meter provider ─┬─▸ /metrics  (pulled)
//	                                                                │                   └─▸ OTLP      (pushed, when OTEL_* asks)
//	Sources (pulled at collection: quorum, tier, cluster, server) ─┘
//	   └── the same cluster state under kafka_exporter's names ───────▸ /metrics
//
//	server ── Traced(stages of an answered request) ─▸ kept? ─▸ spans ─▸ OTLP (and an exemplar of its histogram)
//	slog ─┬─▸ console
//	      └─▸ OTLP
//
// Every metric is declared once, in declare.go; docs/metrics.md is made from
// there. Packages below this one know nothing of it: they count for themselves
// or call an observer that they declare, and package broker connects them.
//
// What must stay true:
//
//   - Recording costs a few atomic additions: no allocation, no lock, no lookup
//     by name. What happens often is counted so and read at collection.
//   - No attribute takes a value that a client may choose freely, but for the
//     names of topics and groups, and of those only as many as metrics.partition.series.max.
//   - A request's trace is a few timestamps, written where it comes by, in a struct that is used again (wire.Trace); whether
//     it is worth keeping is known when it has been answered, and only then are spans made of it.
//   - Nothing waits for the collector, and what waits for the collector is bounded; that it is not there is said once.
//   - A collection never blocks on network or disk.
//
// Start reading at Telemetry, then declare.go.
package telemetry

//go:generate go run ./gen
