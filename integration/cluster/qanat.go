package cluster

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Qanat is the broker of this repository. One node is `qanat dev`; more are the lines that `qanat dev --nodes N
// --print-commands` prints, each with its node's place in it.
type Qanat struct {
	Bin  string   // the program
	Sets []string // key=value

	once  sync.Once
	lines [][]string
	err   error
}

// Name is the system's.
func (*Qanat) Name() string { return "Qanat" }

// Async is false: an acknowledgement means a disk.
func (*Qanat) Async() bool { return false }

// Start is a node's command.
func (q *Qanat) Start(c *Cluster, node int) (Start, error) {
	if c.Nodes() > 1 {
		q.once.Do(func() { q.lines, q.err = q.commands(c) })
		if q.err != nil {
			return Start{}, q.err
		}
		return Start{Args: q.lines[node]}, nil
	}
	args := []string{q.Bin, "dev", "--dir", c.Data(node), "--listen", c.Address(node),
		"--admin", q.Admin(c, node), "--set", fmt.Sprintf("raft.listener=%s:%d", c.Host(node), c.Port(node)+2)}
	return Start{Args: append(args, q.more(c)...)}, nil
}

func (q *Qanat) more(c *Cluster) []string {
	var args []string
	if c.Bucket != "" {
		args = append(args, "--bucket", c.Bucket)
	}
	for _, s := range q.Sets {
		args = append(args, "--set", s)
	}
	return args
}

// commands asks the program for the nodes' commands: the first listener of each node is given, the others are next to it.
func (q *Qanat) commands(c *Cluster) ([][]string, error) {
	args := append([]string{"dev", "--nodes", fmt.Sprint(c.Nodes()), "--dir", filepath.Join(c.Dir, "nodes"), "--listen", c.Bootstrap(), "--print-commands"}, q.more(c)...)
	cmd := exec.Command(q.Bin, args...)
	cmd.Env = environ()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", q.Bin, strings.Join(args, " "), err)
	}
	var lines [][]string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		lines = append(lines, strings.Fields(line))
	}
	if len(lines) != c.Nodes() {
		return nil, fmt.Errorf("%d commands for %d nodes: %s", len(lines), c.Nodes(), out)
	}
	return lines, nil
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
