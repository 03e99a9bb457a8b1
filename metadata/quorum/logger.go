package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftLogger lets Raft and its log write to slog, marked as theirs. Raft calls Info what only
// its debugger wants to know, so that becomes Debug.
func raftLogger(to *slog.Logger) hclog.Logger {
	return &adapter{to: to.With("library", "raft")}
}

// adapter implements hclog.Logger.
type adapter struct {
	to      *slog.Logger
	name    string
	implied []any
}

// routine are messages that Raft writes as warnings or errors at every ordinary start or election, or again and again
// while another node is down, of which the leader says once that it does not answer.
var routine = map[string]bool{
	"heartbeat timeout reached, starting election":                                                                   true,
	"rejecting pre-vote request since we have a leader":                                                              true,
	"rejecting vote request since we have a leader":                                                                  true,
	"not part of stable configuration, aborting election":                                                            true,
	"no known peers, aborting election":                                                                              true,
	"heartbeat timeout reached, not part of a stable configuration or a non-voter, not triggering a leader election": true,
	"failed to appendEntries to":                                                                                     true,
	"failed to heartbeat to":                                                                                         true,
	"failed to contact":                                                                                              true,
	"failed to make requestVote RPC":                                                                                 true,
	"failed to make requestPreVote RPC":                                                                              true,
	"failed to get previous log":                                                                                     true,
	"previous log term mis-match":                                                                                    true,
	"appendEntries rejected, sending older logs":                                                                     true,
	"Election timeout reached, restarting election":                                                                  true,
}

// isShutdown tells whether a message is about the end of this node's own transport, of which every stop has some.
func isShutdown(arg any) bool {
	err, ok := arg.(error)
	return ok && errors.Is(err, raft.ErrTransportShutdown)
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// Log implements hclog.Logger.
func (a *adapter) Log(level hclog.Level, msg string, args ...any) {
	to := slogLevel(level)
	if routine[msg] || slices.ContainsFunc(args, isShutdown) {
		to = slog.LevelDebug
	}
	if level == hclog.Off || !a.to.Enabled(context.Background(), to) {
		return
	}
	a.to.Log(context.Background(), to, msg, plain(args)...)
}

// plain spells out hclog's delayed formats.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, v := range args {
		if f, ok := v.(hclog.Format); ok && len(f) > 0 {
			v = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		out[i] = v
	}
	return out
}

func (a *adapter) Trace(msg string, args ...any) { a.Log(hclog.Trace, msg, args...) }
func (a *adapter) Debug(msg string, args ...any) { a.Log(hclog.Debug, msg, args...) }
func (a *adapter) Info(msg string, args ...any)  { a.Log(hclog.Info, msg, args...) }
func (a *adapter) Warn(msg string, args ...any)  { a.Log(hclog.Warn, msg, args...) }
func (a *adapter) Error(msg string, args ...any) { a.Log(hclog.Error, msg, args...) }

func (a *adapter) enabled(l hclog.Level) bool {
	return a.to.Enabled(context.Background(), slogLevel(l))
}

func (a *adapter) IsTrace() bool { return a.enabled(hclog.Trace) }
func (a *adapter) IsDebug() bool { return a.enabled(hclog.Debug) }
func (a *adapter) IsInfo() bool  { return a.enabled(hclog.Info) }
func (a *adapter) IsWarn() bool  { return a.enabled(hclog.Warn) }
func (a *adapter) IsError() bool { return a.enabled(hclog.Error) }

func (a *adapter) ImpliedArgs() []any { return a.implied }

func (a *adapter) With(args ...any) hclog.Logger {
	implied := append(append([]any(nil), a.implied...), args...)
	return &adapter{to: a.to.With(plain(args)...), name: a.name, implied: implied}
}

func (a *adapter) Name() string { return a.name }

func (a *adapter) Named(name string) hclog.Logger {
	if a.name != "" {
		name = a.name + "." + name
	}
	return a.ResetNamed(name)
}

func (a *adapter) ResetNamed(name string) hclog.Logger {
	c := *a
	c.name = name
	return &c
}

// SetLevel does nothing: slog's handler decides.
func (a *adapter) SetLevel(hclog.Level) {}

func (a *adapter) GetLevel() hclog.Level {
	for _, l := range []hclog.Level{hclog.Debug, hclog.Warn, hclog.Error} {
		if a.enabled(l) {
			return l
		}
	}
	return hclog.Off
}

func (a *adapter) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(a.StandardWriter(o), "", 0)
}

func (a *adapter) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{a} }

// lineWriter logs what is written, a line a call, as log.Logger does.
type lineWriter struct{ to *adapter }

func (w lineWriter) Write(p []byte) (int, error) {
	w.to.Warn(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}
