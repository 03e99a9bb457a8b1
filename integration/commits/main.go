// Commits measures offset commits through the metadata quorum: many standalone groups commit, each on its own, as consumers with their own assignment do.
//
//	make bench-cluster                           three nodes on this machine; this program comes last
//	go run ./integration/commits -brokers HOST:PORT,… -seconds 8 -in-flight 1024
//
// First as fast as the cluster answers (-in-flight requests at once over all connections), then evenly, at half of the rate
// reached or at -rate, where the latencies count. A commit is one request for one partition (-partitions for more in one, as a consumer of many sends).
// One JSON line each.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

type options struct {
	brokers    string
	seconds    int
	inFlight   int
	conns      int
	partitions int
	rate       float64
}

func (o *options) topic() string { return fmt.Sprintf("commits-%d", o.partitions) }

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "addresses, comma separated")
	flag.IntVar(&o.seconds, "seconds", 8, "of each measurement")
	flag.IntVar(&o.inFlight, "in-flight", 1024, "requests without an answer, over all connections")
	flag.IntVar(&o.conns, "connections", 16, "to each coordinator")
	flag.IntVar(&o.partitions, "partitions", 1, "in each commit")
	flag.Float64Var(&o.rate, "rate", 0, "requests/s in the second measurement (default: half of what the first reached)")
	flag.Parse()
	if err := run(context.Background(), &o); err != nil {
		fmt.Fprintln(os.Stderr, "commits:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	lanes, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	for _, l := range lanes {
		defer l.nc.Close()
	}
	// Once to warm up, unmeasured.
	if _, err := measure(o, lanes, 0, 2*time.Second); err != nil {
		return err
	}
	most, err := measure(o, lanes, 0, time.Duration(o.seconds)*time.Second)
	if err != nil {
		return err
	}
	if err := tell("most", o, most); err != nil {
		return err
	}
	rate := o.rate
	if rate == 0 {
		rate = most.rate / 2
	}
	even, err := measure(o, lanes, rate, time.Duration(o.seconds)*time.Second)
	if err != nil {
		return err
	}
	return tell("even", o, even)
}

func tell(mode string, o *options, r result) error {
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"mode": mode, "partitions": o.partitions, "requests_s": int(r.rate), "offsets_s": int(r.rate) * o.partitions,
		"p50_ms": r.at(0.5), "p99_ms": r.at(0.99), "p999_ms": r.at(0.999),
	})
}

// lane is a connection to the coordinator of its group.
type lane struct {
	nc      net.Conn
	request []byte         // a frame; the correlation id and the offsets are written into it
	offsets []int          // where the offsets lie
	sent    []atomic.Int64 // when each was due, by number
	next    uint32
	answer  []byte // that all have, checked once
}

const correlationAt = 8

func prepare(ctx context.Context, o *options) ([]*lane, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, int32(o.partitions), -1, nil, o.topic()); err != nil && err != kerr.TopicAlreadyExists {
		return nil, err
	}
	nodes, err := adm.ListBrokers(ctx)
	if err != nil {
		return nil, err
	}
	var lanes []*lane
	lanesOf := map[int32]int{}
	for i := 0; len(lanes) < o.conns*len(nodes); i++ {
		if i == 100*o.conns*len(nodes) {
			return nil, fmt.Errorf("the groups' coordinators are too few: %v", lanesOf)
		}
		group := fmt.Sprintf("commits-%d", i)
		at := adm.FindGroupCoordinators(ctx, group)[group]
		if at.Err != nil {
			return nil, at.Err
		}
		if lanesOf[at.NodeID] == o.conns {
			continue
		}
		nc, err := net.Dial("tcp", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))))
		if err != nil {
			return nil, err
		}
		lanesOf[at.NodeID]++
		lanes = append(lanes, newLane(nc, group, o))
	}
	return lanes, nil
}

// mark is an offset that no other part of a request looks like.
const mark = 0x5af3_107a_4001_7b9d

