package objecttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/object"
)

// Run runs the acceptance test. open opens a bucket under test; it is called
// once, and what is in the bucket besides the test's own keys is left alone.
func Run(t *testing.T, open func(t *testing.T) object.Bucket) {
	run(t, open, false)
}

// RunRemote is Run for a store whose server may keep the beginning of an
// upload that was cut off, as some do: it must only not be taken for whole.
func RunRemote(t *testing.T, open func(t *testing.T) object.Bucket) {
	run(t, open, true)
}

func run(t *testing.T, open func(t *testing.T) object.Bucket, keepsPieces bool) {
	b := open(t)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	// Every run has a prefix of its own: S3 servers live longer than tests.
	s := &suite{b: b, prefix: "objecttest-" + rand.Text(), keepsPieces: keepsPieces}
	t.Cleanup(func() { s.clean(t) })
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"PutGet", s.putGet},
		{"Ranges", s.ranges},
		{"Empty", s.empty},
		{"NotFound", s.notFound},
		{"Delete", s.delete},
		{"List", s.list},
		{"ListManyPages", s.listManyPages},
		{"ListStops", s.listStops},
		{"Keys", s.keys},
		{"Replace", s.replace},
		{"FailedPutLeavesNothing", s.failedPut},
		{"CancelledPutLeavesNothing", s.cancelledPut},
		{"CancelledGet", s.cancelledGet},
		{"OneReadOfTheBody", s.oneRead},
		{"Concurrent", s.concurrent},
		{"Check", s.check},
	} {
		t.Run(c.name, c.test)
	}
}

type suite struct {
	b      object.Bucket
	prefix string
	// keepsPieces: the server stores what it got of an upload that was cut off.
	keepsPieces bool
}

func (s *suite) key(name string) string { return s.prefix + "/" + name }

func (s *suite) clean(t *testing.T) {
	ctx := context.Background()
	var keys []string
	if err := s.b.List(ctx, s.prefix, func(i object.Info) error { keys = append(keys, i.Key); return nil }); err != nil {
		t.Errorf("list what is left: %v", err)
	}
	for _, k := range keys {
		if err := s.b.Delete(ctx, k); err != nil {
			t.Errorf("clean up: %v", err)
		}
	}
}

// pattern is n bytes that differ everywhere and do not compress.
func pattern(n int) []byte {
	p := make([]byte, n)
	r := mathrand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	r.Read(p)
	return p
}

