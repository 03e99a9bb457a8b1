package harness

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is what an S3Proxy does to the requests that reach it.
type Fault int

// The faults. Those that alter answers alter whole objects' GETs only, not listings.
const (
	Healthy    Fault = iota
	Unreached        // the connection is cut before a request is read
	SlowDown         // 503 SlowDown
	Slow             // each request waits a while, then bodies trickle
	Hanging          // nothing comes back until the fault ends
	LostAnswer       // the request is carried out, its answer lost
	CorruptGet       // bytes of GET bodies are flipped
	ShortGet         // GET bodies end early
	Emptied          // no object is there
)

func (f Fault) String() string {
	return [...]string{"healthy", "unreachable", "503 SlowDown", "slow", "hanging", "success after timeout", "corrupt bodies", "truncated bodies", "emptied"}[f]
}

// S3Proxy stands before a real S3 server and breaks what passes.
type S3Proxy struct {
	Endpoint string // http://HOST:PORT, for the broker

	upstream string
	server   *http.Server
	fault    atomic.Int32
	hits     atomic.Int64 // requests that met the present fault
	puts     atomic.Int64 // requests of each kind, faults or not
	gets     atomic.Int64
	others   atomic.Int64

	mu    sync.Mutex
	ended chan struct{} // closed when the present fault ends
}

// NewS3Proxy starts a proxy before the server at upstream, a base URL.
func NewS3Proxy(upstream string) (*S3Proxy, error) { return NewS3ProxyAt("127.0.0.1:0", upstream) }

// NewS3ProxyAt is NewS3Proxy at an address of the caller's choice.
func NewS3ProxyAt(address, upstream string) (*S3Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &S3Proxy{Endpoint: "http://" + l.Addr().String(), upstream: strings.TrimPrefix(upstream, "http://"), ended: make(chan struct{})}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(l) }()
	return p, nil
}

// Close ends the proxy and all that passes through it.
func (p *S3Proxy) Close() error {
	p.Set(Healthy)
	return p.server.Close()
}

// Set begins a fault and ends the one before it.
func (p *S3Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault.Store(int32(f))
	p.hits.Store(0)
	close(p.ended)
	p.ended = make(chan struct{})
}

// Hits counts the requests that the present fault has met.
func (p *S3Proxy) Hits() int64 { return p.hits.Load() }

// Requests counts what has come since the proxy was made: PUTs, GETs of objects, and all others, listings for example.
func (p *S3Proxy) Requests() (puts, gets, others int64) {
	return p.puts.Load(), p.gets.Load(), p.others.Load()
}

func (p *S3Proxy) present() (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Fault(p.fault.Load()), p.ended
}

// ServeHTTP passes one request on, or breaks it.
func (p *S3Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, ended := p.present()
	object := r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "" && !r.URL.Query().Has("location")
	switch {
	case object:
		p.gets.Add(1)
	case r.Method == http.MethodPut:
		p.puts.Add(1)
	default:
		p.others.Add(1)
	}
	switch fault {
	case Unreached:
		p.hits.Add(1)
		panic(http.ErrAbortHandler)
	case SlowDown:
		p.hits.Add(1)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message><RequestId>1</RequestId></Error>`)
		return
	case Emptied:
		if !object && r.Method != http.MethodHead {
			break
		}
		p.hits.Add(1)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><RequestId>1</RequestId></Error>`)
		return
	case Hanging:
		p.hits.Add(1)
		select {
		case <-ended:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case Slow:
		p.hits.Add(1)
		wait(r.Context(), ended, 300*time.Millisecond)
	}
	resp, err := p.forward(r)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	if fault == LostAnswer {
		p.hits.Add(1)
		_, _ = io.Copy(io.Discard, resp.Body)
		panic(http.ErrAbortHandler)
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	if object && resp.StatusCode/100 == 2 && (fault == CorruptGet || fault == ShortGet) {
		p.hits.Add(1)
		p.spoil(w, resp, fault)
		return
	}
	if fault == Slow {
		_ = trickle(r.Context(), ended, w, resp.Body)
		return
	}
	_, _ = io.Copy(w, resp.Body)
}

// forward sends the request on as it was signed: same host, same headers, same raw path.
func (p *S3Proxy) forward(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = "http", p.upstream
	out.Host = r.Host
	return http.DefaultTransport.RoundTrip(out)
}

// spoil sends a body of the right length with every 1,000th byte flipped, or half of one.
func (p *S3Proxy) spoil(w http.ResponseWriter, resp *http.Response, fault Fault) {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if fault == ShortGet {
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	for i := 0; i < len(body); i += 1000 {
		body[i] ^= 0x40
	}
	_, _ = w.Write(body)
}

// wait returns after d, or when the fault or the request has ended.
func wait(ctx context.Context, ended <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
	}
}

// trickle copies 64 KiB at a time with a pause after each.
func trickle(ctx context.Context, ended <-chan struct{}, w io.Writer, body io.Reader) error {
	for {
		n, err := io.CopyN(w, body, 64<<10)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errors.Join(err, errors.New("after "+strconv.FormatInt(n, 10)+" bytes"))
		}
		wait(ctx, ended, 20*time.Millisecond)
	}
}
