package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"
)

// NewLogger writes to w. level is log.level, format log.format ("auto": text
// when w is a terminal, JSON elsewhere), as package config has checked them.
// Where the environment asks for logs to be pushed, New finds in the logger what
// it needs for that; until then lines are kept, a few hundred of them.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	options := &slog.HandlerOptions{Level: l, ReplaceAttr: readable}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if format == "text" || format == "auto" && isTerminal(w) {
		h = slog.NewTextHandler(w, options)
	}
	if logsSignal.wanted(os.Getenv) {
		h = &pushingHandler{Handler: h, outlet: &logOutlet{}}
	}
	return slog.New(h), nil
}

// readable writes durations as people do, 1.25s: JSON would have them in nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindDuration {
		return a
	}
	d := a.Value.Duration()
	switch {
	case d.Abs() >= time.Second:
		d = d.Round(time.Millisecond)
	case d.Abs() >= time.Millisecond:
		d = d.Round(time.Microsecond)
	}
	return slog.String(a.Key, d.String())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
