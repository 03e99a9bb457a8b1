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
			cfg, err := a.load(nil, path, sets)
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
}

func (a *app) devCommand() *cobra.Command {
	var d devDefaults
	var path string
	var sets []string
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a broker for development: nothing to set up",
		Long: `Run one broker that keeps everything below one directory, a directory in place of a bucket included, and
listens on this machine only. What it acknowledges is on disk, as with serve; it differs in defaults alone:

  data.dir                          ./qanat-data
  listeners                         PLAINTEXT://` + defaultBroker + `
  admin.listener                    ` + defaultAdmin + `, or the next port that is free
  raft.listener                     a port that the system chooses
  bucket.url                        dir:DIR/bucket
  group.initial.rebalance.delay.ms  0`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(d.base(cmd), path, append(d.sets(cmd), sets...))
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
		{"listen", "listeners", "PLAINTEXT://" + d.listen},
		{"admin", "admin.listener", admin},
		{"", "raft.listener", "127.0.0.1:0"},
		{"bucket", "bucket.url", "dir:" + filepath.Join(d.dir, "bucket")},
		{"", "group.initial.rebalance.delay.ms", "0"},
	} {
		if x.flag == "" || !cmd.Flags().Changed(x.flag) {
			list = append(list, config.Assignment{Key: x.key, Value: x.value, From: "qanat dev"})
		}
	}
	return list
}

// sets are the flags that were given, which go over file and environment.
func (d devDefaults) sets(cmd *cobra.Command) []string {
	bucket := d.bucket
	if bucket == "none" {
		bucket = ""
	}
	var list []string
	for _, f := range []struct{ flag, set string }{
		{"dir", "data.dir=" + d.dir},
		{"listen", "listeners=PLAINTEXT://" + d.listen},
		{"admin", "admin.listener=" + d.admin},
		{"bucket", "bucket.url=" + bucket},
	} {
		if cmd.Flags().Changed(f.flag) {
			list = append(list, f.set)
		}
	}
	return list
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

// load reads the configuration; what is wrong with it is all told at once.
func (a *app) load(base []config.Assignment, path string, sets []string) (*config.Broker, error) {
	cfg, err := config.LoadOver(base, path, a.environ(), sets)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failf(exitNotFound, "", "%w", err)
	case err != nil:
		return nil, failf(exitConfig, "docs/configuration.md lists every key; `qanat config check --explain` shows the values", "%w", err)
	}
	return cfg, nil
}

// serve runs a broker until ctx ends.
func (a *app) serve(ctx context.Context, cfg *config.Broker) error {
	log, err := telemetry.NewLogger(a.stderr, cfg.String("log.level"), cfg.String("log.format"))
	if err != nil {
		return failf(exitConfig, "", "%w", err)
	}
	slog.SetDefault(log)
	limitMemory(log)
	b, err := broker.Open(ctx, cfg, broker.Options{Version: buildVersion(), Stdout: a.stdout, Log: log})
	if err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the broker stopped: %w", err)
	}
	return nil
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
