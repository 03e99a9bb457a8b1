package quorum

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrNotReady says that there is no leader, or none reached in time: the proposal may be retried.
var ErrNotReady = errors.New("metadata quorum has no leader")

type Config struct {
	Dir             string // raft-wal and snapshots
	ID              kafka.BrokerID
	ClusterID       string // for bootstrapping; refused when the directory has another
	Listen          string // host:port of the Raft listener; "127.0.0.1:0" lets the system choose
	Bootstrap       bool   // form a quorum of one when the directory is empty
	SnapshotEntries uint64
}

// Quorum is safe for concurrent use.
type Quorum struct{}

func Open(cfg Config, clock func() time.Time, log *slog.Logger) (*Quorum, error) { panic("skeleton") }

// Ready waits until a leader is known and the image holds everything committed before.
func (q *Quorum) Ready(ctx context.Context) error { panic("skeleton") }

// Image is the newest published image. Lock-free.
func (q *Quorum) Image() *image.Image { panic("skeleton") }

// Propose submits a command, coalesced with all that wait at the moment into one Raft entry, and returns when it was applied
// here: the new image shows it. err is Apply's refusal (errors of package image), ErrNotReady, or ctx's.
// Calls are applied in the order in which they were made by one goroutine.
func (q *Quorum) Propose(ctx context.Context, c command.Command) (result any, err error) {
	panic("skeleton")
}

// ProposeAsync is Propose with a callback, from the applying goroutine (it must not block); enqueue order is apply order.
func (q *Quorum) ProposeAsync(c command.Command, done func(result any, err error)) { panic("skeleton") }

// Subscribe calls f after each published image, in order, from one goroutine, with the kinds of things that changed since
// the last call (slices of what was touched). Changes may be folded when f is slow; the images it sees are never older than their changes.
func (q *Quorum) Subscribe(f func(old, new *image.Image, ch Changes)) { panic("skeleton") }

// Changes name what differs; folded, without repeats.
type Changes struct {
	Topics     []kafka.TopicID   // created, deleted, or partitions added
	Partitions []kafka.Partition // leader, ISR, manifest or log start
	Configs    []ConfigKey
	Brokers    []kafka.BrokerID
	Groups     []string // state replaced or deleted; not for offset commits
}
type ConfigKey struct {
	Type command.ResourceType
	Name string
}

// Status for DescribeQuorum and metrics.
type Status struct {
	LeaderID                             kafka.BrokerID
	Term                                 uint64
	LastIndex, CommitIndex, AppliedIndex uint64
	Voters, NonVoters                    []Member
	SnapshotIndex                        uint64
}
type Member struct {
	ID                      kafka.BrokerID
	Addr                    string
	LastIndex               uint64
	LastFetch, LastCaughtUp time.Time
}

func (q *Quorum) Status() Status { panic("skeleton") }
func (q *Quorum) Close() error   { panic("skeleton") }
