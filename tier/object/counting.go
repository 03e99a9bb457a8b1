package object

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// Counts tells how many requests a bucket was asked for, and how many bytes
// went each way. A listing counts as one per call of List.
type Counts struct {
	Puts, Gets, Heads, Lists, Deletes int64
	Up, Down                          int64 // bytes of bodies
}

// Counting passes everything on and counts it.
type Counting struct {
	Bucket
	puts, gets, heads, lists, deletes, up, down atomic.Int64
	observer                                    Observer
}

// Observer hears of a request that has ended, a GET with its last byte, and how long that took. What its caller has given up, and a body that was
// closed before its end, it does not hear of. It is called from any goroutine, and must not block.
type Observer func(verb Verb, took time.Duration, err error)

// Observe installs the observer. Called before the first request.
func (c *Counting) Observe(o Observer) { c.observer = o }

func (c *Counting) ended(ctx context.Context, verb Verb, began time.Time, err error) {
	if c.observer != nil && (err == nil || ctx.Err() == nil) {
		c.observer(verb, time.Since(began), err)
	}
}

// NewCounting counts what goes to b.
func NewCounting(b Bucket) *Counting { return &Counting{Bucket: b} }

// Counts returns the counts so far.
func (c *Counting) Counts() Counts {
	return Counts{
		Puts: c.puts.Load(), Gets: c.gets.Load(), Heads: c.heads.Load(), Lists: c.lists.Load(), Deletes: c.deletes.Load(),
		Up: c.up.Load(), Down: c.down.Load(),
	}
}

func (c *Counting) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	c.puts.Add(1)
	began := time.Now()
	err := c.Bucket.Put(ctx, key, &countingReaderAt{body, &c.up}, size)
	c.ended(ctx, Put, began, err)
	return err
}

func (c *Counting) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c.gets.Add(1)
	began := time.Now()
	body, err := c.Bucket.Get(ctx, key, off, n)
	if err != nil {
		c.ended(ctx, Get, began, err)
		return nil, err
	}
	return &countingBody{ReadCloser: body, n: &c.down, ended: func(err error) { c.ended(ctx, Get, began, err) }}, nil
}

func (c *Counting) Head(ctx context.Context, key string) (Info, error) {
	c.heads.Add(1)
	began := time.Now()
	info, err := c.Bucket.Head(ctx, key)
	c.ended(ctx, Head, began, err)
	return info, err
}

func (c *Counting) List(ctx context.Context, prefix string, f func(Info) error) error {
	c.lists.Add(1)
	began := time.Now()
	var own error // of f, not of the bucket
	err := c.Bucket.List(ctx, prefix, func(i Info) error {
		own = f(i)
		return own
	})
	if own == nil {
		c.ended(ctx, List, began, err)
	}
	return err
}

func (c *Counting) Delete(ctx context.Context, key string) error {
	c.deletes.Add(1)
	began := time.Now()
	err := c.Bucket.Delete(ctx, key)
	c.ended(ctx, Delete, began, err)
	return err
}

type countingReaderAt struct {
	r io.ReaderAt
	n *atomic.Int64
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

type countingBody struct {
	io.ReadCloser
	n     *atomic.Int64
	ended func(error) // nil once it was called
}

func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	if err != nil && c.ended != nil {
		if errors.Is(err, io.EOF) {
			c.ended(nil)
		} else {
			c.ended(err)
		}
		c.ended = nil
	}
	return n, err
}