func newLane(nc net.Conn, group string, o *options) *lane {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group = 8, group
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = o.topic()
	for i := range o.partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = int32(i), mark
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	l := &lane{nc: nc, request: kmsg.NewRequestFormatter(kmsg.FormatterClientID("commits")).AppendRequest(nil, req, 0)}
	for i := 0; i+8 <= len(l.request); i++ {
		if binary.BigEndian.Uint64(l.request[i:]) == mark {
			l.offsets = append(l.offsets, i)
		}
	}
	l.sent = make([]atomic.Int64, 1<<16)
	return l
}

type result struct {
	rate float64
	took []time.Duration // sorted
}

func (r result) at(q float64) float64 {
	if len(r.took) == 0 {
		return 0
	}
	return float64(r.took[min(int(q*float64(len(r.took))), len(r.took)-1)].Microseconds()) / 1000
}

// measure sends for a while: evenly at a rate, or, with rate 0, as soon as answers leave room.
func measure(o *options, lanes []*lane, rate float64, d time.Duration) (result, error) {
	var (
		g    errgroup.Group
		mu   sync.Mutex
		took []time.Duration
	)
	window := max(o.inFlight/len(lanes), 1)
	begin := time.Now()
	for i, l := range lanes {
		every := time.Duration(0)
		if rate > 0 {
			every = time.Duration(float64(len(lanes)) / rate * float64(time.Second))
		}
		room := make(chan struct{}, window)
		var last atomic.Int64 // the number of the last request, once it is known
		last.Store(-1)
		g.Go(func() error {
			return l.send(begin.Add(every*time.Duration(i)/time.Duration(len(lanes))), every, begin.Add(d), room, &last)
		})
		g.Go(func() error {
			mine, err := l.receive(room, &last)
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
			return err
		})
	}
	err := g.Wait()
	all := time.Since(begin)
	slices.Sort(took)
	return result{rate: float64(len(took)) / all.Seconds(), took: took}, err
}

// send writes requests until the end; the last is announced before it is sent. What is due is written in one write.
func (l *lane) send(due time.Time, every time.Duration, until time.Time, room chan struct{}, last *atomic.Int64) error {
	out := bufio.NewWriterSize(l.nc, 64<<10)
	for over := false; !over; due = due.Add(every) {
		if every == 0 {
			due = time.Now()
		}
		if wait := time.Until(due); wait > 0 || len(room) == cap(room) {
			if err := out.Flush(); err != nil {
				return err
			}
			time.Sleep(wait)
		}
		room <- struct{}{}
		if over = !time.Now().Before(until); over {
			last.Store(int64(l.next))
		}
		binary.BigEndian.PutUint32(l.request[correlationAt:], l.next)
		for _, at := range l.offsets {
			binary.BigEndian.PutUint64(l.request[at:], uint64(l.next))
		}
		// From when it was due: a request that could not be sent in time has waited, too.
		l.sent[l.next%uint32(len(l.sent))].Store(due.UnixNano())
		l.next++
		if _, err := out.Write(l.request); err != nil {
			return err
		}
	}
	return out.Flush()
}

// receive reads the answers up to the last one.
func (l *lane) receive(room chan struct{}, last *atomic.Int64) ([]time.Duration, error) {
	in := bufio.NewReaderSize(l.nc, 64<<10)
	var took []time.Duration
	var head [8]byte
	body := make([]byte, 64<<10)
	if err := l.nc.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return took, err
		}
		answer := body[:binary.BigEndian.Uint32(head[:4])-4]
		if _, err := io.ReadFull(in, answer); err != nil {
			return took, err
		}
		if !bytes.Equal(answer, l.answer) {
			if err := refusal(answer); err != nil {
				return took, err
			}
			l.answer = bytes.Clone(answer)
		}
		number := binary.BigEndian.Uint32(head[4:])
		took = append(took, time.Since(time.Unix(0, l.sent[number%uint32(len(l.sent))].Load())))
		<-room
		if int64(number) == last.Load() {
			return took, nil
		}
	}
}

func refusal(body []byte) error {
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = 8
	if err := resp.ReadFrom(body[1:]); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return fmt.Errorf("commit of partition %d: %w", p.Partition, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	}
	return nil
}
