package checker

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/integration/history"
)

// Options says how a history is to be taken. The zero value is right for one whose processes ran on one machine.
type Options struct {
	// SeparateClocks says that times of different processes do not compare: real-time order is then that of each process.
	SeparateClocks bool
	// Limit is how many violations of an invariant are told in full; 0 means 5. All are counted.
	Limit int
}

// Violation is one broken promise.
type Violation struct {
	Invariant Invariant
	Partition int32
	Offset    int64 // history.NoOffset when it is not about one
	What      string
	Evidence  []string // the operations around it, a line each
}

func (v Violation) String() string {
	s := fmt.Sprintf("%s: partition %d", v.Invariant, v.Partition)
	if v.Offset != history.NoOffset {
		s += fmt.Sprintf(" offset %d", v.Offset)
	}
	return s + ": " + v.What
}

// Stats counts what was judged, so that a verdict on an empty history does not pass for a good one.
type Stats struct {
	Processes, Crashed         int
	Acked, Unknown, Failed     int   // sends
	Transactions               int   // whose commit was asked for
	Read                       int64 // records that were polled
	Committed, CommitUnknown   int
	Dropped                    int // commits within transactions that were aborted
	Fetched, Resumed, Assigned int // committed offsets compared, first polls after an assignment, assignments
	FinalReads                 int // partitions read to their end, by any process
	Taken, Settled, Started    int // records by members of a share group, words on them that were answered, and starts of shares compared
	Derived                    int // records that were made of others, and are there
	Repeated                   int // values written twice by producers that do not promise otherwise
	Nodes, Edges               int // of the dependency graph
}

// Report is the verdict on a history.
type Report struct {
	Violations []Violation
	Counts     map[Invariant]int
	// Unfinished is what could not be judged; a run with any has no verdict.
	Unfinished []string
	Stats      Stats
}

// Clean says that nothing was found and everything was judged.
func (r *Report) Clean() bool { return len(r.Counts) == 0 && len(r.Unfinished) == 0 }

// Check judges a history.
func Check(h *history.History, options Options) *Report {
	if options.Limit == 0 {
		options.Limit = 5
	}
	c := &check{History: h, options: options, report: &Report{Counts: map[Invariant]int{}}, start: history.Never}
	c.count()
	c.content()
	c.reading()
	c.transactions()
	c.appends()
	c.groups()
	c.derived()
	c.shares()
	c.cycles()
	slices.SortStableFunc(c.report.Violations, func(a, b Violation) int {
		return slices.Index(Invariants, a.Invariant) - slices.Index(Invariants, b.Invariant)
	})
	return c.report
}

// check is one call of Check at work.
type check struct {
	*history.History
	options Options
	report  *Report
	start   int64 // of the history; times are told relative to it

	logs []partitionLog
	// where[process][n] is the offset at which a value is known to be, or NoOffset; by index of the process.
	where [][]int64
	// twice are the values that have more than one offset.
	twice map[history.Value]bool
	// resumes are first polls after assignments, for groups to judge.
	resumes []resume
	index   map[int32]int // of a process, by its number
}

// broken notes a violation.
func (c *check) broken(i Invariant, partition int32, offset int64, evidence func() []string, format string, args ...any) {
	c.report.Counts[i]++
	if c.report.Counts[i] > c.options.Limit {
		return
	}
	v := Violation{Invariant: i, Partition: partition, Offset: offset, What: fmt.Sprintf(format, args...)}
	if evidence != nil {
		v.Evidence = evidence()
	}
	c.report.Violations = append(c.report.Violations, v)
}

func (c *check) unfinished(format string, args ...any) {
	c.report.Unfinished = append(c.report.Unfinished, fmt.Sprintf(format, args...))
}

// count fills in what needs no judgement.
func (c *check) count() {
	s := &c.report.Stats
	c.index = make(map[int32]int, len(c.Processes))
	for i, p := range c.Processes {
		c.index[p.Number] = i
		s.Processes++
		if !p.Ended {
			s.Crashed++
		}
		for j := range p.Sends {
			c.start = min(c.start, p.Sends[j].Invoked)
			switch p.Sends[j].Outcome {
			case history.OK:
				s.Acked++
			case history.Failed:
				s.Failed++
			default:
				s.Unknown++
			}
		}
		for j := range p.Polls {
			c.start = min(c.start, p.Polls[j].Time)
			s.Read += int64(len(p.Polls[j].Values))
		}
		for j := range p.Moves {
			if p.Moves[j].Kind == history.Assign {
				s.Assigned++
			}
		}
		for j := range p.Takes {
			s.Taken += len(p.Takes[j].Values)
		}
		for j := range p.Settles {
			if p.Settles[j].Outcome == history.OK {
				s.Settled++
			}
		}
		s.FinalReads += len(p.Finals)
		s.Transactions += len(p.Transactions)
	}
	for i := range c.Commits {
		c.start = min(c.start, c.Commits[i].Invoked)
		switch c.Commits[i].Outcome {
		case history.OK:
			s.Committed++
		case history.Failed:
			s.Dropped++
		default:
			s.CommitUnknown++
		}
	}
}

// Write prints the report for a person.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	s := r.Stats
	fmt.Fprintf(&b, "sends %d acknowledged, %d unknown, %d failed; %d records polled; %d partitions read to the end\n", s.Acked, s.Unknown, s.Failed, s.Read, s.FinalReads)
	if s.Transactions > 0 {
		fmt.Fprintf(&b, "commits of %d transactions asked for\n", s.Transactions)
	}
	fmt.Fprintf(&b, "commits %d, %d unknown; %d committed offsets and %d resumed positions compared; %d assignments\n", s.Committed, s.CommitUnknown, s.Fetched, s.Resumed, s.Assigned)
	if s.Derived > 0 {
		fmt.Fprintf(&b, "%d records made of others; %d commits were of transactions that were aborted\n", s.Derived, s.Dropped)
	}
	if s.Taken > 0 {
		fmt.Fprintf(&b, "share group: %d records taken, %d settled, %d starts compared\n", s.Taken, s.Settled, s.Started)
	}
	fmt.Fprintf(&b, "%d processes, %d crashed; dependency graph of %d nodes, %d edges\n", s.Processes, s.Crashed, s.Nodes, s.Edges)
	for _, u := range r.Unfinished {
		fmt.Fprintf(&b, "NOT JUDGED: %s\n", u)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "VIOLATION %s\n", v)
		for _, e := range v.Evidence {
			fmt.Fprintf(&b, "    %s\n", e)
		}
	}
	for _, i := range Invariants {
		if n := r.Counts[i]; n > 0 {
			fmt.Fprintf(&b, "%6d × %s\n", n, i)
		}
	}
	if r.Clean() {
		b.WriteString("nothing found\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
