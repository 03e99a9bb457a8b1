package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/object"
)

// Result is how bad a finding is.
type Result string

// The results, the best first.
const (
	OK      Result = "ok"
	Skipped Result = "skipped" // not looked at; Text says why
	Warning Result = "warning" // it works, and will not be good
	Problem Result = "problem" // it does not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Text   string `json:"text"`   // what was seen
	Remedy string `json:"remedy"` // what to do; "" when nothing is to be done
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: OK, Text: fmt.Sprintf(format, args...)}
}

func skipped(check, why string) Finding { return Finding{Check: check, Result: Skipped, Text: why} }

func warning(check, remedy, format string, args ...any) Finding {
	return Finding{check, Warning, fmt.Sprintf(format, args...), remedy}
}

func problem(check, remedy, format string, args ...any) Finding {
	return Finding{check, Problem, fmt.Sprintf(format, args...), remedy}
}

// Problems is how many findings are problems.
func Problems(list []Finding) int {
	n := 0
	for _, f := range list {
		if f.Result == Problem {
			n++
		}
	}
	return n
}

// Examine looks at everything that a configuration names, within some ten seconds, unless ctx ends before.
func Examine(ctx context.Context, cfg *config.Broker) []Finding {
	list := Disk(ctx, cfg.DataDir())
	list = append(list, Limits()...)
	list = append(list, Certificates(cfg)...)
	list = append(list, Peers(ctx, cfg)...)
	return append(list, bucket(ctx, cfg)...)
}

// bucketTimeout bounds everything that is asked of a bucket.
const bucketTimeout = 20 * time.Second

func bucket(ctx context.Context, cfg *config.Broker) []Finding {
	if !cfg.HasBucket() {
		return []Finding{skipped("bucket", "bucket.url is empty: closed segments stay on the local disk")}
	}
	b, err := object.Open(cfg.String("bucket.url"))
	if err != nil {
		return []Finding{problem("bucket", "correct bucket.url; docs/configuration.md has its forms", "%v", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	list := Bucket(ctx, b, time.Now)
	if err := b.Close(); err != nil && !errors.Is(err, context.Canceled) {
		list = append(list, warning("bucket", "", "close it: %v", err))
	}
	return list
}
