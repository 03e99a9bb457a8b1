package history

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// ReadFiles reads a history from files, of which those named *.gz are compressed.
func ReadFiles(paths ...string) (*History, error) {
	h := &History{}
	for _, path := range paths {
		if err := h.readFile(path); err != nil {
			return nil, fmt.Errorf("read history %s: %w", path, err)
		}
	}
	return h, h.complete()
}

// Read reads a history.
func Read(r io.Reader) (*History, error) {
	h := &History{}
	if err := h.read(r); err != nil {
		return nil, err
	}
	return h, h.complete()
}

func (h *History) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if !strings.HasSuffix(path, ".gz") {
		return h.read(f)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return h.read(z)
}

// complete says what a history cannot be judged without.
func (h *History) complete() error {
	if h.Partitions == 0 {
		return errors.New("history has no topic line")
	}
	return nil
}

// parser holds what reading one file needs beside the history.
type parser struct {
	h *History
	// open are commits and fetches by process and number, to be completed.
	commits, fetches map[[2]int32]int
	starts           map[[2]int32]int
	joined           map[int32]int64 // when a process's member of the share group began
	seq              map[int32]int32
	process          *Process // of the line before: lines of one process mostly follow each other
	arena            []Value
	groups           map[string]string
}

func (h *History) read(r io.Reader) error {
	p := &parser{h: h, commits: map[[2]int32]int{}, fetches: map[[2]int32]int{}, starts: map[[2]int32]int{}, joined: map[int32]int64{}, seq: map[int32]int32{}, groups: map[string]string{}}
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil // a line without its newline is void
		}
		if err != nil {
			return err
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := p.line(line); err != nil {
			return fmt.Errorf("line %d %q: %w", n, clip(line), err)
		}
	}
}

// readLine is the next line without its newline; the slice is good until the next call unless the line was long.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = in.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if err != nil {
		return nil, err
	}
	return line[:len(line)-1], nil
}

func clip(line []byte) []byte { return line[:min(len(line), 100)] }

func (p *parser) line(line []byte) error {
	w := &words{rest: line}
	process, at, verb := w.small(), w.number(), w.word()
	if w.err != nil {
		return w.err
	}
	if err := p.event(process, at, string(verb), w); err != nil {
		return err
	}
	return w.err
}

// event takes one line in. What it has taken of a line whose words were bad (words.err) is void: the whole file is refused then.
func (p *parser) event(process int32, at int64, verb string, w *words) error {
	if verb == "begin" {
		return p.begin(process, w)
	}
	if p.process == nil || p.process.Number != process {
		if p.process = p.h.byNumber[process]; p.process == nil {
			return fmt.Errorf("process %d has not begun", process)
		}
	}
	p.process.Last = at
	seq := p.seq[process]
	p.seq[process] = seq + 1
	switch verb {
	case "poll":
		p.process.Polls = append(p.process.Polls, p.run(at, seq, w))
	case "take":
		joined, ok := p.joined[process]
		if !ok {
			return errors.New("nobody takes who has not joined")
		}
		p.process.Takes = append(p.process.Takes, Take{p.run(at, seq, w), joined})
	case "join":
		p.joined[process] = at
	case "leave":
		delete(p.joined, process)
		p.process.Leaves = append(p.process.Leaves, at)
	case "settle":
		return p.settle(at, w)
	case "start":
		_, n := w.op()
		p.starts[[2]int32{process, n}] = len(p.h.Starts)
		p.h.Starts = append(p.h.Starts, Fetch{Process: process, Seq: seq, Partition: w.small(), Invoked: at, Completed: Never, Offset: NoOffset})
	case "share":
		p.h.Share = &Share{Group: p.intern(w.word()), Lock: w.number(), Lease: w.number()}
		p.h.Share.Steady = string(w.rest) == "steady"
	case "derive":
		p.h.Derive = &Derive{Group: p.intern(w.word()), Sources: w.small()}
	case "drained":
		p.process.Drained = append(p.process.Drained, Final{Partition: w.small(), Offset: w.number()})
	case "ok", "fail", "unknown":
		return p.completion(at, verb[0], w)
	case "send":
		return p.send(at, seq, w)
	case "transaction":
		return p.transaction(at, w)
	case "commit":
		p.commit(at, seq, w)
	case "fetch":
		p.fetch(at, seq, w)
	case "seek":
		p.process.Moves = append(p.process.Moves, Move{Kind: Seek, Seq: seq, Time: at, Partitions: []int32{w.small()}, Offset: w.number()})
	case "assign":
		p.process.Moves = append(p.process.Moves, Move{
			Kind: Assign, Seq: seq, Time: at, Group: p.intern(w.word()), Generation: w.small(), Owned: w.list(), Partitions: w.list(),
		})
	case "revoke":
		p.process.Moves = append(p.process.Moves, Move{
			Kind: Revoke, Seq: seq, Time: at, Group: p.intern(w.word()), Generation: w.small(), Partitions: w.list(),
		})
	case "bad":
		b := Bad{Process: process, Time: at, Partition: w.small(), Offset: w.number()}
		b.Detail = string(w.rest)
		p.h.Bads = append(p.h.Bads, b)
	case "final":
		p.process.Finals = append(p.process.Finals, Final{Partition: w.small(), Offset: w.number()})
	case "topic":
		return p.topic(w)
	case "end":
		p.process.Ended = true
	default:
		return fmt.Errorf("verb %q is not known", verb)
	}
	return nil
}

