// Package hush keeps lines that clients cause from filling a disk: who sends nonsense in a loop is told of a few times, and then counted.
package hush

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	interval     = time.Minute
	burst        = 5    // lines of a kind that are written at once in an interval; the rest are counted
	maxKinds     = 64   // that are told apart; further ones are one kind together, as a certificate's subject may be part of one
	maxAddresses = 1000 // that are told apart of a kind: there were as many or more
)

// Log writes the first lines of a kind at once. What follows within the interval is at level Debug, and one line at its end says how many those
// were, and from how many addresses. Safe for concurrent use.
//
// It is no golang.org/x/time/rate: a limiter says no, and what people want to know is how often it did.
//
// Invariant: at most maxKinds+1 times lines (burst) and one above Debug in an interval, whatever clients do.
type Log struct {
	log   *slog.Logger
	burst int

	mu    sync.Mutex
	kinds map[string]*kind
}

// kind is what was written and left out of lines alike in an interval that has begun with the first of them.
type kind struct {
	level     slog.Level // the highest of those left out
	said      int
	left      int
	addresses map[string]struct{} // that those left out are from
	end       *time.Timer
}

// New returns one that writes to log.
func New(log *slog.Logger) *Log { return NewUpTo(burst, log) }

// NewUpTo is New for what is worth reading while it is not caused in a loop: so many lines of a kind are written in an interval.
func NewUpTo(lines int, log *slog.Logger) *Log {
	return &Log{log: log, burst: lines, kinds: map[string]*kind{}}
}

// Say writes a line that the client at from, nil when nobody knows, has caused. Lines of one kind are bounded together: name a cause, not a client.
func (l *Log) Say(level slog.Level, of string, from net.Addr, line string, args ...any) {
	if level > slog.LevelDebug && !l.admit(level, of, from) {
		level = slog.LevelDebug
	}
	if from != nil {
		args = append([]any{"client", from}, args...)
	}
	l.log.Log(context.Background(), level, line, args...)
}

// admit tells whether the line may be written now, and counts it if not.
func (l *Log) admit(level slog.Level, of string, from net.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds[of] == nil && len(l.kinds) >= maxKinds {
		of = "other"
	}
	k := l.kinds[of]
	if k == nil {
		k = &kind{addresses: map[string]struct{}{}, level: level}
		k.end = time.AfterFunc(interval, func() { l.end(of, k) })
		l.kinds[of] = k
	}
	if k.said < l.burst {
		k.said++
		return true
	}
	k.left++
	k.level = max(k.level, level)
	if from != nil && len(k.addresses) < maxAddresses {
		k.addresses[host(from)] = struct{}{}
	}
	return false
}

// host is an address without its port, which is another one for each connection.
func host(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return string(t.IP)
	}
	if a == nil {
		return ""
	}
	return a.String()
}

// end is called when the kind's interval is over.
func (l *Log) end(of string, k *kind) {
	l.mu.Lock()
	mine := l.kinds[of] == k // else Flush has it
	if mine {
		delete(l.kinds, of)
	}
	l.mu.Unlock()
	if mine {
		l.tell(of, k)
	}
}

// tell sums up what was left out. Nobody else has k any more.
func (l *Log) tell(of string, k *kind) {
	if k.left > 0 {
		l.log.Log(context.Background(), k.level, "lines were left out", "kind", of, "lines", k.left, "addresses", len(k.addresses), "within", interval)
	}
}

// Flush ends the intervals that have begun, and sums up now: the process may end.
func (l *Log) Flush() {
	l.mu.Lock()
	kinds := l.kinds
	l.kinds = map[string]*kind{}
	l.mu.Unlock()
	for of, k := range kinds {
		k.end.Stop()
		l.tell(of, k)
	}
}
