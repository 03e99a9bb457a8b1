package history

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
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
	seq              map[int32]int32
	process          *Process // of the line before: lines of one process mostly follow each other
	arena            []Value
	groups           map[string]string
}

func (h *History) read(r io.Reader) error {
	p := &parser{h: h, commits: map[[2]int32]int{}, fetches: map[[2]int32]int{}, seq: map[int32]int32{}, groups: map[string]string{}}
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

var errShort = errors.New("too few arguments")

// field cuts the first word off a line.
func field(line []byte) (word, rest []byte) {
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// number cuts a decimal integer off a line.
func number(line []byte) (n int64, rest []byte, err error) {
	word, rest := field(line)
	n, err = integer(word)
	return n, rest, err
}

func integer(word []byte) (int64, error) {
	if len(word) == 0 {
		return 0, errShort
	}
	negative := word[0] == '-'
	digits := word
	if negative {
		digits = word[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, fmt.Errorf("%q is no integer", word)
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is no integer", word)
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

func small(line []byte) (int32, []byte, error) {
	n, rest, err := number(line)
	if err == nil && (n < math.MinInt32 || n > math.MaxInt32) {
		err = fmt.Errorf("%d is out of range", n)
	}
	return int32(n), rest, err
}

// op is an operation's name: a letter and a number.
func op(line []byte) (kind byte, n int32, rest []byte, err error) {
	word, rest := field(line)
	if len(word) < 2 {
		return 0, 0, nil, errShort
	}
	v, err := integer(word[1:])
	if err == nil && (v < 0 || v > math.MaxInt32) {
		err = fmt.Errorf("%q is no operation", word)
	}
	return word[0], int32(v), rest, err
}

func (p *parser) line(line []byte) error {
	process, rest, err := small(line)
	if err != nil {
		return err
	}
	at, rest, err := number(rest)
	if err != nil {
		return err
	}
	verb, rest := field(rest)
	if string(verb) == "begin" {
		return p.begin(process, rest)
	}
	if p.process == nil || p.process.Number != process {
		if p.process = p.h.byNumber[process]; p.process == nil {
			return fmt.Errorf("process %d has not begun", process)
		}
	}
	seq := p.seq[process]
	p.seq[process] = seq + 1
	switch string(verb) {
	case "poll":
		return p.poll(at, seq, rest)
	case "ok", "fail", "unknown":
		return p.completion(at, verb[0], rest)
	case "send":
		return p.send(at, seq, rest)
	case "commit":
		return p.commit(at, seq, rest)
	case "fetch":
		return p.fetch(at, seq, rest)
	case "seek":
		return p.seek(at, seq, rest)
	case "assign":
		return p.assign(at, seq, rest)
	case "revoke":
		return p.revoke(at, seq, rest)
	case "bad":
		return p.bad(at, rest)
	case "final":
		return p.final(rest)
	case "topic":
		return p.topic(rest)
	case "end":
		p.process.Ended = true
		return nil
	}
	return fmt.Errorf("verb %q is not known", verb)
}

func (p *parser) begin(number int32, rest []byte) error {
	client, rest := field(rest)
	p.process = &Process{Number: number, Client: string(client)}
	for len(rest) > 0 {
		var flag []byte
		flag, rest = field(rest)
		switch string(flag) {
		case "idempotent":
			p.process.Idempotent = true
		case "final":
			p.process.Final = true
		default:
			return fmt.Errorf("flag %q is not known", flag)
		}
	}
	return p.h.Add(p.process)
}

func (p *parser) topic(rest []byte) error {
	name, rest := field(rest)
	n, rest, err := small(rest)
	if err != nil {
		return err
	}
	if n <= 0 || n > 1<<20 {
		return fmt.Errorf("%d partitions", n)
	}
	if p.h.Topic != "" && (p.h.Topic != string(name) || p.h.Partitions != n) {
		return errors.New("a history is about one topic")
	}
	p.h.Topic, p.h.Partitions, p.h.Dense = string(name), n, string(rest) == "dense"
	return nil
}

func (p *parser) send(at int64, seq int32, rest []byte) error {
	_, n, rest, err := op(rest)
	if err != nil {
		return err
	}
	partition, _, err := small(rest)
	if err != nil {
		return err
	}
	if int(n) != len(p.process.Sends) {
		return fmt.Errorf("send %d follows %d sends", n, len(p.process.Sends))
	}
	p.process.Sends = append(p.process.Sends, Send{Partition: partition, Seq: seq, Invoked: at, Completed: Never, Offset: NoOffset})
	return nil
}

func (p *parser) poll(at int64, seq int32, rest []byte) error {
	partition, rest, err := small(rest)
	if err != nil {
		return err
	}
	offset, rest, err := number(rest)
	if err != nil {
		return err
	}
	begin := len(p.arena)
	for len(rest) > 0 {
		var word []byte
		word, rest = field(rest)
		dot := bytes.IndexByte(word, '.')
		if dot < 0 {
			return fmt.Errorf("%q is no value", word)
		}
		process, err := integer(word[:dot])
		if err != nil {
			return err
		}
		n, err := integer(word[dot+1:])
		if err != nil {
			return err
		}
		if process < 0 || process > math.MaxInt32 || n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%q is no value", word)
		}
		p.arena = append(p.arena, ValueOf(int32(process), int32(n)))
	}
	values := p.arena[begin:len(p.arena):len(p.arena)]
	p.process.Polls = append(p.process.Polls, Poll{Partition: partition, Seq: seq, Time: at, Offset: offset, Values: values})
	return nil
}

func (p *parser) completion(at int64, verb byte, rest []byte) error {
	kind, n, rest, err := op(rest)
	if err != nil {
		return err
	}
	outcome := map[byte]Outcome{'o': OK, 'f': Failed, 'u': Unknown}[verb]
	completed := at
	if outcome == Unknown {
		completed = Never
	}
	offset := NoOffset
	if outcome == OK && len(rest) > 0 {
		if offset, _, err = number(rest); err != nil {
			return err
		}
	}
	code := ""
	if outcome != OK {
		code = p.intern(rest)
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

func (p *parser) commit(at int64, seq int32, rest []byte) error {
	_, n, rest, err := op(rest)
	if err != nil {
		return err
	}
	group, rest := field(rest)
	generation, rest, err := small(rest)
	if err != nil {
		return err
	}
	partition, rest, err := small(rest)
	if err != nil {
		return err
	}
	offset, _, err := number(rest)
	if err != nil {
		return err
	}
	p.commits[[2]int32{p.process.Number, n}] = len(p.h.Commits)
	p.h.Commits = append(p.h.Commits, Commit{
		Process: p.process.Number, Seq: seq, Group: p.intern(group), Generation: generation,
		Partition: partition, Offset: offset, Invoked: at, Completed: Never,
	})
	return nil
}

func (p *parser) fetch(at int64, seq int32, rest []byte) error {
	_, n, rest, err := op(rest)
	if err != nil {
		return err
	}
	group, rest := field(rest)
	partition, _, err := small(rest)
	if err != nil {
		return err
	}
	p.fetches[[2]int32{p.process.Number, n}] = len(p.h.Fetches)
	p.h.Fetches = append(p.h.Fetches, Fetch{
		Process: p.process.Number, Seq: seq, Group: p.intern(group), Partition: partition, Invoked: at, Completed: Never, Offset: NoOffset,
	})
	return nil
}

func (p *parser) seek(at int64, seq int32, rest []byte) error {
	partition, rest, err := small(rest)
	if err != nil {
		return err
	}
	offset, _, err := number(rest)
	if err != nil {
		return err
	}
	p.process.Moves = append(p.process.Moves, Move{Kind: Seek, Seq: seq, Time: at, Partitions: []int32{partition}, Offset: offset})
	return nil
}

func (p *parser) assign(at int64, seq int32, rest []byte) error {
	m := Move{Kind: Assign, Seq: seq, Time: at}
	group, rest := field(rest)
	m.Group = p.intern(group)
	var err error
	if m.Generation, rest, err = small(rest); err != nil {
		return err
	}
	owned, rest := field(rest)
	if m.Owned, err = list(owned); err != nil {
		return err
	}
	if m.Partitions, err = list(rest); err != nil {
		return err
	}
	p.process.Moves = append(p.process.Moves, m)
	return nil
}

func (p *parser) revoke(at int64, seq int32, rest []byte) error {
	m := Move{Kind: Revoke, Seq: seq, Time: at}
	group, rest := field(rest)
	m.Group = p.intern(group)
	var err error
	if m.Generation, rest, err = small(rest); err != nil {
		return err
	}
	if m.Partitions, err = list(rest); err != nil {
		return err
	}
	p.process.Moves = append(p.process.Moves, m)
	return nil
}

// list is "0,4,5", or "-" for nothing.
func list(word []byte) ([]int32, error) {
	if string(word) == "-" {
		return nil, nil
	}
	var all []int32
	for _, w := range bytes.Split(word, []byte{','}) {
		n, _, err := small(w)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func (p *parser) bad(at int64, rest []byte) error {
	partition, rest, err := small(rest)
	if err != nil {
		return err
	}
	offset, rest, err := number(rest)
	if err != nil {
		return err
	}
	p.h.Bads = append(p.h.Bads, Bad{Process: p.process.Number, Partition: partition, Time: at, Offset: offset, Detail: string(rest)})
	return nil
}

func (p *parser) final(rest []byte) error {
	partition, rest, err := small(rest)
	if err != nil {
		return err
	}
	offset, _, err := number(rest)
	if err != nil {
		return err
	}
	p.process.Finals = append(p.process.Finals, Final{Partition: partition, Offset: offset})
	return nil
}
