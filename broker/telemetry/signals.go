package telemetry

import "strings"

// signal is one of OpenTelemetry's three.
type signal string

const (
	metricsSignal signal = "METRICS"
	tracesSignal  signal = "TRACES"
	logsSignal    signal = "LOGS"
)

func (s signal) String() string { return strings.ToLower(string(s)) }

// wanted tells whether the environment asks for the signal to be pushed, as OpenTelemetry specifies; but where nothing is said of
// an exporter nor an endpoint, nothing is pushed.
func (s signal) wanted(getenv func(string) string) bool {
	if getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	switch getenv("OTEL_" + string(s) + "_EXPORTER") {
	case "none", "prometheus": // the latter is served already
		return false
	case "":
		return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_"+string(s)+"_ENDPOINT") != ""
	}
	return true
}
