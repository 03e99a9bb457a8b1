package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"
)

// Mem is a bucket in memory, for tests and for trying things out. Its objects
// end with the process.
type Mem struct {
	clock func() time.Time

	mu      sync.RWMutex
	objects map[string]memObject
}

type memObject struct {
	data     []byte // never written after it was stored
	modified time.Time
}

// NewMem makes an empty bucket; clock stamps objects, time.Now when nil.
func NewMem(clock func() time.Time) *Mem {
	if clock == nil {
		clock = time.Now
	}
	return &Mem{clock: clock, objects: map[string]memObject{}}
}

func (m *Mem) fail(op, key string, err error) error {
	return &Error{Op: op, Bucket: m.URL(), Key: key, Err: err}
}

func (m *Mem) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := CheckKey(key); err != nil {
		return m.fail("put", key, err)
	}
	data := make([]byte, size)
	if n, err := io.ReadFull(&contextReader{ctx, io.NewSectionReader(body, 0, size)}, data); err != nil {
		return m.fail("put", key, fmt.Errorf("read body: %d of %d bytes: %w", n, size, err))
	}
	if err := ctx.Err(); err != nil {
		return m.fail("put", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[key] = memObject{data, m.clock()}
	return nil
}

func (m *Mem) lookup(ctx context.Context, op, key string) (memObject, error) {
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return memObject{}, m.fail(op, key, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[key]
	if !ok {
		return o, m.fail(op, key, ErrNotFound)
	}
	return o, nil
}

func (m *Mem) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(off); err != nil {
		return nil, m.fail("get", key, err)
	}
	o, err := m.lookup(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	n, err = cut(int64(len(o.data)), off, n)
	if err != nil {
		return nil, m.fail("get", key, err)
	}
	return io.NopCloser(&contextReader{ctx, bytes.NewReader(o.data[off : off+n])}), nil
}

func (m *Mem) Head(ctx context.Context, key string) (Info, error) {
	o, err := m.lookup(ctx, "head", key)
	if err != nil {
		return Info{}, err
	}
	return Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil
}

func (m *Mem) List(ctx context.Context, prefix string, f func(Info) error) error {
	m.mu.RLock()
	var infos []Info
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) {
			infos = append(infos, Info{Key: key, Size: int64(len(o.data)), Modified: o.modified})
		}
	}
	m.mu.RUnlock()
	sort.Slice(infos, func(i, j int) bool { return infos[i].Key < infos[j].Key })
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return m.fail("list", prefix, err)
		}
		if err := f(info); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return m.fail("delete", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

func (m *Mem) URL() string  { return "mem:" }
func (m *Mem) Close() error { return nil }

// contextReader stops reading when ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
