package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/qanat-io/qanat/metadata/config"
)

// devNode is one node of `qanat dev --nodes`: what its configuration file says.
type devNode struct {
	ID      int
	Dir     string
	Listen  string // for clients
	Cluster string // for other nodes
	Admin   string
	File    string
	TLS     string // the directory of all nodes, when they speak TLS
}

// Ports of a node, counted from the first node's port for clients. Nodes follow each other by one.
const (
	clusterPorts = 20
	adminPorts   = 40
	maxDevNodes  = 20
)

// nodes runs a cluster of several processes on this machine, or says how to start each of them by hand.
func (d devDefaults) nodes(cmd *cobra.Command, a *app, n int, printOnly bool, sets []string) error {
	if n < 1 || n > maxDevNodes {
		return failf(exitUsage, "", "--nodes %d: must be between 1 and %d", n, maxDevNodes)
	}
	if cmd.Flags().Changed("config") {
		return failf(exitUsage, "use --set, which is passed on to every node", "--config and --nodes: each node has a configuration file of its own, below --dir")
	}
	list, err := d.plan(cmd, n)
	if err != nil {
		return err
	}
	bucket := d.bucket
	if !cmd.Flags().Changed("bucket") {
		bucket = "dir:" + filepath.Join(filepath.Dir(list[0].Dir), "bucket")
	}
	if d.tls {
		dir := filepath.Dir(list[0].Dir)
		if err := forDev(dir, n); err != nil {
			return err
		}
		for i := range list {
			list[i].TLS = dir
		}
	}
	for i := range list {
		if err := list[i].write(list, bucket); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	commands := make([][]string, len(list))
	for i, node := range list {
		commands[i] = []string{self, "serve", "--config", node.File}
		for _, s := range sets {
			commands[i] = append(commands[i], "--set", s)
		}
	}
	if printOnly {
		for _, c := range commands {
			fmt.Fprintln(a.stdout, shellLine(c))
		}
		return nil
	}
	return a.runNodes(cmd.Context(), list, commands)
}

// plan gives every node its directory and its ports. With port 0 those are free ones that the system chooses, once: they are
// kept in the nodes' files.
func (d devDefaults) plan(cmd *cobra.Command, n int) ([]devNode, error) {
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	host, port, err := hostPort("listen", d.listen)
	if err != nil {
		return nil, err
	}
	adminHost, adminPort := "127.0.0.1", 0
	if port > 0 {
		adminPort = port + adminPorts
	}
	if cmd.Flags().Changed("admin") {
		if adminHost, adminPort, err = hostPort("admin", d.admin); err != nil {
			return nil, err
		}
	}
	if port+adminPorts+n > 65535 {
		return nil, failf(exitUsage, "", "--listen %s: the nodes' ports go up to %d beyond it", d.listen, adminPorts+n)
	}
	var ports free
	defer ports.close()
	list := make([]devNode, n)
	for i := range list {
		node := devNode{ID: i + 1, Dir: filepath.Join(dir, fmt.Sprintf("node-%d", i+1)), File: filepath.Join(dir, fmt.Sprintf("node-%d.yaml", i+1))}
		was := readDevNode(node.File)
		for _, p := range []struct {
			to, was *string
			host    string
			port    int
		}{{&node.Listen, &was.Listen, host, port}, {&node.Cluster, &was.Cluster, "127.0.0.1", port + clusterPorts}, {&node.Admin, &was.Admin, adminHost, adminPort}} {
			switch {
			case p.port > 0 && (port > 0 || p.to == &node.Admin && cmd.Flags().Changed("admin")):
				*p.to = net.JoinHostPort(p.host, strconv.Itoa(p.port+i))
			case *p.was != "":
				*p.to = *p.was
			default:
				if *p.to, err = ports.take(cmd.Context(), p.host); err != nil {
					return nil, err
				}
			}
		}
		list[i] = node
	}
	return list, nil
}

func hostPort(flag, address string) (host string, port int, err error) {
	if !isAddress(address) {
		return "", 0, failf(exitUsage, "", "--%s %q: must be HOST:PORT", flag, address)
	}
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return host, port, err
}

// free finds ports that nothing listens on; all are held until close, so that none is found twice.
type free []net.Listener

func (f *free) take(ctx context.Context, host string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	*f = append(*f, l)
	return l.Addr().String(), nil
}

func (f *free) close() {
	for _, l := range *f {
		_ = l.Close() // it was only held
	}
}

// nodeFile is a node's configuration file, in the order in which it is written.
type nodeFile struct {
	Node        int    `yaml:"node.id"`
	Dir         string `yaml:"data.dir"`
	Listeners   string `yaml:"listeners"`
	Cluster     string `yaml:"cluster.listener"`
	Peers       string `yaml:"cluster.peers"`
	Admin       string `yaml:"admin.listener"`
	Bucket      string `yaml:"bucket.url,omitempty"`
	Replication int    `yaml:"default.replication.factor"`
	MinISR      int    `yaml:"min.insync.replicas"`
	Delay       int    `yaml:"group.initial.rebalance.delay.ms"`

	Inter      string `yaml:"security.inter.broker.protocol,omitempty"`
	AdminProto string `yaml:"admin.security.protocol,omitempty"`
	Chain      string `yaml:"ssl.keystore.certificate.chain,omitempty"`
	Key        string `yaml:"ssl.keystore.key,omitempty"`
	Trust      string `yaml:"ssl.truststore.location,omitempty"`
}

// write writes the node's file. The first one, three or five nodes found the cluster and vote; the others join through them.
func (node devNode) write(all []devNode, bucket string) error {
	voters := 1
	for _, n := range []int{3, 5} {
		if len(all) >= n {
			voters = n
		}
	}
	var peers []string
	for _, p := range all[:voters] {
		peers = append(peers, fmt.Sprintf("%d@%s", p.ID, p.Cluster))
	}
	if bucket == "none" {
		bucket = ""
	}
	f := nodeFile{
		Node: node.ID, Dir: node.Dir, Listeners: "PLAINTEXT://" + node.Listen, Cluster: node.Cluster, Peers: strings.Join(peers, ","),
		Admin: node.Admin, Bucket: bucket, Replication: min(3, len(all)), MinISR: (min(3, len(all)) + 1) / 2,
	}
	if node.TLS != "" {
		f.Listeners = "SSL://" + node.Listen
		f.Inter, f.AdminProto = config.SSL, config.SSL
		f.Chain, f.Key = brokerFiles(node.TLS, node.ID)
		f.Trust = filepath.Join(devTLS(node.TLS), "ca.pem")
	}
	text, err := yaml.Dump(f)
	if err != nil {
		return fmt.Errorf("write %s: %w", node.File, err)
	}
	text = append([]byte("# Written by qanat dev --nodes, anew each time. Start this node by hand: qanat serve --config "+node.File+"\n"), text...)
	if err := os.WriteFile(node.File, text, 0o644); err != nil {
		return fmt.Errorf("write the node's configuration: %w", err)
	}
	return nil
}

// readDevNode reads what an earlier run has chosen; nothing of it when there was none.
func readDevNode(path string) (node devNode) {
	text, err := os.ReadFile(path)
	if err != nil {
		return node
	}
	var f nodeFile
	if yaml.Load(text, &f) != nil {
		return node
	}
	node.Listen, node.Cluster, node.Admin = strings.TrimPrefix(strings.TrimPrefix(f.Listeners, "PLAINTEXT://"), "SSL://"), f.Cluster, f.Admin
	return node
}

// shellLine is a command as a shell takes it.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if strings.ContainsFunc(w, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:,@+", r))
		}) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// nodeStop is how long a node may take to stop before it is killed: a little more than a broker allows itself.
