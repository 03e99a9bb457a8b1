package console

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/hush"
)

// bounded serves h on a port that holds at most so many connections.
func bounded(t *testing.T, most int, h http.HandlerFunc) (address string, log *logged) {
	t.Helper()
	log = &logged{}
	said := hush.New(slog.New(slog.NewTextHandler(log, nil)))
	c := newConnections(most, said)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: c.answered(h), ConnState: c.went, ConnContext: c.came, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done; said.Flush() })
	return l.Addr().String(), log
}

type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// request sends a request on a connection and returns the status of its answer.
func request(c net.Conn) (int, error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return 0, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

// closed waits until the other side has closed a connection, and fails when it sends something.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("the connection is not closed")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatal("the connection stays open")
	}
}

// Whoever opens connections and asks nothing, or begins to, takes those of programs that do ask; or there are more than the bound.
func TestConnectionsAreBounded(t *testing.T) {
	address, log := bounded(t, 4, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	var silent []net.Conn
	for i := range 4 {
		c := dial(t, address)
		if i%2 == 1 { // of these a request is begun
			if _, err := io.WriteString(c, "GET / HT"); err != nil {
				t.Fatal(err)
			}
		}
		silent = append(silent, c)
	}
	for i := range 4 { // each that asks takes the place of the one that waited longest
		c := dial(t, address)
		if code, err := request(c); err != nil || code != http.StatusNoContent {
			t.Fatalf("request %d: %d, %v", i, code, err)
		}
		closed(t, silent[i])
	}
	if !strings.Contains(log.String(), "too many connections, the one that waited longest was closed") {
		t.Errorf("the log says %q", log)
	}
}

// A connection that is being answered is cut off for a new one, or the new one is not told anything; or the places are not given back.
func TestConnectionsThatAreAnsweredStay(t *testing.T) {
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	address, log := bounded(t, 2, func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-goOn })
	answers := make(chan error, 2)
	for range 2 {
		c := dial(t, address)
		go func() { _, err := request(c); answers <- err }()
		<-begun
	}
	closed(t, dial(t, address))
	if !strings.Contains(log.String(), "a new one was refused") {
		t.Errorf("the log says %q", log)
	}
	close(goOn)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("a request that was being answered: %v", err)
		}
	}
	if code, err := request(dial(t, address)); err != nil || code != http.StatusOK {
		t.Errorf("afterwards: %d, %v", code, err)
	}
}

// The port itself has no bound.
func TestPortIsBounded(t *testing.T) {
	s := New(Config{Listen: "127.0.0.1:0"}, &backend{}, nil, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	first := dial(t, s.Addr())
	for range maxConnections {
		dial(t, s.Addr())
	}
	closed(t, first)
	if code, err := request(dial(t, s.Addr())); err != nil || code != http.StatusOK {
		t.Errorf("%d, %v", code, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
