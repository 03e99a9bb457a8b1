package object

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// refusal says what an S3 error code means for the caller and for a person.
type refusal struct {
	sentinel error
	remedy   string
}

// refusals by S3's error code. What is not here is judged by the HTTP status.
var refusals = map[string]refusal{
	"NoSuchKey":    {ErrNotFound, ""},
	"NotFound":     {ErrNotFound, ""}, // of a HEAD, which has no body to say more
	"NoSuchBucket": {ErrNoBucket, "create the bucket, or correct its name"},
	"InvalidRange": {ErrRange, ""},

	"SlowDown":                               {ErrThrottled, ""},
	"SlowDownRead":                           {ErrThrottled, ""},
	"SlowDownWrite":                          {ErrThrottled, ""},
	"ServiceUnavailable":                     {ErrThrottled, ""},
	"TooManyRequests":                        {ErrThrottled, ""},
	"TooManyRequestsException":               {ErrThrottled, ""},
	"RequestLimitExceeded":                   {ErrThrottled, ""},
	"Throttling":                             {ErrThrottled, ""},
	"ThrottlingException":                    {ErrThrottled, ""},
	"ProvisionedThroughputExceededException": {ErrThrottled, ""},

	"AccessDenied":          {ErrDenied, "let these credentials list the bucket and put, get and delete objects below the prefix"},
	"AllAccessDisabled":     {ErrDenied, "ask the bucket's owner"},
	"XAdminUserNotFound":    {ErrCredentials, "check AWS_ACCESS_KEY_ID"}, // versitygw's
	"InvalidAccessKeyId":    {ErrCredentials, "check AWS_ACCESS_KEY_ID"},
	"SignatureDoesNotMatch": {ErrCredentials, "check AWS_SECRET_ACCESS_KEY, and the region"},
	"ExpiredToken":          {ErrCredentials, "renew the session's credentials"},
	"InvalidToken":          {ErrCredentials, "check AWS_SESSION_TOKEN"},
	"RequestTimeTooSkewed":  {ErrCredentials, "set this machine's clock"},

	"AuthorizationHeaderMalformed": {ErrCredentials, "set region= to the bucket's region"},
	"PermanentRedirect":            {nil, "set region= to the bucket's region"},
	"TemporaryRedirect":            {nil, "set region= to the bucket's region"},
	"MovedPermanently":             {nil, "set region= to the bucket's region"},
	"InvalidBucketName":            {ErrNoBucket, "correct the bucket's name"},
	"XAmzContentSHA256Mismatch":    {nil, "set sign_payload=true if the store refuses an unsigned payload"},
	"EntityTooLarge":               {nil, "make segments smaller than 5 GiB"},
}

// noCredentials is what to do without any.
const noCredentials = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance a role"

// refused finds the meaning of a store's answer.
func refused(code string, status int) refusal {
	if r, ok := refusals[code]; ok {
		return r
	}
	switch status {
	case http.StatusNotFound:
		if code == "" {
			return refusal{ErrNotFound, ""}
		}
		// Something else is missing: never to be taken for the object.
	case http.StatusRequestedRangeNotSatisfiable:
		return refusal{ErrRange, ""}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return refusal{ErrThrottled, ""}
	case http.StatusForbidden, http.StatusUnauthorized:
		return refusal{ErrDenied, refusals["AccessDenied"].remedy}
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusBadRequest:
		return refusal{nil, "check endpoint= and region="}
	}
	return refusal{}
}

// failure makes the *Error of a request to S3. code and status are the
// store's answer, empty and 0 when there was none.
func (l *location) failure(op, key, code string, status int, err error) error {
	e := &Error{Op: op, Bucket: l.url(), Key: key, Err: err}
	if code != "" || status != 0 {
		r := refused(code, status)
		e.Remedy = r.remedy
		if r.sentinel != nil && !errors.Is(err, r.sentinel) {
			e.Err = fmt.Errorf("%w: %w", r.sentinel, err)
		}
		return e
	}
	var dns *net.DNSError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
	case errors.As(err, &untrusted):
		e.Remedy = "have this machine trust the store's CA (SSL_CERT_FILE names a file of them), or correct endpoint="
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no other word for it
		e.Remedy = "write endpoint=http://…: there is no TLS at that address"
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &dns), errors.Is(err, context.DeadlineExceeded):
		where := "this machine's way to " + "S3"
		if l.endpoint != nil {
			where = l.endpoint.String()
		}
		e.Remedy = "check that " + where + " can be reached"
	}
	return e
}

// tune fits a transport to few hosts, many connections and large bodies.
func tune(t *http.Transport) {
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.MaxIdleConns = 512
	t.MaxIdleConnsPerHost = 256 // Go keeps two by default: parallel ranges would dial anew each time
	t.IdleConnTimeout = 60 * time.Second
	t.TLSHandshakeTimeout = 10 * time.Second
	t.ResponseHeaderTimeout = 60 * time.Second // counted from the end of the request's body
	t.ExpectContinueTimeout = time.Second
	t.DisableCompression = true
	t.ReadBufferSize = 128 << 10
	t.WriteBufferSize = 128 << 10
	// HTTP/2 would put all ranges on one connection, and one congestion window.
	t.ForceAttemptHTTP2 = false
}
