package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/tier/object"
)

// relayed measures the relay with the same consumer.
func (w *world) relayed(_ context.Context, topic string, objects []remoteObject) error {
	c, spent, err := w.relayTo(topic, objects, false)
	if err != nil {
		return err
	}
	gib := float64(c.Bytes) / (1 << 30)
	return print("relay", topic, map[string]float64{"mb_s": float64(c.Bytes) / 1e6 / c.Seconds, "cpu_s_gib": spent.Seconds() / gib})
}

// relayTo consumes everything from a relay, and tells what processor time that took the relay.
func (w *world) relayTo(topic string, objects []remoteObject, nice bool) (consumed, time.Duration, error) {
	var c consumed
	address, err := harness.FreeAddress()
	if err != nil {
		return c, 0, err
	}
	list := make([]string, 0, 5*len(objects))
	for _, o := range objects {
		list = append(list, o.key, fmt.Sprint(o.size), fmt.Sprint(o.partition), fmt.Sprint(o.base), fmt.Sprint(o.next))
	}
	cmd := self(false, append([]string{"relay", address, w.broker.Bucket, topic}, list...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return c, 0, err
	}
	if err := cmd.Start(); err != nil {
		return c, 0, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens
		return c, 0, fmt.Errorf("relay ended: %w", cmd.Wait())
	}
	c, err = consumeElsewhere(address, topic, objects, nice)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	return c, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
}

// relaying is one relay: a Kafka broker that knows four requests, one topic, and readers that begin at 0 and go on.
type relaying struct {
	topic string
	host  string
	port  int32

	mu    sync.Mutex
	news  sync.Cond
	parts map[int32][]piece // got, in order, not yet passed on
}

// piece is whole batches of a partition.
type piece struct {
	bytes []byte
	base  int64
	in    *[headroom + rangeBytes]byte // to be used again once bytes were sent
}

// relay is the relaying child.
func relay(ctx context.Context, address, bucket string, args []string) error {
	b, err := object.Open(bucket)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(address)
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	r := &relaying{topic: args[0], host: host, port: int32(number), parts: map[int32][]piece{}}
	r.news.L = &r.mu
	history := map[int32][]remoteObject{}
	for a := args[1:]; len(a) >= 5; a = a[5:] {
		o := remoteObject{key: a[0]}
		if _, err := fmt.Sscan(strings.Join(a[1:5], " "), &o.size, &o.partition, &o.base, &o.next); err != nil {
			return err
		}
		history[o.partition] = append(history[o.partition], o)
		r.parts[o.partition] = nil
	}
	slots := make(chan struct{}, gets)
	depth := max(gets/len(history), 1)
	for partition, objects := range history {
		go r.get(ctx, b, slots, depth, partition, objects)
	}
	fmt.Println("listening")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := r.serve(conn); err != nil && err != io.EOF {
				fmt.Fprintln(os.Stderr, "relay:", err)
			}
		}()
	}
}

// headroom is left before each range for the batch that the one before it did not have the end of.
const headroom = 2 << 20

// got is a range: the last bytes of buf, which is in.
type got struct {
	in  *[headroom + rangeBytes]byte
	buf []byte
}

// get gets a partition's objects, depth ranges ahead, and cuts them into pieces.
func (r *relaying) get(ctx context.Context, b object.Bucket, slots chan struct{}, depth int, partition int32, objects []remoteObject) {
	ranges := make(chan chan got, depth)
	go func() {
		for _, o := range objects {
			for from := int64(0); from < o.size; from += rangeBytes {
				done := make(chan got, 1)
				ranges <- done
				go func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					in := pool.Get().(*[headroom + rangeBytes]byte)
					buf := in[:headroom+min(rangeBytes, o.size-from)]
					body, err := b.Get(ctx, o.key, from, int64(len(buf))-headroom)
					if err == nil {
						_, err = io.ReadFull(body, buf[headroom:])
						_ = body.Close()
					}
					if err != nil {
						fmt.Fprintln(os.Stderr, "relay: get:", err)
						os.Exit(1)
					}
					done <- got{in, buf}
				}()
			}
		}
	}()
	var rest []byte
	for next := int64(0); ; {
		g := <-<-ranges
		p := g.buf[headroom-len(rest):]
		copy(p, rest)
		base, end := next, 0
		// Batches that continue at next; a footer does not.
		for len(p)-end >= 61 && p[end+16] == 2 && int64(binary.BigEndian.Uint64(p[end:])) == next {
			size := 12 + int(binary.BigEndian.Uint32(p[end+8:]))
			if end+size > len(p) {
				break
			}
			next += int64(binary.BigEndian.Uint32(p[end+23:])) + 1
			end += size
		}
		rest = append(rest[:0], p[end:]...)
		if len(rest) >= 17 && (rest[16] != 2 || int64(binary.BigEndian.Uint64(rest)) != next) {
			rest = rest[:0]
		}
		r.mu.Lock()
		for len(r.parts[partition]) >= depth {
			r.news.Wait()
		}
		r.parts[partition] = append(r.parts[partition], piece{p[:end], base, g.in})
		r.news.Broadcast()
		r.mu.Unlock()
	}
}