func (s *suite) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := s.b.Put(t.Context(), s.key(name), bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) get(t *testing.T, name string, off, n int64) []byte {
	t.Helper()
	body, err := s.b.Get(t.Context(), s.key(name), off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return data
}

func (s *suite) names(t *testing.T, prefix string) []string {
	t.Helper()
	var names []string
	err := s.b.List(t.Context(), s.key(prefix), func(i object.Info) error {
		names = append(names, strings.TrimPrefix(i.Key, s.prefix+"/"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// False if: an object does not come back byte for byte, or Head and List tell another size.
func (s *suite) putGet(t *testing.T) {
	before := time.Now().Add(-5 * time.Minute) // a store's clock may differ
	for _, size := range []int{1, 4095, 1 << 20, 9<<20 + 17} {
		name := fmt.Sprintf("putget/%d", size)
		data := pattern(size)
		s.put(t, name, data)
		if got := s.get(t, name, 0, -1); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back as %d (crc %x, want %x)", size, len(got), crc32.ChecksumIEEE(got), crc32.ChecksumIEEE(data))
		}
		info, err := s.b.Head(t.Context(), s.key(name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Key != s.key(name) || info.Size != int64(size) || info.Modified.Before(before) || info.Modified.After(time.Now().Add(5*time.Minute)) {
			t.Fatalf("head says %+v of %d bytes", info, size)
		}
	}
}

// False if: a range is not exactly its bytes, or one behind the end is no ErrRange.
func (s *suite) ranges(t *testing.T) {
	data := pattern(1000)
	s.put(t, "ranges", data)
	for _, c := range []struct{ off, n, end int64 }{
		{0, -1, 1000}, {0, 1, 1}, {0, 1000, 1000}, {0, 5000, 1000}, {1, 998, 999}, {999, 1, 1000}, {999, -1, 1000},
		{500, -1, 1000}, {500, 501, 1000}, {0, 0, 0}, {1000, 0, 1000}, {17, 0, 17},
	} {
		if got := s.get(t, "ranges", c.off, c.n); !bytes.Equal(got, data[c.off:c.end]) {
			t.Errorf("range %d+%d: %d bytes, want %d", c.off, c.n, len(got), c.end-c.off)
		}
	}
	for _, c := range []struct{ off, n int64 }{{1000, -1}, {1000, 1}, {1001, 0}, {5000, 10}, {-1, 10}} {
		body, err := s.b.Get(t.Context(), s.key("ranges"), c.off, c.n)
		if err == nil {
			body.Close()
		}
		if !errors.Is(err, object.ErrRange) {
			t.Errorf("range %d+%d: %v, want ErrRange", c.off, c.n, err)
		}
	}
}

// False if: an object of no bytes is not an object.
func (s *suite) empty(t *testing.T) {
	s.put(t, "empty", nil)
	if got := s.get(t, "empty", 0, -1); len(got) != 0 {
		t.Fatalf("%d bytes of nothing", len(got))
	}
	if got := s.get(t, "empty", 0, 0); len(got) != 0 {
		t.Fatalf("%d bytes of nothing", len(got))
	}
	if info, err := s.b.Head(t.Context(), s.key("empty")); err != nil || info.Size != 0 {
		t.Fatalf("head: %+v, %v", info, err)
	}
	if names := s.names(t, "empty"); len(names) != 1 {
		t.Fatalf("listed as %v", names)
	}
}

// False if: what is not there is not told by ErrNotFound, with bucket and key.
func (s *suite) notFound(t *testing.T) {
	s.put(t, "there/is/one", pattern(3))
	for _, name := range []string{"nothing", "there/is", "there/is/one-not", "there/is/one.not/this"} {
		key := s.key(name)
		_, err := s.b.Get(t.Context(), key, 0, -1)
		_, headErr := s.b.Head(t.Context(), key)
		_, emptyErr := s.b.Get(t.Context(), key, 0, 0)
		for verb, err := range map[string]error{"get": err, "head": headErr, "get nothing": emptyErr} {
			if !errors.Is(err, object.ErrNotFound) {
				t.Errorf("%s %s: %v, want ErrNotFound", verb, name, err)
				continue
			}
			if !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), s.b.URL()) {
				t.Errorf("%s: error names not both bucket and key: %v", verb, err)
			}
		}
	}
}

// False if: a deleted object can be seen, or deleting what is not there fails, or takes others along.
func (s *suite) delete(t *testing.T) {
	s.put(t, "delete/a/1", pattern(3))
	s.put(t, "delete/a/2", pattern(3))
	for range 2 {
		for _, name := range []string{"delete/a/1", "delete/a", "delete/never/was"} {
			if err := s.b.Delete(t.Context(), s.key(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.b.Head(t.Context(), s.key("delete/a/1")); !errors.Is(err, object.ErrNotFound) {
		t.Fatalf("deleted: %v", err)
	}
	if names := s.names(t, "delete/"); !slices.Equal(names, []string{"delete/a/2"}) {
		t.Fatalf("left: %v", names)
	}
	if err := s.b.Delete(t.Context(), s.key("delete/a/2")); err != nil {
		t.Fatal(err)
	}
	s.put(t, "delete/a/2", pattern(4))
	if got := s.get(t, "delete/a/2", 0, -1); len(got) != 4 {
		t.Fatalf("put again: %d bytes", len(got))
	}
}

// False if: a listing is not all keys of the prefix, in the order of their bytes, with their sizes.
func (s *suite) list(t *testing.T) {
	names := []string{"list/a", "list/a-b", "list/a.b/1", "list/b/0", "list/b/1/x", "list/b-1", "list/b.1", "list/b0", "list/B", "list/ü", "list/~"}
	for i, name := range names {
		s.put(t, name, pattern(i))
	}
	sorted := slices.Sorted(slices.Values(names))
	for _, prefix := range []string{"list/", "list/a", "list/b", "list/b/", "list/b/1", "list/b/1/x", "list/b/1/xy", "list/c", "list/a.b/1/", "lis"} {
		var want []string
		for _, name := range sorted {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		if got := s.names(t, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %v, want %v", prefix, got, want)
		}
	}
	err := s.b.List(t.Context(), s.key("list/"), func(i object.Info) error {
		if want := slices.Index(names, strings.TrimPrefix(i.Key, s.prefix+"/")); i.Size != int64(want) || i.Modified.IsZero() {
			t.Errorf("listed %+v, want size %d", i, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// False if: a listing ends with its first page.
func (s *suite) listManyPages(t *testing.T) {
	const n = 1100 // S3 lists 1000 a page
	var group sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		group.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				if err := s.b.Put(t.Context(), s.key(fmt.Sprintf("pages/%05d", i)), strings.NewReader("x"), 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	got := s.names(t, "pages/")
	if len(got) != n || !slices.IsSorted(got) {
		t.Fatalf("%d names, sorted: %v", len(got), slices.IsSorted(got))
	}
	for i := range n {
		if want := fmt.Sprintf("pages/%05d", i+1); got[i] != want {
			t.Fatalf("name %d is %s, want %s", i, got[i], want)
		}
	}
}

// False if: a listing goes on after its function failed, or hides that error.
func (s *suite) listStops(t *testing.T) {
	for i := range 5 {
		s.put(t, fmt.Sprintf("stops/%d", i), nil)
	}
	stop := errors.New("enough")
	calls := 0
	err := s.b.List(t.Context(), s.key("stops/"), func(object.Info) error {
		calls++
		if calls == 2 {
			return stop
		}
		return nil
	})
	if err != stop || calls != 2 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.b.List(cancelled, s.key("stops/"), func(object.Info) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
}

// False if: a key that one driver cannot keep is taken by another, or any leads out of the bucket.
func (s *suite) keys(t *testing.T) {
	bad := []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "./a", "a\x00b", "a\nb", "a\\b", "a\xffb",
		strings.Repeat("a", 256), strings.Repeat("a/", 500) + "a", ".qanat-tmp/a"}
	for _, key := range bad {
		if err := s.b.Put(t.Context(), key, strings.NewReader("x"), 1); !errors.Is(err, object.ErrKey) {
			t.Errorf("put %q: %v, want ErrKey", key, err)
		}
		if _, err := s.b.Get(t.Context(), key, 0, -1); !errors.Is(err, object.ErrKey) {
			t.Errorf("get %q: %v, want ErrKey", key, err)
		}
		if _, err := s.b.Head(t.Context(), key); !errors.Is(err, object.ErrKey) {
			t.Errorf("head %q: %v, want ErrKey", key, err)
		}
		if err := s.b.Delete(t.Context(), key); !errors.Is(err, object.ErrKey) {
			t.Errorf("delete %q: %v, want ErrKey", key, err)
		}
	}
	for i, name := range []string{"keys/a b", "keys/a+b", "keys/100%", "keys/a%2Fb", "keys/ü/☃", "keys/?x=1&y#z", "keys/" + strings.Repeat("k", 200), "keys/-._~!$'()*,;=:@"} {
		s.put(t, name, pattern(i+1))
		if got := s.get(t, name, 0, -1); len(got) != i+1 {
			t.Errorf("%q: %d bytes, want %d", name, len(got), i+1)
		}
		if names := s.names(t, name); !slices.Equal(names, []string{name}) {
			t.Errorf("%q listed as %q", name, names)
		}
	}
}

// False if: a second Put to a key mixes with the first.
func (s *suite) replace(t *testing.T) {
	s.put(t, "replace", pattern(5000))
	s.put(t, "replace", pattern(7))
	if got := s.get(t, "replace", 0, -1); !bytes.Equal(got, pattern(7)) {
		t.Fatalf("%d bytes", len(got))
	}
}

// nothingWhole checks that failed uploads of so many bytes left nothing, or nothing that looks whole.
func (s *suite) nothingWhole(t *testing.T, prefix string, size int64) {
	t.Helper()
	err := s.b.List(t.Context(), s.key(prefix), func(i object.Info) error {
		if !s.keepsPieces || i.Size >= size {
			t.Errorf("left behind: %+v", i)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

type failingReader struct {
	after int64
	err   error
}

func (f failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.after {
		return 0, f.err
	}
	return len(p), nil
}

// False if: an upload whose source fails or is too short leaves an object, or a temporary one, behind.
func (s *suite) failedPut(t *testing.T) {
	const size = 3 << 20
	cause := errors.New("disk fell out")
	for name, body := range map[string]io.ReaderAt{
		"failing": failingReader{2 << 20, cause},
		"short":   bytes.NewReader(pattern(2 << 20)),
	} {
		if err := s.b.Put(t.Context(), s.key("failed/"+name), body, size); err == nil {
			t.Errorf("%s: put succeeded", name)
		} else if name == "failing" && !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("%s: error hides the cause: %v", name, err)
		}
	}
	s.nothingWhole(t, "failed/", size)
}

// cancellingReader cancels a context in the middle of being read.
type cancellingReader struct {
	cancel func()
	at     int64
}

func (c cancellingReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.at {
		c.cancel()
	}
	return len(p), nil
}

// False if: a cancelled upload goes on, or leaves an object behind.
func (s *suite) cancelledPut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.b.Put(ctx, s.key("cancelled/a"), cancellingReader{cancel, 4 << 20}, 64<<20)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the middle: %v", err)
	}
	if err := s.b.Put(ctx, s.key("cancelled/b"), bytes.NewReader(nil), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	s.nothingWhole(t, "cancelled/", 64<<20)
}

// False if: a download goes on after its context ended.
func (s *suite) cancelledGet(t *testing.T) {
	s.put(t, "cancelget", pattern(16<<20))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, err := s.b.Get(ctx, s.key("cancelget"), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, 1<<10); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, body); !errors.Is(err, context.Canceled) {
		t.Fatalf("read %d bytes more, %v", n, err)
	}
	if _, err := s.b.Get(ctx, s.key("cancelget"), 0, 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("get after: %v", err)
	}
}

// False if: a driver reads the body more than once (to hash or to buffer it), or needs memory for all of it.
func (s *suite) oneRead(t *testing.T) {
	c := object.NewCounting(s.b)
	data := pattern(8 << 20)
	if err := c.Put(t.Context(), s.key("oneread"), bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if n := c.Counts(); n.Up != int64(len(data)) || n.Puts != 1 {
		t.Fatalf("read %d bytes for an object of %d in %d puts", n.Up, len(data), n.Puts)
	}
}

// False if: requests that run at the same time disturb each other.
func (s *suite) concurrent(t *testing.T) {
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 5 {
				data := pattern(10_000 + g*1000 + i)
				key := s.key(fmt.Sprintf("concurrent/%d/%d", g, i))
				if err := s.b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
					t.Error(err)
					return
				}
				body, err := s.b.Get(t.Context(), key, 100, 9000)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(body)
				body.Close()
				if err != nil || !bytes.Equal(got, data[100:9100]) {
					t.Errorf("%s: %d bytes, %v", key, len(got), err)
				}
				if i%2 == 1 {
					if err := s.b.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	if names := s.names(t, "concurrent/"); len(names) != 8*3 {
		t.Errorf("%d objects left, want %d", len(names), 8*3)
	}
}

// False if: a bucket that works does not pass its own check, or the check leaves something behind.
func (s *suite) check(t *testing.T) {
	if err := object.Check(t.Context(), s.b); err != nil {
		t.Error(err)
	}
	if err := object.Probe(t.Context(), s.b); err != nil {
		t.Error(err)
	}
	err := s.b.List(t.Context(), "probe/", func(i object.Info) error { return fmt.Errorf("left %s", i.Key) })
	if err != nil {
		t.Error(err)
	}
}
