package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/object"
)

func (a *app) serveCommand() *cobra.Command {
	var path string
	var sets []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a broker",
		Long: `Run a broker, configured by a YAML file, QANAT_* environment variables and --set, of which the later win.
One line on standard output says when it is ready; the log goes to standard error. Ctrl-C or SIGTERM
stops it cleanly, a second one at once.`,
		Example: "  qanat serve --config /etc/qanat/qanat.yaml\n  qanat serve --set data.dir=/var/lib/qanat --set bucket.url=s3://my-bucket",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(config.Sources{File: path, Sets: sets})
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	c.Flags().StringArrayVar(&sets, "set", nil, "KEY=VALUE, over the file; may be repeated")
	a.completeConfigKeys(c)
	return c
}

// devDefaults are the flags of dev.
type devDefaults struct {
	dir, listen, admin, bucket string
	tls                        bool
}

// listeners is the key's value for an address.
func (d devDefaults) listeners(address string) string {
	if d.tls {
		return "SSL://" + address
	}
	return "PLAINTEXT://" + address
}

func (a *app) devCommand() *cobra.Command {
	var d devDefaults
	var path string
	var sets []string
	var nodes int
	var printCommands bool
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a broker, or a cluster, for development: nothing to set up",
		Long: `Run one broker that keeps everything below one directory, a directory in place of a bucket included, and
listens on this machine only. What it acknowledges is on disk, as with serve; it differs in defaults alone:

  data.dir                          ./qanat-data
  listeners                         PLAINTEXT://` + defaultBroker + `
  admin.listener                    ` + defaultAdmin + `, or the next port that is free
  cluster.listener                  a port that the system chooses
  bucket.url                        dir:DIR/bucket
  group.initial.rebalance.delay.ms  0

With --tls, every port speaks TLS, with certificates of a throwaway CA that are made below DIR/tls at the first start, for
as long as they last (a year): clients need --tls-ca DIR/tls/ca.pem.

With --nodes N, run a cluster of N brokers, each a process of its own with a configuration file DIR/node-1.yaml,
DIR/node-2.yaml, …: clients' ports follow --listen one by one, those between brokers begin 20 and the admin ports 40 above
it; port 0 lets the system choose all of them, once. Topics get three replicas. A node that is killed is not started again:
start it by hand with its line of --print-commands.`,
		Example: "  qanat dev\n  qanat dev --nodes 3 --dir /tmp/cluster\n  qanat dev --nodes 3 --dir /tmp/cluster --print-commands   # one line for each node, to be started by hand",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("nodes") {
				return d.nodes(cmd, a, nodes, printCommands, sets)
			}
			if printCommands {
				return failf(exitUsage, "", "--print-commands: say how many with --nodes")
			}
			if d.tls {
				if err := forDev(d.dir, 1); err != nil {
					return err
				}
			}
			given, wrong := d.given(cmd)
			cfg, err := a.load(config.Sources{Base: d.base(cmd), File: path, Flags: given, Sets: sets}, wrong...)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&d.dir, "dir", "qanat-data", "directory that holds everything")
	f.StringVar(&d.listen, "listen", defaultBroker, "HOST:PORT for clients")
	f.StringVar(&d.admin, "admin", defaultAdmin, "HOST:PORT for the admin port; if not given, the next port that is free")
	f.StringVar(&d.bucket, "bucket", "", "bucket URL: dir:PATH, s3://NAME?endpoint=…, minio://NAME?endpoint=…, or none (default dir:DIR/bucket)")
	f.BoolVar(&d.tls, "tls", false, "speak TLS on every port, with certificates that are made for it")
	f.IntVar(&nodes, "nodes", 1, "run a cluster of so many brokers, each a process of its own")
	f.BoolVar(&printCommands, "print-commands", false, "with --nodes: start nothing, print the command line of each node")
	f.StringVarP(&path, "config", "c", "", "configuration file")
	f.StringArrayVar(&sets, "set", nil, "KEY=VALUE; may be repeated")
	a.completeConfigKeys(c)
	return c
}

// base are dev's defaults, which file, environment and --set go over.
func (d devDefaults) base(cmd *cobra.Command) []config.Assignment {
	admin := d.admin
	if !cmd.Flags().Changed("admin") {
		admin = freePort(admin)
	}
	var list []config.Assignment
	for _, x := range []struct{ flag, key, value string }{
		{"dir", "data.dir", d.dir},
		{"listen", "listeners", d.listeners(d.listen)},
		{"admin", "admin.listener", admin},
		{"", "raft.listener", "127.0.0.1:0"}, // under its older name, so that either goes over it
		{"bucket", "bucket.url", "dir:" + filepath.Join(d.dir, "bucket")},
		{"", "group.initial.rebalance.delay.ms", "0"},
	} {
		if x.flag == "" || !cmd.Flags().Changed(x.flag) {
			list = append(list, config.Assignment{Key: x.key, Value: x.value, From: "qanat dev"})
		}
	}
	if d.tls {
		cert, key := brokerFiles(d.dir, 1)
		for _, x := range [][2]string{
			{"ssl.keystore.certificate.chain", cert}, {"ssl.keystore.key", key}, {"ssl.truststore.location", filepath.Join(devTLS(d.dir), "ca.pem")},
			{"security.inter.broker.protocol", config.SSL}, {"admin.security.protocol", config.SSL},
		} {
			list = append(list, config.Assignment{Key: x[0], Value: x[1], From: "qanat dev --tls"})
		}
	}
	return list
}

