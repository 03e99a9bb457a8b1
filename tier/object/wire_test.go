package object_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/object"
)

// store is an S3 server as far as a test needs one: it answers every request alike and remembers it.
type store struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []int64
	answer   func(w http.ResponseWriter, r *http.Request)
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the client went away
	}
	s.mu.Lock()
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, n)
	s.mu.Unlock()
	if s.answer != nil {
		s.answer(w, r)
	}
}

// drivers runs a test with each S3 driver against a store.
func drivers(t *testing.T, options string, f func(t *testing.T, b object.Bucket, s *store)) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	for _, driver := range []string{"s3", "minio"} {
		t.Run(driver, func(t *testing.T) {
			s := &store{}
			server := httptest.NewServer(s)
			defer server.Close()
			b, err := object.Open(driver + "://bucket/pre?endpoint=" + url.QueryEscape(server.URL) + options)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			f(t, b, s)
		})
	}
}

// False if: an upload is more than one request (a bucket's region asked for,
// parts, retries), or carries what S3-compatible stores choke on or what costs
// a pass over the data: a payload hash, a trailing checksum, chunked signatures, 100-continue.
func TestAPutIsOnePlainRequest(t *testing.T) {
	drivers(t, "", func(t *testing.T, b object.Bucket, s *store) {
		const size = 20 << 20 // either SDK's own uploader would make parts of it
		if err := b.Put(t.Context(), "a/b", bytes.NewReader(make([]byte, size)), size); err != nil {
			t.Fatal(err)
		}
		if len(s.requests) != 1 {
			t.Fatalf("%d requests", len(s.requests))
		}
		r := s.requests[0]
		if r.Method != "PUT" || r.URL.Path != "/bucket/pre/a/b" || r.ContentLength != size || s.bodies[0] != size {
			t.Errorf("%s %s of %d bytes", r.Method, r.URL, r.ContentLength)
		}
		if sha := r.Header.Get("X-Amz-Content-Sha256"); sha != "UNSIGNED-PAYLOAD" {
			t.Errorf("payload hash %q", sha)
		}
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		for name := range r.Header {
			if n := strings.ToLower(name); strings.Contains(n, "checksum") || strings.Contains(n, "trailer") || n == "expect" || n == "content-md5" || strings.Contains(n, "content-encoding") {
				t.Errorf("header %s: %s", name, r.Header.Get(name))
			}
		}
	})
}

// False if: sign_payload=true does not sign the payload.
func TestSignPayload(t *testing.T) {
	drivers(t, "&sign_payload=true", func(t *testing.T, b object.Bucket, s *store) {
		if err := b.Put(t.Context(), "a/b", strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
		if sha := s.requests[0].Header.Get("X-Amz-Content-Sha256"); sha == "UNSIGNED-PAYLOAD" || sha == "" {
			t.Errorf("payload hash %q", sha)
		}
	})
}

func refuse(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != "HEAD" && code != "" {
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>told you</Message></Error>`, code)
		}
	}
}

// False if: an answer of the store is not told by the right sentinel, or a
// driver tries again by itself (which would multiply a store's overload).
func TestAnswersBecomeSentinels(t *testing.T) {
	all := []error{object.ErrNotFound, object.ErrNoBucket, object.ErrThrottled, object.ErrDenied, object.ErrCredentials, object.ErrRange}
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{503, "SlowDown", object.ErrThrottled},
		{503, "ServiceUnavailable", object.ErrThrottled},
		{503, "", object.ErrThrottled},
		{429, "TooManyRequests", object.ErrThrottled},
		{429, "", object.ErrThrottled},
		{404, "NoSuchKey", object.ErrNotFound},
		{404, "NoSuchBucket", object.ErrNoBucket},
		{404, "NoSuchSomething", nil},
		{403, "AccessDenied", object.ErrDenied},
		{403, "InvalidAccessKeyId", object.ErrCredentials},
		{403, "SignatureDoesNotMatch", object.ErrCredentials},
		{400, "ExpiredToken", object.ErrCredentials},
		{403, "RequestTimeTooSkewed", object.ErrCredentials},
		{416, "InvalidRange", object.ErrRange},
		{500, "InternalError", nil},
		{301, "PermanentRedirect", nil},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			drivers(t, "&region=us-east-1", func(t *testing.T, b object.Bucket, s *store) {
				s.answer = refuse(c.status, c.code)
				_, getErr := b.Get(t.Context(), "a/b", 5, 10)
				for verb, err := range map[string]error{
					"get":  getErr,
					"put":  b.Put(t.Context(), "a/b", strings.NewReader("x"), 1),
					"list": b.List(t.Context(), "", func(object.Info) error { return nil }),
				} {
					for _, sentinel := range all {
						if errors.Is(err, sentinel) != (sentinel == c.want || c.want != nil && errors.Is(c.want, sentinel)) {
							t.Errorf("%s: %v; is %v: %v", verb, err, sentinel, errors.Is(err, sentinel))
						}
					}
					var e *object.Error
					if !errors.As(err, &e) || e.Op != verb || e.Bucket != b.URL() {
						t.Errorf("%s: %#v", verb, err)
					}
				}
				if len(s.requests) != 3 {
					t.Errorf("%d requests for three calls", len(s.requests))
				}
			})
		})
	}
}

// False if: a store that ignores ranges hands a reader the wrong bytes.
func TestAWholeObjectIsNotTakenForARange(t *testing.T) {
	drivers(t, "", func(t *testing.T, b object.Bucket, s *store) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("ETag", `"x"`)
			fmt.Fprint(w, "0123456789")
		}
		if body, err := b.Get(t.Context(), "a/b", 3, 2); err == nil {
			body.Close()
			t.Error("taken")
		}
	})
}

// False if: a download that the store cuts short looks complete.
func TestACutDownloadIsAnError(t *testing.T) {
	drivers(t, "", func(t *testing.T, b object.Bucket, s *store) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("ETag", `"x"`)
			w.Header().Set("Content-Length", "1000")
			w.Write(make([]byte, 400))
			panic(http.ErrAbortHandler)
		}
		body, err := b.Get(t.Context(), "a/b", 0, -1)
		if err != nil {
			return // the SDK noticed before
		}
		defer body.Close()
		if n, err := io.Copy(io.Discard, body); err == nil {
			t.Errorf("%d bytes, no error", n)
		}
	})
}

// False if: a request that hangs does not end with its context.
func TestAHangingStoreEndsWithTheContext(t *testing.T) {
	drivers(t, "", func(t *testing.T, b object.Bucket, s *store) {
		ctx, cancel := context.WithCancel(t.Context())
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		}
		if err := b.Put(ctx, "a/b", strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// BenchmarkPut shows what an upload costs beside the bytes' way through the kernel; compare with signed payloads.
func BenchmarkPut(b *testing.B) {
	b.Setenv("AWS_ACCESS_KEY_ID", "key")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	const size = 32 << 20
	data := bytes.NewReader(make([]byte, size))
	for _, driver := range []string{"s3", "minio"} {
		for _, signed := range []string{"false", "true"} {
			b.Run(driver+"/signed="+signed, func(b *testing.B) {
				server := httptest.NewServer(&store{})
				defer server.Close()
				bucket, err := object.Open(driver + "://bucket?endpoint=" + server.URL + "&sign_payload=" + signed)
				if err != nil {
					b.Fatal(err)
				}
				defer bucket.Close()
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					if err := bucket.Put(b.Context(), "a", data, size); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
