package history

import (
	"fmt"
	"io"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Now is CLOCK_MONOTONIC in nanoseconds.
func Now() int64 {
	var t unix.Timespec
	// The clock exists on every Linux; there is nothing to do about an error but stop.
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// Writer writes one process's events. It may be used by many goroutines.
//
// Invariant: an invocation has reached the operating system when its method
// returns, with all that was written before it, so that a killed process's file
// holds every operation that can have had an effect. Completions may wait: one
// that is lost leaves its operation unknown, which is true.
type Writer struct {
	process int32

	mu      sync.Mutex
	to      io.Writer
	buf     []byte
	sends   int32
	commits int32
	fetches int32
	settles int32
	starts  int32
	err     error // the first; the file is of no use after it
}

// NewWriter begins a process's history. flags are those of begin.
func NewWriter(to io.Writer, process int32, client string, flags ...string) *Writer {
	w := &Writer{process: process, to: to}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("begin", client)
	for _, f := range flags {
		w.word(f)
	}
	w.flush()
	return w
}

// verb begins a line; the lock is held until flush or done.
func (w *Writer) verb(verb string, words ...string) {
	w.buf = strconv.AppendInt(w.buf, int64(w.process), 10)
	w.integer(Now())
	w.word(verb)
	for _, x := range words {
		w.word(x)
	}
}

func (w *Writer) word(s string)   { w.buf = append(append(w.buf, ' '), s...) }
func (w *Writer) integer(n int64) { w.buf = strconv.AppendInt(append(w.buf, ' '), n, 10) }
func (w *Writer) op(kind byte, n int32) {
	w.buf = strconv.AppendInt(append(w.buf, ' ', kind), int64(n), 10)
}

func (w *Writer) done() {
	w.buf = append(w.buf, '\n')
	if len(w.buf) > 1<<16 {
		w.out()
	}
}

func (w *Writer) flush() {
	w.buf = append(w.buf, '\n')
	w.out()
}

func (w *Writer) out() {
	if _, err := w.to.Write(w.buf); err != nil && w.err == nil {
		w.err = err
	}
	w.buf = w.buf[:0]
}

// Topic says what the history is about.
func (w *Writer) Topic(name string, partitions int32, flags ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("topic", name, strconv.Itoa(int(partitions)))
	for _, f := range flags {
		w.word(f)
	}
	w.flush()
}

// Send announces the process's next value to a partition.
func (w *Writer) Send(partition int32) Value { return w.Derived(partition, None) }

// Derived is Send of a value that is made of another, or of None.
func (w *Writer) Derived(partition int32, of Value) Value {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := ValueOf(w.process, w.sends)
	w.sends++
	w.verb("send")
	w.op('s', v.N())
	w.integer(int64(partition))
	if of != None {
		w.value(of)
	}
	w.flush()
	return v
}

// Derive says that the members of a group make a record of each of the first partitions, so many of them.
func (w *Writer) Derive(group string, sources int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("derive", group)
	w.integer(int64(sources))
	w.flush()
}

// Transaction announces that the commit of a transaction is asked for, whose sends are those from first to last.
func (w *Writer) Transaction(first, last Value) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("transaction")
	w.op('s', first.N())
	w.op('s', last.N())
	w.flush()
}

// Sent completes a send with the offset it was given, or NoOffset.
func (w *Writer) Sent(v Value, offset int64) { w.ok('s', v.N(), offset) }

// NotSent completes a send that has failed, for sure or perhaps.
func (w *Writer) NotSent(v Value, definite bool, code string) { w.not('s', v.N(), definite, code) }

// Commit announces a commit.
func (w *Writer) Commit(group string, generation, partition int32, offset int64) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.commits
	w.commits++
	w.verb("commit")
	w.op('c', n)
	w.word(group)
	w.integer(int64(generation))
	w.integer(int64(partition))
	w.integer(offset)
	w.flush()
	return n
}

// Committed completes a commit.
func (w *Writer) Committed(n int32) { w.ok('c', n, NoOffset) }

// NotCommitted completes a commit that may have failed.
func (w *Writer) NotCommitted(n int32, code string) { w.not('c', n, false, code) }

// Dropped completes a commit within a transaction whose commit nobody asks for.
func (w *Writer) Dropped(n int32) { w.not('c', n, true, "aborted") }

// Fetch announces a question for a committed offset.
func (w *Writer) Fetch(group string, partition int32) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.fetches
	w.fetches++
	w.verb("fetch")
	w.op('f', n)
	w.word(group)
	w.integer(int64(partition))
	w.flush()
	return n
}

// Fetched completes a question; offset is NoOffset when nothing is committed.
func (w *Writer) Fetched(n int32, offset int64) { w.ok('f', n, offset) }

