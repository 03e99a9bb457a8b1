package cluster

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
)

// Qanat is the broker of this repository: one node is `qanat dev`, more are `qanat serve` with the keys that make a cluster.
type Qanat struct {
	Bin  string   // the program
	Sets []string // key=value
	// Clock says that the program is one of integration/scripts/qanat-clock; the file beside a node's log shifts its clock.
	Clock bool
}

// Name is the system's.
func (*Qanat) Name() string { return "Qanat" }

// Async is false: an acknowledgement means a disk.
func (*Qanat) Async() bool { return false }

// Start is a node's command.
func (q *Qanat) Start(c *Cluster, node int) (Start, error) {
	args := []string{q.Bin, "dev", "--dir", c.Data(node), "--listen", c.Address(node), "--admin", q.Admin(c, node)}
	sets := []string{"raft.listener=" + q.peer(c, node)}
	if c.Nodes() > 1 {
		args = []string{q.Bin, "serve"}
		sets = q.member(c, node)
	}
	if c.Bucket != "" {
		sets = append(sets, "bucket.url="+c.Bucket)
	}
	for _, s := range append(sets, q.Sets...) {
		args = append(args, "--set", s)
	}
	start := Start{Args: args}
	if q.Clock {
		start.Env = []string{"FAULTS_CLOCK=" + c.ClockFile(node)}
	}
	return start, nil
}

// member is the configuration of one node of several, of which the first one, three or five vote.
func (q *Qanat) member(c *Cluster, node int) []string {
	voters := 1
	for _, n := range []int{3, 5} {
		if c.Nodes() >= n {
			voters = n
		}
	}
	var peers []string
	for i := range voters {
		peers = append(peers, fmt.Sprintf("%d@%s", i+1, q.peer(c, i)))
	}
	return append([]string{
		fmt.Sprintf("node.id=%d", node+1), "data.dir=" + c.Data(node), "listeners=PLAINTEXT://" + c.Address(node), "admin.listener=" + q.Admin(c, node),
		"cluster.listener=" + q.peer(c, node), "cluster.peers=" + strings.Join(peers, ","), "group.initial.rebalance.delay.ms=0",
	}, shareGroups...)
}

// peer is where other nodes reach a node.
func (*Qanat) peer(c *Cluster, node int) string {
	return fmt.Sprintf("%s:%d", c.Host(node), c.Port(node)+2)
}

// Refuses implements System: a voter must not vote on what it has forgotten.
func (*Qanat) Refuses(printed string) bool {
	return strings.Contains(printed, "start it with an empty directory")
}

// Admin is the port after the clients'.
func (*Qanat) Admin(c *Cluster, node int) string {
	return fmt.Sprintf("%s:%d", c.Host(node), c.Port(node)+1)
}

// Records is the directory of a replica.
func (*Qanat) Records(c *Cluster, node int, _ string, topicID [16]byte, partition int32) string {
	return filepath.Join(c.Data(node), "partitions", base64.RawURLEncoding.EncodeToString(topicID[:]), fmt.Sprint(partition))
}

// Files are what a replica and the metadata consist of.
func (*Qanat) Files() map[string][]string {
	return map[string][]string{
		"segment":  {"partitions/*/*/*.log"},
		"state":    {"partitions/*/*/*.state", "partitions/recovery"},
		"index":    {"index/badger/*"},
		"raft log": {"metadata/log/*"},
		"snapshot": {"metadata/snapshots/*/*"},
	}
}
