package history

import (
	"fmt"
	"math"
)

// Value names one send: its process and its number there. It is what a record carries.
type Value int64

// None stands where there is no value.
const None Value = -1

// ValueOf is the value of the n-th send of a process.
func ValueOf(process, n int32) Value { return Value(int64(process)<<32 | int64(uint32(n))) }

// Process is the process that sent the value.
func (v Value) Process() int32 { return int32(v >> 32) }

// N is the number of the send within its process.
func (v Value) N() int32 { return int32(uint32(v)) }

func (v Value) String() string {
	if v == None {
		return "none"
	}
	return fmt.Sprintf("%d.%d", v.Process(), v.N())
}

// Outcome is what a client learnt of an operation.
type Outcome uint8

// The outcomes. An operation without a completion is Unknown: its process was killed, or gave up waiting.
const (
	Unknown Outcome = iota
	OK
	Failed // definitely not done
)

func (o Outcome) String() string { return [...]string{"unknown", "ok", "fail"}[o] }

// Never is the completion time of what did not complete: it may still happen, or have happened at any time after its invocation.
const Never int64 = math.MaxInt64

// NoOffset stands for an offset that is not known.
const NoOffset int64 = -1

// Send is one record on its way.
type Send struct {
	Partition int32
	Seq       int32 // place among the process's events
	Outcome   Outcome
	Invoked   int64
	Completed int64 // Never unless OK or Failed
	Offset    int64 // where it was acknowledged; NoOffset if that was not said
	Code      string
}

// Poll is a run of records of consecutive offsets that an application was handed.
type Poll struct {
	Partition int32
	Seq       int32
	Time      int64
	Offset    int64 // of the first
	Values    []Value
}

// Next is the offset after the last record.
func (p *Poll) Next() int64 { return p.Offset + int64(len(p.Values)) }

// Commit is an attempt to commit one partition's offset.
type Commit struct {
	Process    int32
	Seq        int32
	Group      string
	Generation int32 // -1 when the client does not tell
	Partition  int32
	Offset     int64
	Outcome    Outcome
	Invoked    int64
	Completed  int64
	Code       string
}

// Fetch is a question for one partition's committed offset.
type Fetch struct {
	Process   int32
	Seq       int32
	Group     string
	Partition int32
	Outcome   Outcome
	Invoked   int64
	Completed int64
	Offset    int64 // NoOffset: nothing committed
}

// MoveKind is why a consumer's position is not where its last poll left it.
type MoveKind uint8

// The kinds of moves.
const (
	Seek MoveKind = iota
	Assign
	Revoke
)

// Move is a change of a consumer's positions or ownership.
type Move struct {
	Kind       MoveKind
	Seq        int32
	Time       int64
	Group      string
	Generation int32
	Partitions []int32 // Seek: one; Assign: the new ones; Revoke: those given up
	Owned      []int32 // Assign: all that the member owns now
	Offset     int64   // Seek
}

// Share is the history's share group.
type Share struct {
	Group string
	Lock  int64 // how long a lock lasts, in nanoseconds
	// Lease is how long a leader may go on that was moved, and has not heard of it.
	Lease int64
	// Steady says that no leader moves: locks end by their holders' word, with them, or by time.
	Steady bool
}

// Derive says that each record of the first Sources partitions has one of another partition made of it, within the transaction that commits
// its offset for Group.
type Derive struct {
	Group   string
	Sources int32
}

// Take is a run of records that a member of the share group was handed. It has a lock of each, given out after Joined.
type Take struct {
	Poll
	Joined int64
}

// Settle is a member's word on a record that it had taken.
type Settle struct {
	Partition int32
	Offset    int64
	Kind      SettleKind
	Outcome   Outcome
	Invoked   int64
	Completed int64
	Code      string
}

// SettleKind is what becomes of a record.
type SettleKind uint8

// The kinds.
const (
	Accept SettleKind = iota
	Release
	Reject
)

var settleKinds = [...]string{"accept", "release", "reject"}

func (k SettleKind) String() string { return settleKinds[k] }

// Bad is a record that nobody can have sent.
type Bad struct {
	Process   int32
	Partition int32
	Time      int64
	Offset    int64
	Detail    string
}

// Transaction is the sends [First, Last] of a process, whose commit was asked for.
type Transaction struct {
	First, Last int32
	Asked       int64
}

// Final says that a partition was read to its end after the faults.
type Final struct {
	Partition int32
	Offset    int64
}

// Process is one client process, from its start to its end.
type Process struct {
	Number     int32
	Client     string
	Idempotent bool // never writes a record twice, keeps the order per partition
	// Transactional: its sends are of transactions, and there for readers only when those are committed.
	Transactional bool
	Final         bool // reads everything after the faults
	Ended         bool // in order, not by a crash

	Sends        []Send          // by N
	Derived      map[int32]Value // of which record a send's was made, by N
	Transactions []Transaction
	Polls        []Poll
	Moves        []Move
	Finals       []Final
	Takes        []Take
	Settles      []Settle
	Leaves       []int64 // when members of the share group that it was have left
	Drained      []Final // shares that it found to start where their partitions end
	Last         int64   // time of its last line
}

// History is all that happened, by process.
type History struct {
	Topic      string
	Partitions int32
	// Dense says that every offset holds a record: no transactions, no compaction.
	Dense bool

	Processes []*Process // in the order of their first lines
	Commits   []Commit
	Fetches   []Fetch
	Share     *Share  // nil: nobody shares
	Starts    []Fetch // of the share group
	Derive    *Derive // nil: nothing is made of anything
	Bads      []Bad

	byNumber map[int32]*Process
}

// Process is the process of that number, nil if there is none.
func (h *History) Process(number int32) *Process { return h.byNumber[number] }

// Send is the send of a value, nil if nobody sent it.
func (h *History) Send(v Value) *Send {
	p := h.byNumber[v.Process()]
	if p == nil || v.N() < 0 || int(v.N()) >= len(p.Sends) {
		return nil
	}
	return &p.Sends[v.N()]
}

// Ops counts sends, poll lines, commits and fetches.
func (h *History) Ops() int {
	n := len(h.Commits) + len(h.Fetches) + len(h.Starts)
	for _, p := range h.Processes {
		n += len(p.Sends) + len(p.Polls) + len(p.Takes) + len(p.Settles)
	}
	return n
}

// Add puts a process into the history; its number must be new.
func (h *History) Add(p *Process) error {
	if h.byNumber == nil {
		h.byNumber = map[int32]*Process{}
	}
	if h.byNumber[p.Number] != nil {
		return fmt.Errorf("process %d begins twice", p.Number)
	}
	h.byNumber[p.Number] = p
	h.Processes = append(h.Processes, p)
	return nil
}
