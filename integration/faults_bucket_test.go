package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/integration/harness"
)

// proxied is a running broker whose bucket is a real S3 server behind a proxy that breaks what it is told to.
func proxied(t *testing.T, driver string, sets ...string) (*harness.Broker, *harness.S3Proxy) {
	t.Helper()
	proxy := s3Proxy(t)
	// Stalls are found soon, and nothing is kept in memory that would hide the bucket from readers.
	b := newBroker(t, append([]string{
		"tier.upload.stall.timeout.ms=2000", "tier.cache.bytes=0", "log.retention.check.interval.ms=200",
	}, sets...)...)
	name := strings.ToLower(strings.NewReplacer("/", "-", " ", "-", "_", "-").Replace(t.Name()))
	b.Bucket = s3Bucket(driver, name, proxy)
	restart(t, b)
	return b, proxy
}

// s3Proxy stands before the S3 server that the environment names.
func s3Proxy(t *testing.T) *harness.S3Proxy {
	t.Helper()
	endpoint := os.Getenv("QANAT_TEST_S3")
	if endpoint == "" {
		t.Skip("NOT TRIED: QANAT_TEST_S3 names no S3 server (make test sets it)")
	}
	proxy, err := harness.NewS3Proxy(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy
}

// s3Bucket is the place of a test's own in the server behind the proxy.
func s3Bucket(driver, name string, proxy *harness.S3Proxy) string {
	return driver + "://" + os.Getenv("QANAT_TEST_S3_BUCKET") + "/" + name + "?endpoint=" + proxy.Endpoint
}

// tier is the part of /v1/tier that an operator watches.
type tier struct {
	BacklogBytes   int64   `json:"backlog_bytes"`
	BacklogSeconds float64 `json:"backlog_seconds"`
	Failing        []struct{ Error string }
}

func tierOf(t *testing.T, b *harness.Broker) (s tier) {
	t.Helper()
	if err := b.Ask(within(t, 20*time.Second), "GET", "/v1/tier", &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// With a bucket that fails in any way produce would stop, a reader of history
// be given something wrong or nothing ever again, or uploads not resume when the fault has passed.
func TestBucketFaults(t *testing.T) {
	for _, driver := range []string{"s3", "minio"} {
		t.Run(driver, func(t *testing.T) {
			b, proxy := proxied(t, driver)
			for _, fault := range []harness.Fault{
				harness.Unreached, harness.SlowDown, harness.Slow, harness.Hanging, harness.LostAnswer, harness.CorruptGet, harness.ShortGet,
			} {
				t.Run(fault.String(), func(t *testing.T) { bucketFault(t, b, proxy, fault) })
			}
			if err := b.Stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

func bucketFault(t *testing.T, b *harness.Broker, proxy *harness.S3Proxy, fault harness.Fault) {
	topic := strings.NewReplacer(" ", "-").Replace(fault.String())
	createTopic(t, b, topic, 2, "segment.bytes=65536", "local.retention.bytes=1")
	l := newLoad(t, b, topic, 2, uint64(fault))
	l.send(1000)
	archived(t, b)
	until(t, "local segments are not released", func() bool { return storageOf(t, b, topic).Partitions[0].Hot.Start > 0 })

	proxy.Set(fault)
	t.Cleanup(func() { proxy.Set(harness.Healthy) })
	l.send(1000) // produce goes on
	reading := make(chan error, 1)
	go func() { reading <- l.read(t.Context(), b) }()
	until(t, "no request has met the fault", func() bool { return proxy.Hits() >= 3 })
	writesFail := fault != harness.Slow && fault != harness.CorruptGet && fault != harness.ShortGet
	if writesFail {
		until(t, "the backlog is not to be seen", func() bool {
			s := tierOf(t, b)
			return s.BacklogBytes > 0 && s.BacklogSeconds > 0 && len(s.Failing) > 0 && s.Failing[0].Error != ""
		})
	}
	l.produceOn()
	proxy.Set(harness.Healthy)

	// The reader that met the fault either waited, and now goes on, or was told; a new one reads everything.
	if err := <-reading; err != nil {
		t.Logf("the reader was told: %v", err)
	}
	l.verify(b)
	archived(t, b)
	until(t, "a failure is still reported after all went well", func() bool { return len(tierOf(t, b).Failing) == 0 })
}

// produceOn sends some more, which must not wait for the bucket.
func (l *load) produceOn() {
	l.t.Helper()
	begin := time.Now()
	l.send(100)
	l.t.Logf("100 records acknowledged in %v beside the fault", time.Since(begin).Round(time.Millisecond))
}

// What an upload left behind whose answer was lost would stay in the bucket for ever, or a sweep take what is in use.
func TestOrphansAreSwept(t *testing.T) {
	b, proxy := proxied(t, "s3")
	createTopic(t, b, "orphans", 1, "segment.bytes=65536", "local.retention.bytes=1")
	l := newLoad(t, b, "orphans", 1, 1)
	l.send(200)
	archived(t, b)
	proxy.Set(harness.LostAnswer)
	l.send(300)
	until(t, "no upload has met the fault", func() bool { return proxy.Hits() >= 3 })
	if err := b.Kill(); err != nil { // what it knew of its failed uploads is forgotten: only a listing finds them
		t.Fatal(err)
	}
	proxy.Set(harness.Healthy)
	restart(t, b)
	archived(t, b)
	var sweep struct{ Objects, Orphans int }
	if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?grace=1h", &sweep); err != nil {
		t.Fatal(err)
	}
	if sweep.Orphans != 0 {
		t.Errorf("%d objects younger than the grace were swept", sweep.Orphans)
	}
	if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?grace=1ms", &sweep); err != nil {
		t.Fatal(err)
	}
	if sweep.Orphans == 0 {
		t.Error("nothing was swept")
	}
	if err := b.Ask(within(t, 30*time.Second), "POST", "/v1/tier/sweep?grace=1ms&dry_run=true", &sweep); err != nil || sweep.Orphans != 0 {
		t.Errorf("%d orphans after the sweep (%v)", sweep.Orphans, err)
	}
	if cold := storageOf(t, b, "orphans").Partitions[0].Cold.Segments; sweep.Objects != cold {
		t.Errorf("the bucket holds %d objects, %d are in use", sweep.Objects, cold)
	}
	l.verify(b)
}

// A broker that has worked would not start while its bucket cannot be reached, or refuse to be stopped.
func TestStartWithoutBucket(t *testing.T) {
	b, proxy := proxied(t, "s3")
	createTopic(t, b, "alone", 1, "segment.bytes=65536", "local.retention.bytes=1")
	l := newLoad(t, b, "alone", 1, 1)
	l.send(300)
	archived(t, b)
	for _, fault := range []harness.Fault{harness.Unreached, harness.Hanging} {
		proxy.Set(fault)
		l.send(100)
		if err := b.Stop(); err != nil {
			t.Errorf("stop with a bucket that is %v: %v", fault, err)
		}
		restart(t, b)
		l.send(100)
	}
	proxy.Set(harness.Healthy)
	l.verify(b)
	archived(t, b)
}

// A directory as bucket that disappears and comes back would lose or alter what is read.
func TestBucketDirectoryGone(t *testing.T) {
	b := newBroker(t, "log.retention.check.interval.ms=200", "tier.cache.bytes=0")
	bucket := filepath.Join(t.TempDir(), "bucket")
	b.Bucket = "dir:" + bucket
	restart(t, b)
	createTopic(t, b, "gone", 1, "segment.bytes=65536", "local.retention.bytes=1")
	l := newLoad(t, b, "gone", 1, 1)
	l.send(500)
	archived(t, b)
	if err := os.Rename(bucket, bucket+".away"); err != nil {
		t.Fatal(err)
	}
	l.send(500)
	if err := os.RemoveAll(bucket); err != nil { // the driver may have made it again
		t.Fatal(err)
	}
	if err := os.Rename(bucket+".away", bucket); err != nil {
		t.Fatal(err)
	}
	l.send(10)
	archived(t, b)
	l.verify(b)
}

// A broker that is started before its bucket's volume is mounted would upload to the mount point, delete local copies of what is not there, not say so, or not
// go on by itself once the volume is there.
func TestBucketNotMounted(t *testing.T) {
	b := newBroker(t, "log.retention.check.interval.ms=200", "tier.cache.bytes=0")
	bucket := filepath.Join(t.TempDir(), "bucket")
	b.Bucket = "dir:" + bucket
	restart(t, b)
	createTopic(t, b, "mounted", 1, "segment.bytes=65536", "local.retention.bytes=1")
	l := newLoad(t, b, "mounted", 1, 1)
	l.send(500)
	archived(t, b)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bucket, bucket+".volume"); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	l.send(500)
	limit := within(t, 20*time.Second)
	for !strings.Contains(b.Tail(1<<20), "bucket does not hold what the metadata says") {
		if limit.Err() != nil {
			t.Fatal("nothing is said of it")
		}
		l.send(10)
	}
	for {
		h, text, code := health(t, b)
		if h.Unarchived == 1 && code == 10 && strings.Contains(text, "bucket does not hold what the metadata says") {
			break
		}
		if limit.Err() != nil {
			t.Fatalf("exit code %d:\n%s", code, text)
		}
		l.send(10)
	}
	left, err := filepath.Glob(filepath.Join(bucket, "*", "*")) // what the driver keeps to itself has one level
	if err != nil || len(left) > 0 {
		t.Errorf("uploaded to the mount point: %v, %v", left, err)
	}
	if err := os.Rename(bucket, bucket+".point"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bucket+".volume", bucket); err != nil {
		t.Fatal(err)
	}
	archived(t, b)
	l.verify(b)
}

// A broker whose bucket.url was taken away would lose its history without a word, or not have it again when the bucket is named again.
func TestBucketTakenAway(t *testing.T) {
	b := newBroker(t, "log.retention.check.interval.ms=200", "tier.cache.bytes=0")
	restart(t, b)
	createTopic(t, b, "away", 1, "segment.bytes=65536", "local.retention.bytes=1")
	l := newLoad(t, b, "away", 1, 1)
	l.send(500)
	archived(t, b)
	named := b.Bucket
	for _, bucket := range []string{"none", named} {
		b.Bucket = bucket
		if err := b.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		before := len(b.Tail(1 << 20))
		restart(t, b)
		if told := strings.Contains(b.Tail(1 << 20)[before:], "bucket.url is empty"); told != (bucket == "none") {
			t.Errorf("bucket %q: the missing history is told of: %v", bucket, told)
		}
		l.send(10)
	}
	l.verify(b)
}
