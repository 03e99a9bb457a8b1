package workload

import (
	"flag"
	"fmt"
	"strconv"
)

// Role is what a client does.
type Role string

// The roles.
const (
	Produce  Role = "produce"
	Transact Role = "transact" // franz-go's alone
	// Pipe is a member of the group that writes in transactions what it makes of what it reads. franz-go's alone.
	Pipe Role = "pipe"
	// Streams is Pipe in a streams group (KIP-1071). franz-go's alone.
	Streams   Role = "streams"
	Refused   Role = "refused"
	Read      Role = "read"
	Group     Role = "group"
	Committed Role = "committed"
	Final     Role = "final"
	// Members of a share group, who asks where it is, and who takes what they have left. franz-go's alone.
	Share  Role = "share"
	Starts Role = "starts"
	Drain  Role = "drain"
	// Follow is for who measures: a group of one, at the client's defaults. Not one of franz-go's.
	Follow Role = "follow"
)

// Spec is one client process.
type Spec struct {
	Role       Role
	Bootstrap  string // HOST:PORT,…
	Topic      string
	Partitions int
	Process    int    // its number in the history
	History    string // file to write
	Group      string
	Assignor   string // of the group: range, which all offer, or, where all members are franz-go's, cooperative-sticky, or, of those and Java's, broker: the consumer protocol (KIP-848)
	Rate       int    // sends a second
	Size       int    // bytes of a record
	Seed       uint64
	// Sources are the partitions that are sent to, the first ones, where the others are a Pipe's; 0: all are.
	Sources int
	// TransactionalID is who writes in transactions; not empty with other roles: only what is committed is read. franz-go's alone.
	TransactionalID string
}

// Flags registers the spec's fields.
func (s *Spec) Flags(f *flag.FlagSet) {
	f.StringVar((*string)(&s.Role), "role", "", "produce, transact, pipe, streams, refused, read, group, committed, final, share, starts, drain or follow")
	f.StringVar(&s.Bootstrap, "bootstrap", "", "HOST:PORT,… of brokers")
	f.StringVar(&s.Topic, "topic", "", "topic")
	f.IntVar(&s.Partitions, "partitions", 0, "its partitions")
	f.IntVar(&s.Process, "process", 0, "number of this process in the history")
	f.StringVar(&s.History, "history", "", "file to write")
	f.StringVar(&s.Group, "group", "", "consumer group")
	f.StringVar(&s.Assignor, "assignor", "range", "the group's assignor: range; or, of franz-go, cooperative-sticky; or, of franz-go and Java, broker: the consumer protocol (KIP-848)")
	f.IntVar(&s.Rate, "rate", 200, "sends a second")
	f.IntVar(&s.Size, "size", 256, "bytes of a record")
	f.Uint64Var(&s.Seed, "seed", 0, "of what is random")
	f.IntVar(&s.Sources, "sources", 0, "partitions that producers send to, the first ones; 0: all (franz-go)")
	f.StringVar(&s.TransactionalID, "transactional-id", "", "of who writes in transactions; with other roles, not empty: read what is committed (franz-go)")
}

// Args is the command line that Flags reads, in this order and form for every language.
func (s *Spec) Args() []string {
	args := []string{
		"-role=" + string(s.Role), "-bootstrap=" + s.Bootstrap, "-topic=" + s.Topic, "-partitions=" + strconv.Itoa(s.Partitions),
		"-process=" + strconv.Itoa(s.Process), "-history=" + s.History, "-group=" + s.Group, "-assignor=" + s.Assignor, "-rate=" + strconv.Itoa(s.Rate),
		"-size=" + strconv.Itoa(s.Size), "-seed=" + strconv.FormatUint(s.Seed, 10),
	}
	if s.TransactionalID != "" {
		args = append(args, "-transactional-id="+s.TransactionalID)
	}
	if s.Sources > 0 {
		args = append(args, "-sources="+strconv.Itoa(s.Sources))
	}
	return args
}

func (s *Spec) check() error {
	if s.Bootstrap == "" || s.Topic == "" || s.Partitions <= 0 || s.Process < 0 || s.History == "" || s.Rate <= 0 {
		return fmt.Errorf("bootstrap, topic, partitions, process, history and rate are needed: %+v", *s)
	}
	if s.Sources < 0 || s.Sources >= s.Partitions || (s.Role == Pipe || s.Role == Streams) && s.Sources == 0 {
		return fmt.Errorf("%d of %d partitions are sources", s.Sources, s.Partitions)
	}
	return nil
}
