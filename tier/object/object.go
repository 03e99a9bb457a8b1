package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrNotFound says that no object has the key.
var ErrNotFound = errors.New("object not found")

// ErrNoBucket says that the bucket itself does not exist. It is never
// ErrNotFound: a missing bucket must not be taken for a missing object.
var ErrNoBucket = errors.New("bucket does not exist")

// ErrThrottled says that the store asks for patience (503 SlowDown, 429); it
// is wrapped by the driver's error and wants back-off with jitter.
var ErrThrottled = errors.New("object store asks to slow down")

// ErrDenied says that the credentials are missing, wrong, or not enough.
// Trying again without a change does not help.
var ErrDenied = errors.New("object store denies access")

// ErrCredentials says that the store does not know in whose name a request comes: there are no credentials, or wrong or expired ones, or the
// signature is of another time or region. It is an ErrDenied, for which no right would help.
var ErrCredentials = fmt.Errorf("%w: it is not known who asks", ErrDenied)

// ErrRange says that a range begins behind the object's last byte.
var ErrRange = errors.New("range begins behind the end of the object")

// ErrKey says that a key is not one that every driver can keep; see CheckKey.
var ErrKey = errors.New("invalid object key")

// Bucket is an object store's bucket, below a prefix. All methods may be
// called concurrently; the context's end cancels the request. Methods do not
// retry beyond a driver's own connection-level attempts: callers own policy.
// Errors are of type *Error and wrap one of the sentinels above where it applies.
type Bucket interface {
	// Put stores size bytes of body under key. body is an io.ReaderAt so that
	// an attempt can be repeated without buffering. Either the whole object
	// becomes visible or none of it. An error leaves open which: the request
	// may have been carried out although its answer was lost. Some S3 servers
	// (versitygw 1.8) even keep the beginning of an upload that was cut off. So
	// only what a Put succeeded with may be named to readers, and a key whose Put
	// failed is not used again.
	Put(ctx context.Context, key string, body io.ReaderAt, size int64) error
	// Get opens the bytes [off, off+n) of the object, fewer if it ends before.
	// n < 0 means to the end. A range that starts behind the last byte is
	// ErrRange, but for the empty range and for all (0, -1) of an empty object.
	// The caller closes the reader; ctx must live until then.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	// Head tells the object's size and modification time.
	Head(ctx context.Context, key string) (Info, error)
	// List calls f for every object whose key begins with prefix, in the order
	// of the keys' bytes, and stops at f's first error, returning it as it is.
	List(ctx context.Context, prefix string, f func(Info) error) error
	// Delete removes the object; removing what is not there is no error.
	Delete(ctx context.Context, key string) error
	// URL names the bucket to a person: "s3://name/prefix", "dir:/path".
	URL() string
	Close() error
}

// Info is what a listing tells of an object.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time // by the store's clock
}
