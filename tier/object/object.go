package object

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrNotFound says that no object has the key.
var ErrNotFound = errors.New("object not found")

// ErrThrottled says that the store asks for patience (503 SlowDown, 429); it
// is wrapped by the driver's error and wants back-off with jitter.
var ErrThrottled = errors.New("object store asks to slow down")

// Bucket is an object store's bucket, below a prefix. All methods may be
// called concurrently; the context's end cancels the request. Methods do not
// retry beyond a driver's own connection-level attempts: callers own policy.
type Bucket interface {
	// Put stores size bytes of body under key. body is an io.ReaderAt so that
	// an attempt can be repeated without buffering. Either the whole object
	// becomes visible or none of it.
	Put(ctx context.Context, key string, body io.ReaderAt, size int64) error
	// Get opens the bytes [off, off+n) of the object. n < 0 means to the end. A
	// range that starts beyond the end is an error. The caller closes the reader.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	// Head tells the object's size and modification time.
	Head(ctx context.Context, key string) (Info, error)
	// List calls f for every object whose key begins with prefix, in key
	// order, and stops at f's first error, returning it.
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
	Modified time.Time
}