const nodeStop = 45 * time.Second

// runNodes runs the nodes as child processes, with what they print under their names, until ctx ends or all of them have
// ended. One that ends by itself is not started again: whoever has killed it may start it by hand.
func (a *app) runNodes(ctx context.Context, list []devNode, commands [][]string) error {
	out := &lines{w: a.stdout}
	var running sync.WaitGroup
	ready := make(chan struct{}, len(list))
	var mu sync.Mutex
	var errs []error
	for i, node := range list {
		name := fmt.Sprintf("node-%d", node.ID)
		c := exec.CommandContext(ctx, commands[i][0], commands[i][1:]...)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches this process alone, which passes it on
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		c.WaitDelay = nodeStop
		c.Env = append(a.environ(), "QANAT_LOG_FORMAT=text")
		printed := func() { ready <- struct{}{} }
		stdout, stderr := out.named(name, printed), out.named(name, nil)
		c.Stdout, c.Stderr = stdout, stderr
		hangUp := func() { _, _ = stdout.Close(), stderr.Close() }
		if err := c.Start(); err != nil {
			hangUp()
			mu.Lock()
			errs = append(errs, fmt.Errorf("start %s: %w", name, err))
			mu.Unlock()
			continue
		}
		running.Go(func() {
			err := c.Wait()
			hangUp()
			if ctx.Err() != nil {
				return
			}
			out.say("%s has ended: %s; start it again with: %s", name, endText(err), shellLine(commands[i]))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		running.Wait()
		out.reading.Wait()
		close(ended)
	}()
	for n := 0; ; {
		select {
		case <-ready:
			if n++; n == len(list) {
				out.say("%s", welcome(list))
			}
			continue
		case <-ctx.Done():
			<-ended
			return nil
		case <-ended:
			return errors.Join(errs...)
		}
	}
}

func endText(err error) string {
	if err == nil {
		return "it stopped cleanly"
	}
	return err.Error()
}

func welcome(list []devNode) string {
	var brokers []string
	for _, node := range list {
		brokers = append(brokers, node.Listen)
	}
	trust := ""
	if dir := list[0].TLS; dir != "" {
		trust = " --tls-ca " + shellLine([]string{filepath.Join(devTLS(dir), "ca.pem")})
	}
	return fmt.Sprintf("the cluster is ready: --brokers %s --admin-url %s%s; try: qanat cluster health --admin-url %s%s",
		strings.Join(brokers, ","), list[0].Admin, trust, list[0].Admin, trust)
}

// lines writes whole lines of several processes, each under its name.
type lines struct {
	mu      sync.Mutex
	w       io.Writer
	reading sync.WaitGroup
}

func (l *lines) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", args...)
}

// longestLine of a child is what is kept together.
const longestLine = 1 << 20

// named is a writer for one process, to be closed; ready, if it is not nil, is called with the first line that says so.
func (l *lines) named(name string, ready func()) *io.PipeWriter {
	r, w := io.Pipe()
	l.reading.Go(func() {
		s := bufio.NewScanner(r)
		s.Buffer(nil, longestLine)
		for s.Scan() {
			l.say("%s | %s", name, s.Text())
			if ready != nil && strings.HasPrefix(s.Text(), "qanat is ready") {
				ready()
				ready = nil
			}
		}
		_, _ = io.Copy(io.Discard, r) // behind a line that was too long
	})
	return w
}
