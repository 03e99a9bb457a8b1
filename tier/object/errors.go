package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Error is what every method of a Bucket fails with: what was tried, where,
// on which object, why it failed, and what a person can do.
type Error struct {
	Op     string // put, get, head, list, delete, open
	Bucket string // Bucket.URL
	Key    string // or prefix, for list
	Remedy string // empty when there is nothing better than trying again
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Op, e.Bucket)
	if e.Key != "" {
		fmt.Fprintf(&b, " key %q", e.Key)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Remedy != "" {
		fmt.Fprintf(&b, " (%s)", e.Remedy)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// maxKey is S3's limit, minus room for a prefix.
const maxKey = 900

// CheckKey tells whether a key can be kept by every driver alike: at most 900
// bytes of UTF-8 without control characters and backslashes, in parts divided
// by single slashes, none of them "." or ".." or beginning with ".qanat-"
// (the directory driver's own). Its error wraps ErrKey.
func CheckKey(key string) error {
	bad := func(why string) error { return fmt.Errorf("%w %q: %s", ErrKey, key, why) }
	switch {
	case key == "":
		return bad("empty")
	case len(key) > maxKey:
		return bad(fmt.Sprintf("longer than %d bytes", maxKey))
	case !utf8.ValidString(key):
		return bad("not UTF-8")
	case strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }):
		return bad("contains a control character or a backslash")
	}
	for part := range strings.SplitSeq(key, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return bad("has an empty part, or one of dots")
		case strings.HasPrefix(part, ownPrefix):
			return bad("has a part that begins with " + ownPrefix)
		case len(part) > 255:
			return bad("has a part longer than 255 bytes")
		}
	}
	return nil
}

// ownPrefix begins the names that the directory driver keeps to itself.
const ownPrefix = ".qanat-"

// checkRange guards against arguments that are a caller's bug.
func checkRange(off int64) error {
	if off < 0 {
		return fmt.Errorf("%w: offset %d", ErrRange, off)
	}
	return nil
}

// cut returns how many bytes of an object of the given size the range
// [off, off+n) has; see Bucket.Get for which ranges are errors.
func cut(size, off, n int64) (int64, error) {
	if off > size || off == size && n != 0 && (off > 0 || n > 0) {
		return 0, fmt.Errorf("%w: %d of %d bytes", ErrRange, off, size)
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	return n, nil
}

// Check tells whether the bucket exists and can be listed with the
// credentials at hand. It is called before a broker starts to serve.
func Check(ctx context.Context, b Bucket) error {
	found := errors.New("found")
	if err := b.List(ctx, "", func(Info) error { return found }); err != nil && !errors.Is(err, found) {
		return err
	}
	return nil
}

// Probe shows that the credentials can do all that a broker does: it puts,
// heads, gets and deletes a small object of its own.
func Probe(ctx context.Context, b Bucket) error {
	if err := Check(ctx, b); err != nil {
		return err
	}
	key := "probe/" + rand.Text()
	if err := b.Put(ctx, key, strings.NewReader(key), int64(len(key))); err != nil {
		return err
	}
	err := probeRead(ctx, b, key)
	return errors.Join(err, b.Delete(ctx, key))
}

func probeRead(ctx context.Context, b Bucket, key string) error {
	fail := func(format string, args ...any) error {
		return &Error{Op: "probe", Bucket: b.URL(), Key: key, Err: fmt.Errorf(format, args...)}
	}
	info, err := b.Head(ctx, key)
	if err != nil {
		return err
	}
	if info.Size != int64(len(key)) {
		return fail("stored %d bytes, size is %d", len(key), info.Size)
	}
	body, err := b.Get(ctx, key, 1, 3)
	if err != nil {
		return err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		return fail("read: %w", err)
	}
	if string(got) != key[1:4] {
		return fail("stored %q, read %q", key[1:4], got)
	}
	return nil
}
