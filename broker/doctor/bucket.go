package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/qanat-io/qanat/tier/object"
)

// rights are what a broker does with a bucket, with the names that AWS has for the permission.
var rights = map[object.Verb]string{
	object.Put: "s3:PutObject", object.Get: "s3:GetObject", object.Head: "s3:GetObject", object.List: "s3:ListBucket", object.Delete: "s3:DeleteObject",
}

// clockTolerance is how far this machine's clock may be from the store's, which tells whole seconds: requests are signed with
// the time, and retention goes by it.
const clockTolerance = 10 * time.Second

// Bucket puts, heads, gets, lists and deletes an object of its own, and tells which of it is not allowed. What the first request shows that all
// others would meet as well is told once.
func Bucket(ctx context.Context, b object.Bucket, now func() time.Time) []Finding {
	const check = "bucket"
	var list []Finding
	began := time.Now()
	try := func(verb object.Verb, err error) bool {
		if err == nil {
			return true
		}
		list = append(list, refused(check, verb, err))
		return false
	}
	const prefix = "probe/"
	key := prefix + rand.Text()
	seen := false
	listErr := b.List(ctx, prefix, func(object.Info) error { return nil })
	listed := try(object.List, listErr)
	if errors.Is(listErr, object.ErrCredentials) || errors.Is(listErr, object.ErrNoBucket) || unreached(listErr) {
		return list
	}
	putErr := b.Put(ctx, key, strings.NewReader(key), int64(len(key)))
	put := try(object.Put, putErr)
	if !put && !errors.Is(putErr, object.ErrDenied) {
		_ = b.Delete(ctx, key) // it may have been carried out all the same
	}
	if put {
		if info, err := b.Head(ctx, key); try(object.Head, err) {
			list = append(list, clock(info.Modified, now()))
		}
		try(object.Get, readBack(ctx, b, key))
		if listed {
			err := b.List(ctx, key, func(i object.Info) error { seen = seen || i.Key == key; return nil })
			if err == nil && !seen {
				err = errors.New("what was just put is not in the listing")
			}
			try(object.List, err)
		}
		if err := b.Delete(ctx, key); err != nil {
			list = append(list, refused(check, object.Delete, fmt.Errorf("%w (the object %s stays there)", err, key)))
		}
	}
	if Problems(list) == 0 {
		list = append([]Finding{ok(check, "%s: put, head, get, list and delete work, in %s together", b.URL(), short(time.Since(began)))}, list...)
	}
	return list
}

func readBack(ctx context.Context, b object.Bucket, key string) error {
	body, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(body, int64(len(key))+1))
	if err = errors.Join(err, body.Close()); err == nil && string(text) != key {
		err = errors.New("what comes back is not what was put")
	}
	return err
}

// unreached tells whether a request has come to no store at all.
func unreached(err error) bool {
	var request *url.Error
	return errors.As(err, &request) || errors.Is(err, context.DeadlineExceeded)
}

// refused names the right that is missing, or what else it is that the store does not like.
func refused(check string, verb object.Verb, err error) Finding {
	name := check + " " + string(verb)
	var e *object.Error
	_ = errors.As(err, &e)
	switch {
	case errors.Is(err, object.ErrCredentials):
		remedy := "give the credentials of who may use the bucket"
		if e != nil && e.Remedy != "" {
			remedy = e.Remedy
		}
		return problem(check+" credentials", remedy+"; a broker that systemd starts has its environment from /etc/default/qanat, and doctor that of its shell", "%v", withoutRemedy(err))
	case errors.Is(err, object.ErrDenied):
		return problem(name, fmt.Sprintf("grant %s below the prefix (for S3; elsewhere what is the same there)", rights[verb]), "not allowed: %v", err)
	case errors.Is(err, object.ErrNoBucket):
		return problem(name, "create the bucket, or correct bucket.url", "%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return problem(name, "look at endpoint and region in bucket.url, and whether this machine reaches them (VPC endpoint, proxy, firewall)", "no answer: %v", err)
	case e != nil && e.Remedy != "":
		return problem(name, e.Remedy, "%v", withoutRemedy(err))
	}
	return problem(name, "look at bucket.url, and at the store", "%v", err)
}

// withoutRemedy is an error of a driver's without what it says to do, where that is said elsewhere.
func withoutRemedy(err error) error {
	if e, ok := err.(*object.Error); ok {
		bare := *e
		bare.Remedy = ""
		return &bare
	}
	return err
}

// clock compares this machine's clock with the store's.
func clock(theirs, ours time.Time) Finding {
	const check = "clock"
	off := ours.Sub(theirs)
	if off.Abs() <= clockTolerance {
		return ok(check, "within %s of the bucket's", clockTolerance)
	}
	word := "ahead of"
	if off < 0 {
		word = "behind"
	}
	return problem(check, "let chrony or systemd-timesyncd set it: retention and leases go by the clock, and a store refuses requests that are minutes off",
		"this machine is %s %s the bucket", off.Abs().Round(time.Second), word)
}
