package telemetry

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// apis bounds the API keys that have a place of their own; the rest share the last.
const apis = 128

// Operation is what was tried at the bucket.
type Operation int8

// The operations.
const (
	Upload Operation = iota
	Download
	Delete
	List
	operations
)

func (o Operation) String() string {
	return [...]string{"upload", "download", "delete", "list"}[o]
}

// recorder holds the instruments that are written to, each with its attribute sets made beforehand.
type recorder struct {
	requests      metric.Float64Histogram
	api           [apis + 1][]metric.RecordOption
	failed        [apis + 1]atomic.Int64
	flushDuration metric.Float64Histogram
	flushLogs     metric.Int64Histogram
	upload        metric.Float64Histogram
	download      metric.Float64Histogram
	tierErrors    [operations]atomic.Int64
}

func (r *recorder) init(m metric.Meter) error {
	for key := range r.api {
		set := attribute.NewSet(attribute.String("api", apiName(key)))
		r.api[key] = []metric.RecordOption{metric.WithAttributeSet(set)}
	}
	for name, to := range map[string]*metric.Float64Histogram{
		"kafka.request.duration":       &r.requests,
		"qanat.flush.duration":         &r.flushDuration,
		"qanat.tier.upload.duration":   &r.upload,
		"qanat.tier.download.duration": &r.download,
	} {
		d := declared(name)
		h, err := m.Float64Histogram(d.Name, metric.WithUnit(d.Unit), metric.WithDescription(d.Help), metric.WithExplicitBucketBoundaries(d.Buckets...))
		if err != nil {
			return fmt.Errorf("metric %s: %w", d.Name, err)
		}
		*to = h
	}
	d := declared("qanat.flush.logs")
	h, err := m.Int64Histogram(d.Name, metric.WithUnit(d.Unit), metric.WithDescription(d.Help), metric.WithExplicitBucketBoundaries(d.Buckets...))
	if err != nil {
		return fmt.Errorf("metric %s: %w", d.Name, err)
	}
	r.flushLogs = h
	return nil
}

func apiName(key int) string {
	if key >= apis {
		return "other"
	}
	if name := kmsg.NameForKey(int16(key)); name != "" && name != "Unknown" {
		return name
	}
	return fmt.Sprint(key)
}

func apiSlot(key int16) int {
	if key < 0 || key >= apis {
		return apis
	}
	return int(key)
}

// Request records one request. failed: answered with an error for the whole of it, or not at all.
func (r *recorder) Request(api int16, took time.Duration, failed bool) {
	i := apiSlot(api)
	r.requests.Record(context.Background(), took.Seconds(), r.api[i]...)
	if failed {
		r.failed[i].Add(1)
	}
}

// Flush records one group flush that logs shared.
func (r *recorder) Flush(took time.Duration, logs int) {
	r.flushDuration.Record(context.Background(), took.Seconds())
	r.flushLogs.Record(context.Background(), int64(logs))
}

// Uploaded records a segment that the quorum has taken.
func (r *recorder) Uploaded(took time.Duration) {
	r.upload.Record(context.Background(), took.Seconds())
}

// Downloaded records one ranged GET that went to its end.
func (r *recorder) Downloaded(took time.Duration) {
	r.download.Record(context.Background(), took.Seconds())
}

// TierFailed records an attempt at the bucket that failed.
func (r *recorder) TierFailed(o Operation) {
	if o >= 0 && o < operations {
		r.tierErrors[o].Add(1)
	}
}