var pool = sync.Pool{New: func() any { return new([headroom + rangeBytes]byte) }}

// serve answers one connection's requests.
func (r *relaying) serve(conn net.Conn) error {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return err
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, frame); err != nil {
			return err
		}
		key, version, correlation := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:])), frame[4:8]
		client := int(int16(binary.BigEndian.Uint16(frame[8:])))
		body := frame[10+max(client, 0):]
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if key != 18 { // v3 has a flexible header; nothing in it matters
			if err := req.ReadFrom(body); err != nil {
				return err
			}
		}
		out := net.Buffers{append([]byte{0, 0, 0, 0}, correlation...)}
		var sent []piece
		if f, ok := req.(*kmsg.FetchRequest); ok {
			out, sent = r.fetch(f, out)
		} else {
			out[0] = r.answer(req).AppendTo(out[0])
		}
		n := 0
		for _, b := range out {
			n += len(b)
		}
		binary.BigEndian.PutUint32(out[0], uint32(n-4))
		if _, err := out.WriteTo(conn); err != nil {
			return err
		}
		for _, p := range sent {
			pool.Put(p.in)
		}
	}
}

// answer answers all but Fetch.
func (r *relaying) answer(req kmsg.Request) kmsg.Response {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		resp.Version = 0
		if req.GetVersion() > 2 {
			resp.ErrorCode = 35 // UNSUPPORTED_VERSION: ask again with 0
		}
		for _, k := range [][3]int16{{1, 4, 11}, {2, 1, 5}, {3, 1, 8}, {18, 0, 2}} {
			a := kmsg.NewApiVersionsResponseApiKey()
			a.ApiKey, a.MinVersion, a.MaxVersion = k[0], k[1], k[2]
			resp.ApiKeys = append(resp.ApiKeys, a)
		}
		if req.GetVersion() <= 2 {
			resp.Version = req.GetVersion()
		}
	case *kmsg.MetadataResponse:
		me := kmsg.NewMetadataResponseBroker()
		me.NodeID, me.Host, me.Port = 1, r.host, r.port
		resp.Brokers, resp.ControllerID = append(resp.Brokers, me), 1
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = &r.topic
		for i := range r.parts {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.Replicas, p.ISR = i, 1, []int32{1}, []int32{1}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	case *kmsg.ListOffsetsResponse:
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = r.topic
		for i := range r.parts {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = i, 0, -1
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// fetch answers a fetch of v4 to v11 with what is there of the partitions that it asks for, and waits until there is something.
func (r *relaying) fetch(req *kmsg.FetchRequest, out net.Buffers) (net.Buffers, []piece) {
	var found []piece
	var of []int32
	deadline := time.Now().Add(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	timer := time.AfterFunc(time.Until(deadline), r.news.Broadcast)
	defer timer.Stop()
	r.mu.Lock()
	for {
		sum := 0
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				ready := r.parts[p.Partition]
				if len(ready) > 0 && ready[0].base == p.FetchOffset && sum+len(ready[0].bytes) <= 50<<20 {
					found, of = append(found, ready[0]), append(of, p.Partition)
					sum += len(ready[0].bytes)
					r.parts[p.Partition] = ready[1:]
				}
			}
		}
		if len(found) > 0 || !time.Now().Before(deadline) {
			break
		}
		r.news.Wait()
	}
	r.news.Broadcast()
	r.mu.Unlock()

	head := append(out[0], 0, 0, 0, 0) // throttled for
	if req.Version >= 7 {
		head = append(head, 0, 0, 0, 0, 0, 0) // no error, no session
	}
	head = binary.BigEndian.AppendUint32(head, 1)
	head = binary.BigEndian.AppendUint16(head, uint16(len(r.topic)))
	head = append(head, r.topic...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(found)))
	out = out[:0]
	for i, f := range found {
		head = binary.BigEndian.AppendUint32(head, uint32(of[i]))
		head = binary.BigEndian.AppendUint16(head, 0)
		head = binary.BigEndian.AppendUint64(head, 1<<60) // high watermark
		head = binary.BigEndian.AppendUint64(head, 1<<60) // last stable offset
		if req.Version >= 5 {
			head = binary.BigEndian.AppendUint64(head, 0)
		}
		head = binary.BigEndian.AppendUint32(head, 0xffffffff) // no list of aborted transactions
		if req.Version >= 11 {
			head = binary.BigEndian.AppendUint32(head, 0xffffffff)
		}
		head = binary.BigEndian.AppendUint32(head, uint32(len(f.bytes)))
		out = append(out, head, f.bytes)
		head = nil
	}
	if head != nil {
		out = append(out, head)
	}
	return out, found
}
