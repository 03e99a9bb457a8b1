package server

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

// acker answers Produce requests, as a broker does with all that is between left out: at once, or in groups from one
// goroutine, as after a flush.
type acker struct{ flush chan *wire.Exchange }

func (a *acker) Handle(x *wire.Exchange) {
	if a.flush != nil {
		a.flush <- x
		return
	}
	ack(x)
}

func ack(x *wire.Exchange) {
	req := x.Request.(*kmsg.ProduceRequest)
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = x.Version
	resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	for i := range req.Topics {
		resp.Topics[i].Topic = req.Topics[i].Topic
		resp.Topics[i].Partitions = make([]kmsg.ProduceResponseTopicPartition, len(req.Topics[i].Partitions))
	}
	x.Reply(wire.Reply{Message: resp})
}

// benchProduce sends requests from 32 connections, one in flight each.
func benchProduce(b *testing.B, records int, h wire.Handler) {
	_, addr := start(b, Config{}, h, nil)
	const conns = 32
	request := encode(produce(records), 1)
	b.SetBytes(int64(len(request)))
	b.ReportAllocs()
	var turns sync.WaitGroup
	var clients []net.Conn
	for range conns {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		clients = append(clients, nc)
	}
	b.ResetTimer()
	before := cpu()
	for i, nc := range clients {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		turns.Go(func() {
			var buf [256]byte
			for range n {
				if _, err := nc.Write(request); err != nil {
					b.Error(err)
					return
				}
				if _, err := nc.Read(buf[:]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	turns.Wait()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op") // of both ends
}

func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkProduceSmall(b *testing.B) { benchProduce(b, 1100, &acker{}) }

func BenchmarkProduceSmallFlushed(b *testing.B) {
	a := &acker{flush: make(chan *wire.Exchange, 100)}
	go func() {
		for x := range a.flush {
			ack(x)
		}
	}()
	benchProduce(b, 1100, a)
	close(a.flush)
}

func BenchmarkProduce1MiB(b *testing.B) { benchProduce(b, 1<<20, &acker{}) }

// A fetch of 1 MiB out of a file, by one connection.
func BenchmarkFetchFile(b *testing.B) {
	const size = 1 << 20
	disk := writeFile(b, noise(size))
	_, addr := start(b, Config{}, handlerFunc(func(x *wire.Exchange) {
		f := &wire.FetchResponse{Version: x.Version, Topics: []wire.FetchTopic{{Topic: "topic",
			Partitions: []wire.FetchPartition{{Records: batch.Run{File: disk, N: size}}}}}}
		x.Reply(wire.Reply{Fetch: f})
	}), nil)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	request := encode(fetch(11), 1)
	buf := make([]byte, size+1000)
	b.SetBytes(size)
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, buf[:4]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, buf[:binary.BigEndian.Uint32(buf)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}
