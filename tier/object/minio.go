package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Minio is a bucket of an S3-compatible store, through minio-go, for stores
// that the AWS SDK's newer habits break. Each Put is one PutObject.
type Minio struct {
	location
	core      *minio.Core
	transport *http.Transport
	// anonymous: no credentials were found; requests go out unsigned.
	creds *credentials.Credentials
}

func openMinio(l location) (*Minio, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	tune(transport)
	b := &Minio{location: l, transport: transport, creds: credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.EnvMinio{},
		&credentials.FileAWSCredentials{},
		&credentials.FileMinioClient{},
		// Asked last: where there is no metadata service it answers late. Bounded for that.
		&credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
	})}
	if b.region == "" && !strings.HasSuffix(b.endpoint.Hostname(), ".amazonaws.com") {
		b.region = "us-east-1" // else a request would ask the store first, which may not know the question
	}
	lookup := minio.BucketLookupDNS
	if b.path(true) {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(b.endpoint.Host, &minio.Options{
		Creds:        b.creds,
		Secure:       b.endpoint.Scheme == "https",
		Transport:    transport,
		Region:       b.region,
		BucketLookup: lookup,
		MaxRetries:   1, // callers own the policy of retries
	})
	if err != nil {
		return nil, &Error{Op: "open", Bucket: l.url(), Err: err}
	}
	b.core = core
	return b, nil
}

func (b *Minio) fail(op, key string, err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return b.failure(op, key, "", 0, err)
	}
	wrapped := b.failure(op, key, answer.Code, answer.StatusCode, err)
	if e := (*Error)(nil); errors.As(wrapped, &e) && errors.Is(e, ErrDenied) {
		if value, credErr := b.creds.GetWithContext(nil); credErr == nil && value.SignerType.IsAnonymous() {
			e.Err = fmt.Errorf("no credentials found: %w: %w", ErrCredentials, err)
			e.Remedy = noCredentials
		}
	}
	return wrapped
}

func (b *Minio) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := checkPut(key, size); err != nil {
		return b.fail("put", key, err)
	}
	_, err := b.core.Client.PutObject(ctx, b.bucket, b.full(key), io.NewSectionReader(body, 0, size), size, minio.PutObjectOptions{
		DisableMultipart:     true,
		DisableContentSha256: !b.signPayload,
		ContentType:          "application/octet-stream",
	})
	if err != nil {
		return b.fail("put", key, err)
	}
	return nil
}

func (b *Minio) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := errors.Join(CheckKey(key), checkRange(off)); err != nil {
		return nil, b.fail("get", key, err)
	}
	if n == 0 {
		return getNothing(ctx, b, key, off)
	}
	var opts minio.GetObjectOptions
	ranged := off > 0 || n > 0
	if ranged {
		opts.Set("Range", httpRange(off, n))
	}
	body, _, header, err := b.core.GetObject(ctx, b.bucket, b.full(key), opts)
	if err != nil {
		return nil, b.fail("get", key, err)
	}
	if ranged && header.Get("Content-Range") == "" {
		return nil, errors.Join(b.fail("get", key, errNotRanged), body.Close())
	}
	return body, nil
}

func (b *Minio) Head(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, b.fail("head", key, err)
	}
	info, err := b.core.StatObject(ctx, b.bucket, b.full(key), minio.StatObjectOptions{})
	if err != nil {
		return Info{}, missing(ctx, b, b.fail("head", key, err))
	}
	return Info{Key: key, Size: info.Size, Modified: info.LastModified}, nil
}

func (b *Minio) List(ctx context.Context, prefix string, f func(Info) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing when f does
	for o := range b.core.Client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.listPrefix(prefix), Recursive: true}) {
		if o.Err != nil {
			return b.fail("list", prefix, o.Err)
		}
		key := b.key(o.Key)
		if CheckKey(key) != nil {
			continue // not written through this package
		}
		if err := f(Info{Key: key, Size: o.Size, Modified: o.LastModified}); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return b.fail("list", prefix, err)
	}
	return nil
}

func (b *Minio) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return b.fail("delete", key, err)
	}
	if err := b.core.RemoveObject(ctx, b.bucket, b.full(key), minio.RemoveObjectOptions{}); err != nil {
		if err = b.fail("delete", key, err); errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	return nil
}

// URL is minio://NAME/PREFIX.
func (b *Minio) URL() string { return b.url() }

// Close closes idle connections.
func (b *Minio) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}