func (p *parser) begin(number int32, w *words) error {
	p.process = &Process{Number: number, Client: string(w.word())}
	for len(w.rest) > 0 {
		switch flag := w.word(); string(flag) {
		case "idempotent":
			p.process.Idempotent = true
		case "final":
			p.process.Final = true
		case "transactional":
			p.process.Transactional = true
		default:
			return fmt.Errorf("flag %q is not known", flag)
		}
	}
	return p.h.Add(p.process)
}

func (p *parser) topic(w *words) error {
	name, n := string(w.word()), w.small()
	if w.err != nil {
		return w.err
	}
	if n <= 0 || n > 1<<20 {
		return fmt.Errorf("%d partitions", n)
	}
	if p.h.Topic != "" && (p.h.Topic != name || p.h.Partitions != n) {
		return errors.New("a history is about one topic")
	}
	p.h.Topic, p.h.Partitions, p.h.Dense = name, n, string(w.rest) == "dense"
	return nil
}

func (p *parser) send(at int64, seq int32, w *words) error {
	_, n := w.op()
	partition := w.small()
	if w.err == nil && int(n) != len(p.process.Sends) {
		return fmt.Errorf("send %d follows %d sends", n, len(p.process.Sends))
	}
	if len(w.rest) > 0 {
		if p.process.Derived == nil {
			p.process.Derived = map[int32]Value{}
		}
		p.process.Derived[n] = w.value()
	}
	p.process.Sends = append(p.process.Sends, Send{Partition: partition, Seq: seq, Invoked: at, Completed: Never, Offset: NoOffset})
	return nil
}

func (p *parser) transaction(at int64, w *words) error {
	_, first := w.op()
	_, last := w.op()
	if w.err == nil && (first > last || int(last) >= len(p.process.Sends)) {
		return fmt.Errorf("a transaction of the sends %d to %d, of %d", first, last, len(p.process.Sends))
	}
	if all := p.process.Transactions; len(all) > 0 && all[len(all)-1].Last >= first {
		return fmt.Errorf("send %d is in two transactions", first)
	}
	p.process.Transactions = append(p.process.Transactions, Transaction{First: first, Last: last, Asked: at})
	return nil
}

