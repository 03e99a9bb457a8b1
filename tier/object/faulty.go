package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Verb names a method of Bucket, for faults.
type Verb string

// The five verbs, and Any for all of them.
const (
	Put    Verb = "put"
	Get    Verb = "get"
	Head   Verb = "head"
	List   Verb = "list"
	Delete Verb = "delete"
	Any    Verb = ""
)

// Fault is what goes wrong with one request. The first field that is set
// among Err, After and Hang decides; the others change the body.
type Fault struct {
	// Err is returned in place of the request, which is not made.
	Err error
	// After is returned although the request was carried out: a lost answer.
	After error
	// Hang waits, in place of the request, until its context ends.
	Hang bool

	// Of a body, coming or going: after Bytes bytes of it, it ...
	Stall    bool // ... gives nothing more until its context ends,
	Break    bool // ... ends with an error,
	Truncate bool // ... ends as if that were all (of a Get only),
	Corrupt  bool // ... has one bit of the next byte turned over (of a Get only).
	Bytes    int64
}

// Rule says which requests a fault strikes.
type Rule struct {
	Verb   Verb
	Prefix string                // of the key; empty for all
	Match  func(key string) bool // nil for all
	Skip   int                   // matching requests to let pass first
	Count  int                   // matching requests to strike then; 0 for all
	Fault  Fault
}

// ErrBroken is what a body ends with under Fault.Break.
var ErrBroken = errors.New("injected: connection broken")

// Faulty passes requests on to another bucket, except for those that a rule
// strikes. It counts all of them. For tests, of this package and of others.
type Faulty struct {
	*Counting

	mu    sync.Mutex
	rules []*rule
}

type rule struct {
	Rule
	seen int
}

// NewFaulty wraps b, without rules at first.
func NewFaulty(b Bucket) *Faulty { return &Faulty{Counting: NewCounting(b)} }

// Add adds a rule and returns a function that takes it away. Of the rules
// that match a request, the first added decides.
func (f *Faulty) Add(r Rule) (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := &rule{Rule: r}
	f.rules = append(f.rules, own)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.rules = slices.DeleteFunc(f.rules, func(o *rule) bool { return o == own })
	}
}

// Clear takes all rules away. Requests that hang go on hanging.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// strike finds the fault for a request; the zero Fault lets it pass.
func (f *Faulty) strike(v Verb, key string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.Verb != Any && r.Verb != v || !strings.HasPrefix(key, r.Prefix) || r.Match != nil && !r.Match(key) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || r.Count > 0 && r.seen > r.Skip+r.Count {
			continue
		}
		return r.Fault
	}
	return Fault{}
}

// do makes a request under a fault.
func (f *Faulty) do(ctx context.Context, fault Fault, v Verb, key string, request func() error) error {
	fail := func(err error) error { return &Error{Op: string(v), Bucket: f.URL(), Key: key, Err: err} }
	switch {
	case fault.Err != nil:
		return fail(fault.Err)
	case fault.After != nil:
		if err := request(); err != nil {
			return err
		}
		return fail(fault.After)
	case fault.Hang:
		<-ctx.Done()
		return fail(ctx.Err())
	}
	return request()
}

func (f *Faulty) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	fault := f.strike(Put, key)
	if fault.Err != nil || fault.Hang {
		f.puts.Add(1) // not passed on, but asked for
	}
	return f.do(ctx, fault, Put, key, func() error {
		if fault.Stall || fault.Break {
			body = &faultyReaderAt{ctx, body, fault}
		}
		return f.Counting.Put(ctx, key, body, size)
	})
}

func (f *Faulty) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, err error) {
	fault := f.strike(Get, key)
	if fault.Err != nil || fault.Hang {
		f.gets.Add(1)
	}
	err = f.do(ctx, fault, Get, key, func() error {
		body, err = f.Counting.Get(ctx, key, off, n)
		return err
	})
	if err != nil {
		if body != nil {
			err = errors.Join(err, body.Close())
		}
		return nil, err
	}
	if fault.Stall || fault.Break || fault.Truncate || fault.Corrupt {
		body = &faultyBody{ctx: ctx, ReadCloser: body, fault: fault, left: fault.Bytes}
	}
	return body, nil
}

func (f *Faulty) Head(ctx context.Context, key string) (info Info, err error) {
	err = f.do(ctx, f.strike(Head, key), Head, key, func() error {
		info, err = f.Counting.Head(ctx, key)
		return err
	})
	return info, err
}

func (f *Faulty) List(ctx context.Context, prefix string, each func(Info) error) error {
	return f.do(ctx, f.strike(List, prefix), List, prefix, func() error { return f.Counting.List(ctx, prefix, each) })
}

func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.do(ctx, f.strike(Delete, key), Delete, key, func() error { return f.Counting.Delete(ctx, key) })
}

// faultyReaderAt is a body that goes wrong from byte fault.Bytes on.
type faultyReaderAt struct {
	ctx   context.Context
	r     io.ReaderAt
	fault Fault
}

func (b *faultyReaderAt) ReadAt(p []byte, off int64) (int, error) {
	left := b.fault.Bytes - off
	if left >= int64(len(p)) {
		return b.r.ReadAt(p, off)
	}
	if left > 0 {
		if n, err := b.r.ReadAt(p[:left], off); err != nil {
			return n, err
		}
	}
	left = max(left, 0)
	if b.fault.Stall {
		<-b.ctx.Done()
		return int(left), fmt.Errorf("injected stall: %w", b.ctx.Err())
	}
	return int(left), ErrBroken
}

// faultyBody is a download that goes wrong after left more bytes.
type faultyBody struct {
	io.ReadCloser
	ctx   context.Context
	fault Fault
	left  int64
}

func (b *faultyBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.left > 0 {
		n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		return n, err
	}
	switch {
	case b.fault.Stall:
		<-b.ctx.Done()
		return 0, fmt.Errorf("injected stall: %w", b.ctx.Err())
	case b.fault.Break:
		return 0, ErrBroken
	case b.fault.Truncate:
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.fault.Corrupt {
		p[0] ^= 1 << 3
		b.fault.Corrupt = false
	}
	return n, err
}
