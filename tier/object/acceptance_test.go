package object_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/object/objecttest"
)

func open(url string) func(*testing.T) object.Bucket {
	return func(t *testing.T) object.Bucket {
		b, err := object.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// s3Server is the real S3 server that the environment names, as URL options.
// Credentials are the usual AWS_* variables.
func s3Server(t *testing.T) (bucket, query string) {
	t.Helper()
	endpoint, bucket := os.Getenv("QANAT_TEST_S3"), os.Getenv("QANAT_TEST_S3_BUCKET")
	if endpoint == "" || bucket == "" {
		t.Skip("NOT TESTED against a real S3 server: set QANAT_TEST_S3 to its URL, QANAT_TEST_S3_BUCKET to a bucket, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return bucket, url.Values{"endpoint": {endpoint}, "region": {"us-east-1"}}.Encode()
}

// False if: the driver for memory is not a bucket as package object means it.
func TestMemIsABucket(t *testing.T) { objecttest.Run(t, open("mem:")) }

// False if: the driver for directories is not a bucket as package object means it.
func TestDirIsABucket(t *testing.T) { objecttest.Run(t, open("dir:"+t.TempDir())) }

// False if: the wrapper for faults changes anything while it has no rules.
func TestFaultyWithoutRulesIsABucket(t *testing.T) {
	objecttest.Run(t, func(*testing.T) object.Bucket { return object.NewFaulty(object.NewMem(nil)) })
}

// False if: either S3 driver, with or without a prefix, is not a bucket as package object means it.
func TestS3DriversAreBuckets(t *testing.T) {
	bucket, query := s3Server(t)
	for _, driver := range []string{"s3", "minio"} {
		t.Run(driver, func(t *testing.T) { objecttest.RunRemote(t, open(driver+"://"+bucket+"?"+query)) })
		t.Run(driver+" with prefix", func(t *testing.T) { objecttest.RunRemote(t, open(driver+"://"+bucket+"/some/prefix?"+query)) })
		t.Run(driver+" signing payloads", func(t *testing.T) {
			if testing.Short() {
				t.Skip("short")
			}
			b := open(driver + "://" + bucket + "?sign_payload=true&" + query)(t)
			defer b.Close()
			if err := object.Probe(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// False if: a missing bucket, or wrong credentials, are told by anything but
// their own sentinel and a remedy; above all, a missing bucket must not look like a missing object.
func TestS3DriversTellWhatIsWrong(t *testing.T) {
	bucket, query := s3Server(t)
	for _, driver := range []string{"s3", "minio"} {
		t.Run(driver, func(t *testing.T) {
			b := open(driver + "://no-such-bucket-here?" + query)(t)
			_, getErr := b.Get(t.Context(), "a/b", 0, -1)
			_, headErr := b.Head(t.Context(), "a/b")
			for verb, err := range map[string]error{
				"check": object.Check(t.Context(), b),
				"put":   b.Put(t.Context(), "a/b", strings.NewReader("x"), 1),
				"get":   getErr,
				"head":  headErr,
			} {
				if !errors.Is(err, object.ErrNoBucket) || errors.Is(err, object.ErrNotFound) || !strings.Contains(err.Error(), "create the bucket") {
					t.Errorf("%s in a bucket that does not exist: %v", verb, err)
				}
			}
			t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
			b = open(driver + "://" + bucket + "?" + query)(t)
			if err := object.Check(t.Context(), b); !errors.Is(err, object.ErrDenied) || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
				t.Errorf("wrong secret: %v", err)
			}
			t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
			b = open(driver + "://" + bucket + "?" + query)(t)
			if err := object.Check(t.Context(), b); !errors.Is(err, object.ErrDenied) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
				t.Errorf("wrong key: %v", err)
			}
			b = open(driver + "://bucket?endpoint=http://127.0.0.1:1&region=us-east-1")(t)
			if err := object.Check(context.Background(), b); err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1 can be reached") {
				t.Errorf("nobody listens: %v", err)
			}
			plain := httptest.NewServer(http.NotFoundHandler())
			defer plain.Close()
			b = open(driver + "://bucket?endpoint=" + strings.Replace(plain.URL, "http:", "https:", 1) + "&region=us-east-1")(t)
			if err := object.Check(context.Background(), b); err == nil || !strings.Contains(err.Error(), "(write endpoint=http://") {
				t.Errorf("TLS where there is none: %v", err)
			}
			unknown := httptest.NewUnstartedServer(http.NotFoundHandler())
			unknown.Config.ErrorLog = log.New(io.Discard, "", 0)
			unknown.StartTLS()
			defer unknown.Close()
			b = open(driver + "://bucket?endpoint=" + unknown.URL + "&region=us-east-1")(t)
			if err := object.Check(context.Background(), b); err == nil || !strings.Contains(err.Error(), "trust the store's CA") {
				t.Errorf("a CA that nobody knows: %v", err)
			}
		})
	}
}