func (p *parser) settle(at int64, w *words) error {
	_, n := w.op()
	s := Settle{Partition: w.small(), Offset: w.number(), Invoked: at, Completed: Never}
	kind := slices.Index(settleKinds[:], string(w.word()))
	if w.err == nil && kind < 0 {
		return errors.New("a record is accepted, released or rejected")
	}
	if w.err == nil && int(n) != len(p.process.Settles) {
		return fmt.Errorf("settle %d follows %d", n, len(p.process.Settles))
	}
	s.Kind = SettleKind(max(kind, 0))
	p.process.Settles = append(p.process.Settles, s)
	return nil
}

// run is a line of records of consecutive offsets.
func (p *parser) run(at int64, seq int32, w *words) Poll {
	partition, offset := w.small(), w.number()
	begin := len(p.arena)
	for len(w.rest) > 0 && w.err == nil {
		p.arena = append(p.arena, w.value())
	}
	values := p.arena[begin:len(p.arena):len(p.arena)]
	return Poll{Partition: partition, Seq: seq, Time: at, Offset: offset, Values: values}
}

func (p *parser) completion(at int64, verb byte, w *words) error {
	kind, n := w.op()
	if w.err != nil {
		return w.err
	}
	outcome := map[byte]Outcome{'o': OK, 'f': Failed, 'u': Unknown}[verb]
	completed := at
	if outcome == Unknown {
		completed = Never
	}
	offset := NoOffset
	if outcome == OK && len(w.rest) > 0 {
		offset = w.number()
	}
	code := ""
	if outcome != OK {
		code = p.intern(w.rest)
	}
	switch kind {
	case 's':
		if int(n) >= len(p.process.Sends) {
			return fmt.Errorf("send %d has not begun", n)
		}
		s := &p.process.Sends[n]
		s.Outcome, s.Completed, s.Offset, s.Code = outcome, completed, offset, code
	case 'c':
		i, ok := p.commits[[2]int32{p.process.Number, n}]
		if !ok {
			return fmt.Errorf("commit %d has not begun", n)
		}
		c := &p.h.Commits[i]
		c.Outcome, c.Completed, c.Code = outcome, completed, code
	case 'a':
		if int(n) >= len(p.process.Settles) {
			return fmt.Errorf("settle %d has not begun", n)
		}
		s := &p.process.Settles[n]
		s.Outcome, s.Completed, s.Code = outcome, completed, code
	case 'b':
		i, ok := p.starts[[2]int32{p.process.Number, n}]
		if !ok {
			return fmt.Errorf("question %d has not begun", n)
		}
		f := &p.h.Starts[i]
		f.Outcome, f.Completed, f.Offset = outcome, completed, offset
	case 'f':
		i, ok := p.fetches[[2]int32{p.process.Number, n}]
		if !ok {
			return fmt.Errorf("fetch %d has not begun", n)
		}
		f := &p.h.Fetches[i]
		f.Outcome, f.Completed, f.Offset = outcome, completed, offset
	default:
		return fmt.Errorf("operation %c%d is of no known kind", kind, n)
	}
	return nil
}

// intern keeps one string for each distinct word.
func (p *parser) intern(word []byte) string {
	if s, ok := p.groups[string(word)]; ok {
		return s
	}
	s := string(word)
	p.groups[s] = s
	return s
}

func (p *parser) commit(at int64, seq int32, w *words) {
	_, n := w.op()
	p.commits[[2]int32{p.process.Number, n}] = len(p.h.Commits)
	p.h.Commits = append(p.h.Commits, Commit{
		Process: p.process.Number, Seq: seq, Group: p.intern(w.word()), Generation: w.small(),
		Partition: w.small(), Offset: w.number(), Invoked: at, Completed: Never,
	})
}

func (p *parser) fetch(at int64, seq int32, w *words) {
	_, n := w.op()
	p.fetches[[2]int32{p.process.Number, n}] = len(p.h.Fetches)
	p.h.Fetches = append(p.h.Fetches, Fetch{
		Process: p.process.Number, Seq: seq, Group: p.intern(w.word()), Partition: w.small(), Invoked: at, Completed: Never, Offset: NoOffset,
	})
}
