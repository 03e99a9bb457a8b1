package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/log"
)

// earlyMost is how many lines are kept from before it is known whose they are: a broker learns its cluster's id while it starts.
const earlyMost = 512

// logOutlet is where log lines leave besides the console.
type logOutlet struct {
	mu     sync.Mutex
	to     slog.Handler // nil: not yet, or not any more
	early  []earlyLine
	closed bool
}

type earlyLine struct {
	line  slog.Record
	steps []step
}

// step is what a logger was derived by: attributes, or a group.
type step struct {
	attrs []slog.Attr
	group string
}

// pushingHandler is the console's handler, and hands every line that it writes to the outlet too.
type pushingHandler struct {
	slog.Handler
	outlet *logOutlet
	steps  []step
}

func (h *pushingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.outlet.handle(ctx, earlyLine{r.Clone(), h.steps})
	return h.Handler.Handle(ctx, r)
}

func (h *pushingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derived(h.Handler.WithAttrs(attrs), step{attrs: attrs})
}

func (h *pushingHandler) WithGroup(name string) slog.Handler {
	return h.derived(h.Handler.WithGroup(name), step{group: name})
}

func (h *pushingHandler) derived(console slog.Handler, s step) slog.Handler {
	return &pushingHandler{console, h.outlet, append(slices.Clip(h.steps), s)}
}

// handle hands a line on, or keeps it until it can.
func (o *logOutlet) handle(ctx context.Context, l earlyLine) {
	o.mu.Lock()
	to := o.to
	if to == nil && !o.closed && len(o.early) < earlyMost {
		o.early = append(o.early, l)
	}
	o.mu.Unlock()
	if to != nil {
		l.send(ctx, to)
	}
}

// send never fails: the processor behind the bridge queues, or drops its oldest.
func (l earlyLine) send(ctx context.Context, to slog.Handler) {
	for _, s := range l.steps {
		if s.group != "" {
			to = to.WithGroup(s.group)
		} else {
			to = to.WithAttrs(readableAll(s.attrs))
		}
	}
	line := slog.NewRecord(l.line.Time, l.line.Level, l.line.Message, l.line.PC)
	l.line.Attrs(func(a slog.Attr) bool { line.AddAttrs(readable(nil, a)); return true })
	_ = to.Handle(ctx, line)
}

func readableAll(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = readable(nil, a)
	}
	return out
}

// open sends what was kept, and all that comes from now on.
func (o *logOutlet) open(p log.LoggerProvider) {
	h := otelslog.NewHandler(scopeName, otelslog.WithLoggerProvider(p))
	o.mu.Lock()
	early := o.early
	o.to, o.early, o.closed = h, nil, false
	o.mu.Unlock()
	for _, l := range early {
		l.send(context.Background(), h)
	}
}

// close ends it: lines go to the console alone.
func (o *logOutlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to, o.early, o.closed = nil, nil, true
}
