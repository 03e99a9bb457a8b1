package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/broker/secure"
)

// Config is the port's settings.
type Config struct {
	Listen       string   // HOST:PORT
	AllowedHosts []string // names besides the machine's own
	PProf        bool
	TLS          *secure.Identity // nil: HTTP
}

// Server is the admin port. Listen, then Run.
type Server struct {
	cfg      Config
	backend  Backend
	metrics  http.Handler
	log      *slog.Logger
	listener net.Listener
}

// New returns a server; metrics may be nil.
func New(cfg Config, b Backend, metrics http.Handler, log *slog.Logger) *Server {
	return &Server{cfg: cfg, backend: b, metrics: metrics, log: log}
}

// Listen takes the address. Run serves it.
func (s *Server) Listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	s.listener = l
	return nil
}

// Addr is the address after Listen.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Limits of the port: what it is asked is short.
const (
	maxHeaderBytes = 32 << 10
	maxBodyBytes   = 64 << 10
	readTimeout    = 10 * time.Second
	writeTimeout   = 2 * time.Minute // profiles and sweeps take their time
	idleTimeout    = 2 * time.Minute
	stopTimeout    = 3 * time.Second
)

// Run serves until ctx ends, then lets requests under way finish for a moment.
func (s *Server) Run(ctx context.Context) error {
	said := hush.New(s.log)
	defer said.Flush()
	bound := newConnections(maxConnections, said)
	server := &http.Server{
		Handler:           bound.answered(s.Handler()),
		ConnState:         bound.went,
		ConnContext:       bound.came,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(complaints{said}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	failed := make(chan error, 1)
	go func() {
		if s.cfg.TLS == nil {
			failed <- server.Serve(s.listener)
			return
		}
		server.TLSConfig = s.cfg.TLS.ServerConfig()
		failed <- server.ServeTLS(s.listener, "", "")
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("admin listener: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return server.Close() // those still at it are cut off
	}
	return nil
}

// Close gives the address back when Run was never called.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close admin listener: %w", err)
	}
	return nil
}

// route is one thing the port answers.
type route struct{ method, path, what string }

// Handler is the whole port.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	var list []route
	add := func(method, path, what string, h http.HandlerFunc) {
		list = append(list, route{method, path, what})
		mux.HandleFunc(method+" "+path, h)
	}
	s.routes(add)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.index(w, r, list) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("nothing is served at %s %s; see /", r.Method, r.URL.Path))
	})
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, errors.New("requests from other sites' pages are refused"))
	}))
	return s.guard(sameOrigin.Handler(mux))
}

func (s *Server) routes(add func(method, path, what string, h http.HandlerFunc)) {
	add("GET", "/livez", "200 while the process works", s.health(s.backend.Live))
	add("GET", "/readyz", "200 while clients are served as they should be, else 503 and why", s.health(s.backend.Ready))
	if s.metrics != nil {
		add("GET", "/metrics", "metrics for Prometheus", s.metrics.ServeHTTP)
	}
	add("GET", "/v1/status", "who this broker is", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.backend.Status()) })
	s.clusterRoutes(add)
	add("GET", "/v1/storage", "hot and cold ranges of partitions; ?topic=NAME for one topic", s.storage)
	add("GET", "/v1/tier", "uploads, backlog and errors of the bucket", s.tier)
	add("POST", "/v1/tier/sweep", "delete objects that no partition names; ?dry_run=true&grace=24h&force=true", s.sweep)
	add("GET", "/v1/scrub", "how far the checks of local segments are", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.backend.Scrub()) })
	add("POST", "/v1/scrub", "check closed local segments now; ?topic=NAME for one topic", s.scrub)
	if s.cfg.PProf {
		add("GET", "/debug/pprof/", "profiles", pprof.Index)
		add("GET", "/debug/pprof/cmdline", "command line", pprof.Cmdline)
		add("GET", "/debug/pprof/profile", "CPU profile; ?seconds=30", pprof.Profile)
		add("GET", "/debug/pprof/symbol", "symbols", pprof.Symbol)
		add("GET", "/debug/pprof/trace", "execution trace; ?seconds=1", pprof.Trace)
	}
}

func (s *Server) health(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			fail(w, http.StatusServiceUnavailable, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		write(w, []byte("ok\n"))
	}
}

func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
	list, err := s.backend.Storage(r.Context(), r.URL.Query().Get("topic"))
	if err != nil {
		failAs(w, err)
		return
	}
	if list == nil {
		list = []TopicStorage{}
	}
	reply(w, list)
}

func (s *Server) tier(w http.ResponseWriter, r *http.Request) {
	t, err := s.backend.Tier(r.Context())
	if err != nil {
		failAs(w, err)
		return
	}
	reply(w, t)
}

// scrub reads whole disks, and may take as long as that takes.
func (s *Server) scrub(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		failAs(w, err)
		return
	}
	report, err := s.backend.ScrubNow(r.Context(), r.URL.Query().Get("topic"))
	if err != nil {
		failAs(w, err)
		return
	}
	reply(w, report)
}

func (s *Server) sweep(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var how HowToSweep
	var err error
	if v := q.Get("grace"); v != "" {
		if how.Grace, err = time.ParseDuration(v); err != nil || how.Grace <= 0 {
			fail(w, http.StatusBadRequest, fmt.Errorf("grace: %q is no duration above zero, such as 24h", v))
			return
		}
	}
	for name, to := range map[string]*bool{"dry_run": &how.DryRun, "force": &how.Force} {
		if v := q.Get(name); v != "" {
			if *to, err = strconv.ParseBool(v); err != nil {
				fail(w, http.StatusBadRequest, fmt.Errorf("%s: %q is neither true nor false", name, v))
				return
			}
		}
	}
	report, err := s.backend.Sweep(r.Context(), how)
	if err != nil {
		failAs(w, err)
		return
	}
	reply(w, report)
}

// index lists what is here, for people and for programs.
func (s *Server) index(w http.ResponseWriter, r *http.Request, list []route) {
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		out := make([]map[string]string, 0, len(list))
		for _, e := range list {
			out = append(out, map[string]string{"method": e.method, "path": e.path, "what": e.what})
		}
		reply(w, out)
		return
	}
	st := s.backend.Status()
	var b strings.Builder
	fmt.Fprintf(&b, "Qanat %s, broker %d of cluster %s: admin port\n\n", st.Version, st.NodeID, st.ClusterID)
	for _, e := range list {
		fmt.Fprintf(&b, "%-5s %-22s %s\n", e.method, e.path, e.what)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	write(w, []byte(b.String()))
}

func reply(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	write(w, append(text, '\n'))
}

func failAs(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		fail(w, http.StatusNotFound, err)
	case errors.Is(err, ErrNoBucket), errors.Is(err, ErrRefused):
		fail(w, http.StatusConflict, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		fail(w, http.StatusServiceUnavailable, err)
	default:
		fail(w, http.StatusInternalServerError, err)
	}
}

func fail(w http.ResponseWriter, code int, err error) {
	text, encodeErr := json.Marshal(Failure{Error: err.Error()})
	if encodeErr != nil {
		panic("console: a string does not encode: " + encodeErr.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	write(w, append(text, '\n'))
}

// write sends a body. When it cannot be sent the client is gone, and there is nobody to tell.
func write(w http.ResponseWriter, p []byte) { _, _ = w.Write(p) }
