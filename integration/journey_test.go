package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/integration/journey"
)

// A record that was acknowledged would be missing, doubled, out of order or
// altered when history is read back, after kills, without the index, or from the bucket alone.
func TestJourney(t *testing.T) {
	buckets := map[string]string{"directory": ""}
	if endpoint := os.Getenv("QANAT_TEST_S3"); endpoint != "" {
		name := os.Getenv("QANAT_TEST_S3_BUCKET")
		buckets["s3"] = "s3://" + name + "/journey-s3?endpoint=" + endpoint
		buckets["minio"] = "minio://" + name + "/journey-minio?endpoint=" + endpoint
	} else {
		t.Log("QANAT_TEST_S3 names no S3 server: only the directory is tried (make test sets it)")
	}
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.Bucket = bucket
			s, err := journey.Run(within(t, 5*time.Minute), journey.Plan{
				Broker: b, Bytes: 192 << 20, Partitions: 16, SegmentBytes: 1 << 20, LocalBytes: 2 << 20, Kills: 3, Seed: 1,
				Progress: steps(t),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", s)
			if s.Kills != 3 {
				t.Errorf("the broker was killed %d times, 3 were meant", s.Kills)
			}
			if err := b.Stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// steps logs each step once.
func steps(t *testing.T) func(string, int64, int64) {
	seen := map[string]bool{}
	return func(step string, _, _ int64) {
		if !seen[step] {
			seen[step] = true
			t.Log(strings.ToUpper(step[:1]) + step[1:])
		}
	}
}
