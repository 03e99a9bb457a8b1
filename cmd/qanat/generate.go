package main

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/telemetry/dashboards"
)

//go:embed packaging/qanat.service
var systemdUnit string

// generateCommand makes what others read.
func (a *app) generateCommand() *cobra.Command {
	return a.parent("generate", "Make files for the programs around a broker",
		a.generateSystemd(), a.generateGrafana(), a.generatePrometheus(), a.generateCollector())
}

func (a *app) generateSystemd() *cobra.Command {
	return &cobra.Command{
		Use:   "systemd",
		Short: "Print a systemd unit for a broker",
		Long: `Print a hardened systemd unit: it runs ` + "`/usr/bin/qanat serve --config /etc/qanat/qanat.yaml`" + ` as user qanat, with data
below /var/lib/qanat, is told when the broker serves, and restarts it when it ends, or the process does not run any more. The user is to be made first:
useradd --system --home-dir /var/lib/qanat --shell /usr/sbin/nologin qanat`,
		Example: "  qanat generate systemd > /etc/systemd/system/qanat.service",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.stdout, systemdUnit)
			return err
		},
	}
}

func (a *app) generateGrafana() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "grafana",
		Short: "Write Grafana dashboards, and what provisions them",
		Long: `Write five dashboards (Overview, Topics & Groups, Tier & Replay, Metadata quorum, Clients) as JSON, and files that have Grafana
load them and know a Prometheus. They want metrics as Prometheus scrapes them from the admin ports.`,
		Example: "  qanat generate grafana --dir grafana",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			files, err := dashboards.Grafana()
			if err != nil {
				return err
			}
			return a.writeFiles(dir, files)
		},
	}
	c.Flags().StringVar(&dir, "dir", "grafana", "where the files go")
	return c
}

func (a *app) generatePrometheus() *cobra.Command {
	var dir string
	var targets []string
	var o dashboards.Options
	c := &cobra.Command{
		Use:   "prometheus",
		Short: "Write alert rules for Prometheus, and a configuration that scrapes brokers",
		Long: `Write alert rules, each with the address of its runbook, and an example configuration that scrapes the admin ports of --target and
loads them. docs/runbooks.md has what each alert means and what to do. Admin ports that speak TLS are asked so with --tls, or with --tls-ca FILE, which the
configuration names.`,
		Example: "  qanat generate prometheus --dir prometheus --target b1:9644 --target b2:9644 --target b3:9644\n  qanat generate prometheus --target b1:9644 --tls-ca /etc/prometheus/ca.pem",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if o.TLS, o.CA = a.wantsTLS(), a.flagsOfTLS().ca; o.CA != "" {
				var err error
				if o.CA, err = filepath.Abs(o.CA); err != nil {
					return failf(exitUsage, "", "--tls-ca: %w", err)
				}
			}
			for i, t := range targets {
				bare, secured := strings.CutPrefix(t, "https://")
				if targets[i] = strings.TrimPrefix(bare, "http://"); secured {
					o.TLS = true
				}
			}
			files, err := dashboards.Prometheus(o, targets)
			if err != nil {
				return err
			}
			return a.writeFiles(dir, files)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "prometheus", "where the files go")
	f.StringSliceVar(&targets, "target", []string{defaultAdmin}, "HOST:PORT of a broker's admin port; may be repeated")
	f.StringVar(&o.Job, "job", "", "job_name of the scrape configuration (default qanat)")
	f.StringVar(&o.Runbook, "runbook-url", "", "address of runbooks.md (default: in the repository)")
	f.DurationVar(&o.Range, "range", 0, "over which rates are taken (default 5m)")
	f.DurationVar(&o.For, "for", 0, "for how long every condition must hold, in place of each alert's own; negative: not at all")
	f.DurationVar(&o.Lag, "lag", 0, "how far a group may be behind (default 5m)")
	f.DurationVar(&o.Backlog, "backlog", 0, "how long a closed segment may wait for the bucket (default 15m)")
	f.DurationVar(&o.Failing, "failing", 0, "for how long all uploads of a partition may fail (default 10m)")
	f.DurationVar(&o.Transaction, "transaction", 0, "how long a transaction may be under way (default 15m)")
	f.DurationVar(&o.Produce, "produce", 0, "how long one produce in a hundred may take (default 1s)")
	f.DurationVar(&o.Certificate, "certificate", 0, "how long before its end a certificate is to be replaced (default 336h)")
	f.Float64Var(&o.DiskFree, "disk-free", 0, "share of the data volume that must be free (default 0.15)")
	return c
}

func (a *app) generateCollector() *cobra.Command {
	return &cobra.Command{
		Use:   "otelcol",
		Short: "Print an example configuration of the OpenTelemetry Collector",
		Long: `Print a configuration of the OpenTelemetry Collector that takes metrics, traces and logs over OTLP and prints them; where they
should go instead is yours to say. Brokers push to it with OTEL_EXPORTER_OTLP_ENDPOINT=http://COLLECTOR:4318 in their environment.`,
		Example: "  qanat generate otelcol > otelcol.yaml",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(dashboards.Collector())
			return err
		},
	}
}

// writeFiles writes files below dir and prints their paths.
func (a *app) writeFiles(dir string, files []dashboards.File) error {
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("--dir: %w", err)
		}
		if err := os.WriteFile(path, f.Text, 0o644); err != nil {
			return fmt.Errorf("--dir: %w", err)
		}
		fmt.Fprintln(a.stdout, path)
	}
	return nil
}