// given are the flags that were, which go over file and environment, and what is wrong with them: an address is judged
// in the words of its flag, as the key behind it has a wider grammar.
func (d devDefaults) given(cmd *cobra.Command) (list []config.Assignment, wrong []error) {
	bucket := d.bucket
	if bucket == "none" {
		bucket = ""
	}
	for _, f := range []struct{ flag, key, value, address string }{
		{"dir", "data.dir", d.dir, ""},
		{"listen", "listeners", d.listeners(d.listen), d.listen},
		{"admin", "admin.listener", d.admin, d.admin},
		{"bucket", "bucket.url", bucket, ""},
	} {
		switch {
		case !cmd.Flags().Changed(f.flag):
		case f.address != "" && !isAddress(f.address):
			wrong = append(wrong, fmt.Errorf("--%s %q: must be HOST:PORT", f.flag, f.address))
		default:
			list = append(list, config.Assignment{Key: f.key, Value: f.value, From: "--" + f.flag})
		}
	}
	return list, wrong
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// freePort is the address, or the next of the ten ports above it that nothing listens on.
func freePort(address string) string {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return address // the loader says what is wrong with it
	}
	port, err := strconv.Atoi(text)
	if err != nil || port == 0 {
		return address
	}
	for p := port; p < port+10; p++ {
		candidate := net.JoinHostPort(host, strconv.Itoa(p))
		l, err := net.Listen("tcp", candidate)
		if err != nil {
			continue
		}
		if l.Close() == nil {
			return candidate
		}
	}
	return address
}

// load reads the configuration; what is wrong with it, and was found wrong before, is all told at once.
func (a *app) load(from config.Sources, wrong ...error) (*config.Broker, error) {
	return a.loadChecked(from, func(cfg *config.Broker) error { return errors.Join(checkBucket(cfg), broker.CheckTLS(cfg)) }, wrong...)
}

// loadChecked reads the configuration; check has the last word.
func (a *app) loadChecked(from config.Sources, check func(*config.Broker) error, wrong ...error) (*config.Broker, error) {
	from.Environ = a.environ()
	cfg, err := from.Load()
	if err == nil {
		err = check(cfg)
	}
	err = errors.Join(append(wrong, err)...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failf(exitNotFound, "", "%w", err)
	case err != nil:
		return nil, failf(exitConfig, "docs/configuration.md lists every key; `qanat config check --explain` shows the values", "%w", err)
	}
	return cfg, nil
}

// checkBucket has the last word on bucket.url, of which the configuration's own rules know the outline.
func checkBucket(cfg *config.Broker) error {
	if !cfg.HasBucket() {
		return nil
	}
	if err := object.CheckURL(cfg.String("bucket.url")); err != nil {
		return fmt.Errorf("%s: bucket.url: %w", cfg.From("bucket.url"), err)
	}
	return nil
}

// serve runs a broker until ctx ends.
func (a *app) serve(ctx context.Context, cfg *config.Broker) error {
	log, err := telemetry.NewLogger(a.stderr, cfg.String("log.level"), cfg.String("log.format"))
	if err != nil {
		return failf(exitConfig, "", "%w", err)
	}
	slog.SetDefault(log)
	limitMemory(log)
	manager := supervised(log)
	defer manager.end()
	b, err := broker.Open(ctx, cfg, broker.Options{Version: buildVersion(), Program: a.program, Stdout: a.stdout, Tell: manager.tell, Log: log})
	if err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	answered := a.answerStop(ctx)
	err = b.Run(ctx)
	answered()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the broker stopped: %w", err)
	}
	if a.stderrTTY {
		fmt.Fprintf(a.stderr, "stopped cleanly; the next start on %s goes on from here\n", cfg.String("data.dir"))
	}
	return nil
}

// answerStop tells a person who has pressed Ctrl-C that it was heard; a machine reads the log. The function that it returns is
// called after the broker's end, and waits until that is said.
func (a *app) answerStop(ctx context.Context) func() {
	if !a.stderrTTY {
		return func() {}
	}
	said := make(chan struct{})
	unheard := context.AfterFunc(ctx, func() {
		defer close(said)
		fmt.Fprintln(a.stderr, "\nstopping: what is written goes to disk first (Ctrl-C again ends it at once, and loses nothing acknowledged)")
	})
	return func() {
		if !unheard() {
			<-said
		}
	}
}

// memoryShare of a container's limit is what Go may fill before it collects
// more eagerly; the rest is for the page cache's bookkeeping and for stacks.
const memoryShare = 0.9

// limitMemory follows the limit of the container, unless GOMEMLIMIT says one.
func limitMemory(log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memlimit.FromCgroup))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, fs.ErrNotExist):
		log.Debug("memory is not limited by a container")
	case err != nil:
		log.Debug("memory limit of the container is unknown", "error", err)
	default:
		log.Debug("memory limit", "bytes", limit)
	}
}
