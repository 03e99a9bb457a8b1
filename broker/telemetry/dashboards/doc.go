// Package dashboards is what watches brokers: Grafana dashboards, Prometheus alert rules with their runbooks, and example
// configurations of Prometheus and of the OpenTelemetry Collector. Pure: options in, files out.
//
//	telemetry.Declarations ──▸ <kafka.request.duration:bucket> in an expression ──▸ kafka_request_duration_seconds_bucket{…}
//	boards.go ─▸ Dashboards ─▸ JSON          alerts.go ─▸ Alerts ─▸ rules, their own tests, docs/runbooks.md
//
// What must stay true:
//
//   - An expression names metrics by their declarations: one that does not exist cannot be named (expand panics, and a test
//     expands everything).
//   - Every alert has a runbook, a fault that makes it fire in a test of real processes, and series that do so in promtool's.
//   - What lies in examples/telemetry and docs/runbooks.md is what this package says today.
//
// Start reading at boards.go and alerts.go.
package dashboards

//go:generate go run ./gen
