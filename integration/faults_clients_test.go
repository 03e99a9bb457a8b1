package integration

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Thousands of connections that do nothing, and some that send a byte at a time, would starve a client that works.
func TestIdleAndSlowConnections(t *testing.T) {
	many := 5000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < uint64(many)+500 {
		many = int(limit.Cur) - 500
		t.Logf("only %d connections: this process may open %d files", many, limit.Cur)
	}
	b := startBroker(t)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", b.Listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for range many {
		dial()
	}
	request := kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	answered := make(chan error, 50)
	for range cap(answered) {
		conn := dial()
		go func() { answered <- slowly(ctx, conn, request) }()
	}
	createTopic(t, b, "beside", 2)
	l := newLoad(t, b, "beside", 2, 1)
	l.send(5000)
	l.verify(b)
	for range cap(answered) {
		if err := <-answered; err != nil {
			t.Errorf("a slow client has no answer: %v", err)
		}
	}
}

// slowly sends a request a byte at a time and waits for the answer.
func slowly(ctx context.Context, conn net.Conn, request []byte) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for i := range request {
		if _, err := conn.Write(request[i : i+1]); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:])))
	return err
}

// A client that asks and never reads would fill the broker's memory, or hold up others and the stop.
func TestClientThatNeverReads(t *testing.T) {
	b := startBroker(t)
	createTopic(t, b, "unread", 1)
	l := newLoad(t, b, "unread", 1, 1)
	l.send(5000)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.ReplicaID, fetch.MaxBytes, fetch.SessionEpoch = 4, -1, 50<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "unread"
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.PartitionMaxBytes = 50 << 20
	topic.Partitions = append(topic.Partitions, partition)
	fetch.Topics = append(fetch.Topics, topic)
	request := kmsg.NewRequestFormatter().AppendRequest(nil, fetch, 1)
	for range 20 {
		conn, err := net.Dial("tcp", b.Listen)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		// More than the broker takes of one connection while answers wait.
		if err := conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for range 5000 {
			if _, err := conn.Write(request); err != nil {
				break // it takes no more, which is right
			}
		}
	}
	l.send(500)
	l.verify(b)
	if err := b.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	restart(t, b)
	l.verify(b)
}