// NotFetched completes a question without an answer.
func (w *Writer) NotFetched(n int32, code string) { w.not('f', n, false, code) }

func (w *Writer) ok(kind byte, n int32, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("ok")
	w.op(kind, n)
	w.integer(offset)
	w.done()
}

func (w *Writer) not(kind byte, n int32, definite bool, code string) {
	verb := "unknown"
	if definite {
		verb = "fail"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb(verb)
	w.op(kind, n)
	w.word(code)
	w.done()
}

// Share says that the members of a group share partitions, and how long, in nanoseconds, their locks and a moved leader's lease last.
func (w *Writer) Share(group string, lock, lease int64, flags ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("share", group)
	w.integer(lock)
	w.integer(lease)
	for _, f := range flags {
		w.word(f)
	}
	w.flush()
}

// Join notes that a member of the share group begins, before it asks for anything.
func (w *Writer) Join() { w.alone("join") }

// Leave notes that the member ends, before that is told to anyone.
func (w *Writer) Leave() { w.alone("leave") }

func (w *Writer) alone(verb string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb(verb)
	w.flush()
}

// Settle announces a member's word on a record.
func (w *Writer) Settle(partition int32, offset int64, kind SettleKind) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.settles
	w.settles++
	w.verb("settle")
	w.op('a', n)
	w.integer(int64(partition))
	w.integer(offset)
	w.word(kind.String())
	w.flush()
	return n
}

// Settled completes it.
func (w *Writer) Settled(n int32) { w.ok('a', n, NoOffset) }

// NotSettled completes a word that may not have been heard.
func (w *Writer) NotSettled(n int32, code string) { w.not('a', n, false, code) }

// Start announces a question for where a share starts.
func (w *Writer) Start(partition int32) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.starts
	w.starts++
	w.verb("start")
	w.op('b', n)
	w.integer(int64(partition))
	w.flush()
	return n
}

// Started completes a question; offset is NoOffset where the group has none.
func (w *Writer) Started(n int32, offset int64) { w.ok('b', n, offset) }

// NotStarted completes a question without an answer.
func (w *Writer) NotStarted(n int32, code string) { w.not('b', n, false, code) }

// Poll notes a run of records of consecutive offsets.
func (w *Writer) Poll(partition int32, offset int64, values []Value) {
	w.run("poll", partition, offset, values)
}

// Take notes a run of records of consecutive offsets that a member of the share group has the locks of.
func (w *Writer) Take(partition int32, offset int64, values []Value) {
	w.run("take", partition, offset, values)
}

func (w *Writer) run(verb string, partition int32, offset int64, values []Value) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb(verb)
	w.integer(int64(partition))
	w.integer(offset)
	for _, v := range values {
		w.value(v)
	}
	w.done()
}

func (w *Writer) value(v Value) {
	w.integer(int64(v.Process()))
	w.buf = strconv.AppendInt(append(w.buf, '.'), int64(v.N()), 10)
}

// Bad notes a record that is no value.
func (w *Writer) Bad(partition int32, offset int64, detail string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("bad")
	w.integer(int64(partition))
	w.integer(offset)
	w.word(detail)
	w.done()
}

// Seek notes that the application set its position.
func (w *Writer) Seek(partition int32, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("seek")
	w.integer(int64(partition))
	w.integer(offset)
	w.done()
}

// Assign notes the end of a rebalance.
func (w *Writer) Assign(group string, generation int32, owned, added []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("assign", group)
	w.integer(int64(generation))
	w.list(owned)
	w.list(added)
	w.flush()
}

// Revoke notes partitions that were given up or lost.
func (w *Writer) Revoke(group string, generation int32, partitions []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("revoke", group)
	w.integer(int64(generation))
	w.list(partitions)
	w.flush()
}

func (w *Writer) list(partitions []int32) {
	if len(partitions) == 0 {
		w.word("-")
		return
	}
	for i, p := range partitions {
		separator := byte(',')
		if i == 0 {
			separator = ' '
		}
		w.buf = strconv.AppendInt(append(w.buf, separator), int64(p), 10)
	}
}

// Final notes that a partition was read to its end.
func (w *Writer) Final(partition int32, offset int64) { w.place("final", partition, offset) }

// Drained notes that a share starts at its partition's end.
func (w *Writer) Drained(partition int32, offset int64) { w.place("drained", partition, offset) }

func (w *Writer) place(verb string, partition int32, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb(verb)
	w.integer(int64(partition))
	w.integer(offset)
	w.flush()
}

// End notes that the process ends in order. The error is the first that writing has met.
func (w *Writer) End() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verb("end")
	w.flush()
	if w.err != nil {
		return fmt.Errorf("write history: %w", w.err)
	}
	return nil
}
