package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3 is a bucket of S3, through aws-sdk-go-v2. Each Put is one PutObject: its
// size is limited by S3 to 5 GiB.
type S3 struct {
	location
	client *s3.Client
	// custom: not AWS but something that speaks its language, through an endpoint of the URL or the environment.
	custom bool
	close  func()
}

// maxSinglePut is S3's limit for an object that comes in one request.
const maxSinglePut = 5 << 30

func openS3(ctx context.Context, l location) (*S3, error) {
	var transport *http.Transport
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { tune(t); transport = t })
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(client),
		// Callers own the policy of retries: one attempt is one request.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	)
	if err != nil {
		return nil, &Error{Op: "open", Bucket: l.url(), Err: err, Remedy: "check the AWS configuration files and environment"}
	}
	b := &S3{location: l, close: func() {
		if transport != nil {
			transport.CloseIdleConnections()
		}
	}}
	b.client = s3.NewFromConfig(cfg, b.configure)
	if b.client.Options().Region == "" {
		return nil, &Error{Op: "open", Bucket: l.url(), Err: errors.New("no region"), Remedy: "set region= or AWS_REGION to the bucket's region"}
	}
	return b, nil
}

func (b *S3) configure(o *s3.Options) {
	if b.endpoint != nil {
		o.BaseEndpoint = aws.String(b.endpoint.String())
	}
	b.custom = o.BaseEndpoint != nil
	if b.region != "" {
		o.Region = b.region
	}
	o.UsePathStyle = b.path(b.custom)
	o.DisableLogOutputChecksumValidationSkipped = true
	if b.custom {
		// Many stores know neither trailing checksums nor 100-continue. Segments carry CRCs of their own.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.ContinueHeaderThresholdBytes = -1
		if o.Region == "" {
			o.Region = "us-east-1" // what stores without regions take for theirs
		}
	}
}

// unsigned leaves the payload out of the signature: hashing it with SHA-256
// costs more CPU than all the rest of an upload. With AWS itself the SDK's
// trailing checksum takes its place.
func (b *S3) unsigned(o *s3.Options) {
	if b.custom && !b.signPayload {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
}

func (b *S3) fail(op, key string, err error) error {
	var code string
	var status int
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	if strings.Contains(err.Error(), "failed to retrieve credentials") || strings.Contains(err.Error(), "get identity: get credentials") {
		return &Error{Op: op, Bucket: b.URL(), Key: key, Err: fmt.Errorf("%w: %w", ErrCredentials, err), Remedy: noCredentials}
	}
	return b.failure(op, key, code, status, err)
}

func (b *S3) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := checkPut(key, size); err != nil {
		return b.fail("put", key, err)
	}
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:        &b.bucket,
		Key:           aws.String(b.full(key)),
		Body:          io.NewSectionReader(body, 0, size),
		ContentLength: &size,
	}, b.unsigned)
	if err != nil {
		return b.fail("put", key, err)
	}
	return nil
}

func checkPut(key string, size int64) error {
	if size < 0 || size > maxSinglePut {
		return fmt.Errorf("object of %d bytes: want at most %d", size, int64(maxSinglePut))
	}
	return CheckKey(key)
}

func (b *S3) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := errors.Join(CheckKey(key), checkRange(off)); err != nil {
		return nil, b.fail("get", key, err)
	}
	if n == 0 {
		return getNothing(ctx, b, key, off)
	}
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: aws.String(b.full(key))}
	ranged := off > 0 || n > 0
	if ranged {
		in.Range = aws.String(httpRange(off, n))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, b.fail("get", key, err)
	}
	if ranged && aws.ToString(out.ContentRange) == "" {
		return nil, errors.Join(b.fail("get", key, errNotRanged), out.Body.Close())
	}
	return out.Body, nil
}

var errNotRanged = errors.New("the store answered a range with the whole object")

// httpRange is the Range header of [off, off+n), n < 0 for the end.
func httpRange(off, n int64) string {
	if n < 0 {
		return fmt.Sprintf("bytes=%d-", off)
	}
	return fmt.Sprintf("bytes=%d-%d", off, off+n-1)
}

// getNothing is Get for an empty range, which HTTP cannot express.
func getNothing(ctx context.Context, b Bucket, key string, off int64) (io.ReadCloser, error) {
	info, err := b.Head(ctx, key)
	if err != nil {
		return nil, err
	}
	if _, err := cut(info.Size, off, 0); err != nil {
		return nil, &Error{Op: "get", Bucket: b.URL(), Key: key, Err: err}
	}
	return http.NoBody, nil
}

func (b *S3) Head(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, b.fail("head", key, err)
	}
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: aws.String(b.full(key))})
	if err != nil {
		return Info{}, missing(ctx, b, b.fail("head", key, err))
	}
	return Info{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

// missing tells a missing bucket from a missing object after a HEAD, whose
// answer has no body to say which.
func missing(ctx context.Context, b Bucket, err error) error {
	if errors.Is(err, ErrNotFound) {
		if bucketErr := Check(ctx, b); errors.Is(bucketErr, ErrNoBucket) {
			return bucketErr
		}
	}
	return err
}

func (b *S3) List(ctx context.Context, prefix string, f func(Info) error) error {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{
		Bucket: &b.bucket,
		Prefix: aws.String(b.listPrefix(prefix)),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return b.fail("list", prefix, err)
		}
		for i := range page.Contents {
			o := &page.Contents[i]
			key := b.key(aws.ToString(o.Key))
			if CheckKey(key) != nil {
				continue // not written through this package (a console's "folder", say)
			}
			if err := f(Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// listPrefix is full for a prefix of keys, which may be empty.
func (l *location) listPrefix(prefix string) string {
	if l.prefix == "" {
		return prefix
	}
	return l.prefix + "/" + prefix
}

func (b *S3) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return b.fail("delete", key, err)
	}
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: aws.String(b.full(key))})
	if err != nil {
		if err = b.fail("delete", key, err); errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	return nil
}

// URL is s3://NAME/PREFIX.
func (b *S3) URL() string { return b.url() }

// Close closes idle connections.
func (b *S3) Close() error {
	b.close()
	return nil
}
