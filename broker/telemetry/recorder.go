package telemetry

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/attribute"
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

// scopeName is the instrumentation scope of every metric here.
const scopeName = "github.com/qanat-io/qanat"

// recorder holds what is recorded to, each with its attribute sets made beforehand.
type recorder struct {
	start      time.Time
	families   []*family
	requests   *family // by apiSlot
	failed     [apis + 1]atomic.Int64
	flush      *family
	flushLogs  *family
	upload     *family
	download   *family
	tierErrors [operations]atomic.Int64
}

func (r *recorder) init() {
	r.start = time.Now()
	var sets []attribute.Set
	for key := range apis + 1 {
		sets = append(sets, attribute.NewSet(attribute.String("api", apiName(key))))
	}
	none := attribute.NewSet()
	r.requests = newFamily("kafka.request.duration", sets...)
	r.flush = newFamily("qanat.flush.duration", none)
	r.flushLogs = newFamily("qanat.flush.logs", none)
	r.upload = newFamily("qanat.tier.upload.duration", none)
	r.download = newFamily("qanat.tier.download.duration", none)
	r.families = []*family{r.requests, r.flush, r.flushLogs, r.upload, r.download}
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

// Request records one request. failed: in place of an answer its connection was closed.
func (r *recorder) Request(api int16, took time.Duration, failed bool) {
	i := apiSlot(api)
	r.requests.list[i].record(int64(took))
	if failed {
		r.failed[i].Add(1)
	}
}

// Flush records one group flush that logs shared.
func (r *recorder) Flush(took time.Duration, logs int) {
	r.flush.list[0].record(int64(took))
	r.flushLogs.list[0].record(int64(logs))
}

// Uploaded records a segment that the quorum has taken.
func (r *recorder) Uploaded(took time.Duration) {
	r.upload.list[0].record(int64(took))
}

// Downloaded records one ranged GET that went to its end.
func (r *recorder) Downloaded(took time.Duration) {
	r.download.list[0].record(int64(took))
}

// TierFailed records an attempt at the bucket that failed.
func (r *recorder) TierFailed(o Operation) {
	if o >= 0 && o < operations {
		r.tierErrors[o].Add(1)
	}
}
