package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/quorum"
)

func (a *app) quorumCommand() *cobra.Command {
	return a.parent("quorum", "Look at the metadata quorum, and recover it when its majority is lost",
		a.quorumStatusCommand(), a.quorumRecoverCommand())
}

// quorumStatus is what quorum status prints.
type quorumStatus struct {
	Leader  int32          `json:"leader"` // -1 without one
	Term    int32          `json:"term"`
	Commit  int64          `json:"commit_index"`
	Members []quorumMember `json:"members"`
}

type quorumMember struct {
	ID        int32   `json:"id"`
	Address   string  `json:"address"`
	Voter     bool    `json:"voter"`
	Last      int64   `json:"last_index"`
	Heard     float64 `json:"heard_seconds"` // -1: not known
	CaughtUp  float64 `json:"caught_up_seconds"`
	Directory string  `json:"directory,omitempty"`
}

func (a *app) quorumStatusCommand() *cobra.Command {
	return a.outputs(&cobra.Command{
		Use:   "status",
		Short: "Show who leads the metadata quorum, who votes, and how far each member is",
		Long: `Show the leader of the metadata quorum, its voters, and the other members, which have all the metadata and no
vote. Any broker answers. LAG is by how many entries a member is behind the leader; HEARD, how long ago the leader has had an
answer from it; CAUGHT UP, how long ago it had everything that was committed.`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.quorumStatus(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(s, quorumTable(s))
		},
	})
}

func (a *app) quorumStatus(ctx context.Context) (*quorumStatus, error) {
	cl, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("describe the metadata quorum: %w", err)
	}
	return quorumOf(resp)
}

func quorumOf(resp *kmsg.DescribeQuorumResponse) (*quorumStatus, error) {
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("describe the metadata quorum: the answer has no log")
	}
	p := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return nil, fmt.Errorf("describe the metadata quorum: %w", err)
	}
	s := &quorumStatus{Leader: p.LeaderID, Term: p.LeaderEpoch, Commit: p.HighWatermark}
	addresses := map[int32]string{}
	for _, n := range resp.Nodes {
		for _, l := range n.Listeners {
			addresses[n.NodeID] = net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
		}
	}
	// The leader has heard of itself just now, by its own clock: by that ages are told, for clocks may be hours apart.
	now := time.Now()
	for _, r := range p.CurrentVoters {
		if r.ReplicaID == p.LeaderID && r.LastFetchTimestamp > 0 {
			now = time.UnixMilli(r.LastFetchTimestamp)
		}
	}
	add := func(list []kmsg.DescribeQuorumResponseTopicPartitionReplicaState, voter bool) {
		for _, r := range list {
			m := quorumMember{ID: r.ReplicaID, Address: addresses[r.ReplicaID], Voter: voter, Last: r.LogEndOffset,
				Heard: secondsBefore(now, r.LastFetchTimestamp), CaughtUp: secondsBefore(now, r.LastCaughtUpTimestamp)}
			if r.ReplicaDirectoryID != [16]byte{} {
				m.Directory = fmt.Sprintf("%x", r.ReplicaDirectoryID)
			}
			s.Members = append(s.Members, m)
		}
	}
	add(p.CurrentVoters, true)
	add(p.Observers, false)
	slices.SortFunc(s.Members, func(x, y quorumMember) int { return cmp.Compare(x.ID, y.ID) })
	return s, nil
}

// secondsBefore is the age of a time on the wire; -1 when it is not known.
func secondsBefore(now time.Time, ms int64) float64 {
	if ms < 0 {
		return -1
	}
	return max(0, now.Sub(time.UnixMilli(ms)).Seconds())
}

func quorumTable(s *quorumStatus) table {
	t := table{columns: []string{"BROKER", "ADDRESS", "ROLE", "#LAST", "#LAG", "#HEARD", "#CAUGHT UP", "+DIRECTORY"}}
	var end int64
	for _, m := range s.Members {
		end = max(end, m.Last)
	}
	age := func(seconds float64) string {
		if seconds < 0 {
			return "?"
		}
		return secondsText(seconds)
	}
	for _, m := range s.Members {
		role := "observer"
		switch {
		case m.ID == s.Leader:
			role = "leader"
		case m.Voter:
			role = "voter"
		}
		lag := strconv.FormatInt(end-m.Last, 10)
		if m.Heard < 0 && m.Last == 0 {
			lag = "?"
		}
		t.add(strconv.Itoa(int(m.ID)), m.Address, role, strconv.FormatInt(m.Last, 10), lag, age(m.Heard), age(m.CaughtUp), m.Directory)
	}
	return t
}

func (a *app) quorumRecoverCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "recover",
		Short: "Make one stopped broker the whole metadata quorum, when the majority is lost for good",
		Long: `Make the broker whose data directory this is the only voter of its cluster. For when more than half of the voters
are lost and do not come back: without a majority nothing can be created, elected or committed any more.

  * The broker must be stopped. Of those that are left choose the one whose log reaches furthest: this command shows how
    far that is, and asks before it changes anything.
  * What the lost voters had and this one has not is lost: topics created, offsets committed and segments uploaded in the last
    moments before. Records are not touched.
  * All other brokers, dead or alive, are members no more. Each must come back with an empty data directory; its replicas
    are copied to it again. A broker that comes back with its old one is refused, and says so.

Make a copy of DIR/metadata first.`,
		Example: "  qanat quorum recover --dir /var/lib/qanat",
		Args:    wantArgs(cobra.NoArgs),
		RunE:    func(_ *cobra.Command, _ []string) error { return a.recoverQuorum(dir) },
	}
	c.Flags().StringVar(&dir, "dir", "", "the broker's data directory (data.dir)")
	a.destructive(c)
	return c
}

func (a *app) recoverQuorum(dir string) error {
	if dir == "" {
		return failf(exitUsage, "say which data directory with --dir", "no data directory is given")
	}
	metadata := filepath.Join(dir, "metadata")
	if _, err := os.Stat(metadata); err != nil {
		return failf(exitUsage, "--dir is the broker's data directory, which holds metadata/", "no metadata in %s: %w", dir, rootCause(err))
	}
	quiet := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	r, err := quorum.Inspect(metadata, quiet)
	if err != nil {
		return inUse(err)
	}
	fmt.Fprintf(a.stderr, "cluster  %s\nbroker   %d\nlog      ends at entry %d of term %d\nvoters   %s\n", r.Cluster, r.Node, r.LastIndex, r.LastTerm, idList(r.Voters))
	fmt.Fprintf(a.stderr, "\nWhat other voters had beyond entry %d is lost with this. Every other broker must come back with an empty\ndata directory; none of the voters named above may ever run with its old one where broker %d cannot be reached.\n\n", r.LastIndex, r.Node)
	if err := a.confirm(fmt.Sprintf("make broker %d the only voter of cluster %s", r.Node, r.Cluster)); err != nil {
		return err
	}
	if _, err := quorum.Recover(metadata, quiet); err != nil {
		return inUse(err)
	}
	fmt.Fprintf(a.stdout, "broker %d is the only voter of cluster %s; start it, then the others with empty directories\n", r.Node, r.Cluster)
	return nil
}

func inUse(err error) error {
	if errors.Is(err, quorum.ErrInUse) {
		return failf(exitUsage, "stop the broker first", "%w", err)
	}
	return err
}
