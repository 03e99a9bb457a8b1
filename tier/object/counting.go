package object

import (
	"context"
	"io"
	"sync/atomic"
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
	return c.Bucket.Put(ctx, key, &countingReaderAt{body, &c.up}, size)
}

func (c *Counting) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c.gets.Add(1)
	body, err := c.Bucket.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	return &countingBody{body, &c.down}, nil
}

func (c *Counting) Head(ctx context.Context, key string) (Info, error) {
	c.heads.Add(1)
	return c.Bucket.Head(ctx, key)
}

func (c *Counting) List(ctx context.Context, prefix string, f func(Info) error) error {
	c.lists.Add(1)
	return c.Bucket.List(ctx, prefix, f)
}

func (c *Counting) Delete(ctx context.Context, key string) error {
	c.deletes.Add(1)
	return c.Bucket.Delete(ctx, key)
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
	n *atomic.Int64
}

func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
