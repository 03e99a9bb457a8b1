package server

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

// diskFile is a file with a descriptor; memFile one without.
type diskFile struct{ *os.File }

func (f diskFile) Descriptor() (int, bool) { return int(f.Fd()), true }

type memFile struct{ *bytes.Reader }

func (memFile) Descriptor() (int, bool) { return 0, false }

func writeFile(t testing.TB, content []byte) diskFile {
	t.Helper()
	name := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return diskFile{f}
}

func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p)
	return p
}

// holds counts runs that are held.
type holds struct{ n atomic.Int64 }

// newHolds is made before the server is started: cleanups run last first, and it looks when the server has stopped.
func newHolds(t testing.TB) *holds {
	h := new(holds)
	t.Cleanup(func() {
		for end := time.Now().Add(patience); h.n.Load() != 0; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%d runs are still held", h.n.Load())
			}
		}
	})
	return h
}

type hold struct {
	of   *holds
	done atomic.Bool
}

func (h *holds) take() *hold { h.n.Add(1); return &hold{of: h} }

func (h *hold) Release() {
	if h.done.Swap(true) {
		panic("a run was released twice")
	}
	h.of.n.Add(-1)
}

// response is a Fetch response of the content's pieces as runs of all kinds.
func response(version int16, content []byte, disk diskFile, held *holds, pieces int) *wire.FetchResponse {
	topic := wire.FetchTopic{Topic: "topic"}
	at := 0
	for i := range pieces {
		n := (len(content) - at) / (pieces - i)
		run := batch.Run{Pos: int64(at), N: n, Hold: held.take()}
		switch i % 3 {
		case 0:
			run.File = disk
		case 1:
			run.Bytes = content[at : at+n]
		default:
			run.File = memFile{bytes.NewReader(content)}
		}
		topic.Partitions = append(topic.Partitions, wire.FetchPartition{Partition: int32(i), Records: run})
		at += n
	}
	return &wire.FetchResponse{Version: version, Topics: []wire.FetchTopic{topic}}
}

// records joins the records of an encoded response.
func records(t testing.TB, version int16, body []byte) []byte {
	t.Helper()
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(version)
	if resp.IsFlexible() {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			all = append(all, resp.Topics[i].Partitions[j].RecordBatches...)
		}
	}
	return all
}

// Runs of files, of memory, and of files without a descriptor arrive whole and in order, small or far larger than any
// socket buffer, whether answered by the reader or by another goroutine, and each is released once.
func TestFetchRuns(t *testing.T) {
	for _, size := range []int{1, 1000, 100_000, 20 << 20} {
		for _, inline := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d,inline=%v", size, inline), func(t *testing.T) {
				content := noise(size)
				disk := writeFile(t, content)
				held := newHolds(t)
				box := newInbox()
				_, addr := start(t, Config{}, handlerFunc(func(x *wire.Exchange) {
					if inline {
						x.Reply(wire.Reply{Fetch: response(x.Version, content, disk, held, 7)})
					} else {
						box.Handle(x)
					}
				}), nil)
				p := dial(t, addr)
				for i, version := range []int16{4, 11, 12} {
					p.send(fetch(version), int32(i))
					if !inline {
						x := box.next(t)
						x.Reply(wire.Reply{Fetch: response(x.Version, content, disk, held, 7)})
					}
					if id, body := p.receive(); id != int32(i) || !bytes.Equal(records(t, version, body), content) {
						t.Fatalf("v%d: answer %d differs", version, id)
					}
				}
				p.send(heartbeat(), 99) // behind the last release
				if !inline {
					answer(box.next(t))
				}
				p.nc.Close()
			})
		}
	}
}

// A connection that is not plain TCP gets the same bytes, copied.
func TestFetchRunsPortably(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	content := noise(3 << 20)
	disk := writeFile(t, content)
	held := newHolds(t)
	startOn(t, Config{Listeners: []Listener{{Name: "UNIX", Listener: l}}}, handlerFunc(func(x *wire.Exchange) {
		x.Reply(wire.Reply{Fetch: response(x.Version, content, disk, held, 5)})
	}), nil)
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, nc: nc}
	p.in = newReader(nc)
	for i := range int32(5) {
		p.send(fetch(11), i)
		if id, body := p.receive(); id != i || !bytes.Equal(records(t, 11, body), content) {
			t.Fatalf("answer %d differs", id)
		}
	}
	nc.Close()
}

// Whoever answers never waits for a client that does not read: many times what a socket holds is answered by one goroutine,
// and all of it arrives once the client reads.
func TestReplyNeverBlocks(t *testing.T) {
	content := noise(4 << 20)
	disk := writeFile(t, content)
	held := newHolds(t)
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	const answers = 10
	for i := range int32(answers) {
		p.send(fetch(11), i)
	}
	for range answers {
		x := box.next(t)
		x.Reply(wire.Reply{Fetch: response(x.Version, content, disk, held, 3)}) // would hang
	}
	for i := range int32(answers) {
		if id, body := p.receive(); id != i || !bytes.Equal(records(t, 11, body), content) {
			t.Fatalf("answer %d differs", id)
		}
	}
	p.nc.Close()
}

// A file that ends before what was promised of it closes the connection: the client must not take the next answer for the
// rest of this one. Runs are released all the same.
func TestFetchTruncatedFile(t *testing.T) {
	disk := writeFile(t, noise(1000))
	held := newHolds(t)
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	p.send(fetch(11), 1)
	p.send(fetch(11), 2)
	x, y := box.next(t), box.next(t)
	gone := x.Client.Gone
	y.Reply(wire.Reply{Fetch: response(11, noise(10), disk, held, 1)})
	x.Reply(wire.Reply{Fetch: response(11, noise(5000), disk, held, 1)})
	await(t, "Gone", gone.Done())
	if got := p.closed(); len(got) > 1200 {
		t.Errorf("%d bytes arrive", len(got))
	}
}

// Clients that hang up at any moment leave nothing behind: no run, no frame, no byte of the budget.
func TestDisconnectsLeaveNothing(t *testing.T) {
	content := noise(1 << 20)
	disk := writeFile(t, content)
	held := newHolds(t)
	box := newInbox()
	t.Cleanup(func() { close(box.arrived) }) // when all is given back
	_, addr := start(t, Config{MaxPipelined: 8}, box, nil)
	go func() {
		for x := range box.arrived {
			if x.Key == 1 {
				x.Reply(wire.Reply{Fetch: response(x.Version, content, disk, held, 4)})
			} else {
				answer(x)
			}
		}
	}()
	r := rand.New(rand.NewPCG(1, 9))
	for range 100 {
		p := dial(t, addr)
		var out []byte
		for i := range int32(10) {
			if r.IntN(2) == 0 {
				out = append(out, encode(fetch(11), i)...)
			} else {
				out = append(out, encode(produce(r.IntN(2*chunkSize)), i)...)
			}
		}
		if _, err := p.nc.Write(out[:r.IntN(len(out))]); err != nil {
			t.Fatal(err)
		}
		switch r.IntN(3) {
		case 0: // as soon as answers come
			if err := p.nc.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.CopyN(io.Discard, p.nc, int64(r.IntN(2<<20)))
		case 1: // without a goodbye
			if err := p.nc.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
		}
		p.nc.Close()
	}
}
