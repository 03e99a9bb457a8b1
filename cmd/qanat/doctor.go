package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/doctor"
	"github.com/qanat-io/qanat/metadata/config"
)

func (a *app) doctorCommand() *cobra.Command {
	var path string
	var sets []string
	c := a.outputs(&cobra.Command{
		Use:   "doctor",
		Short: "Look at what a broker stands on: disk, limits, clock, network, bucket, certificates",
		Long: `Look, on a broker's machine and with its configuration, at what it stands on: how fast the disk flushes and writes,
how much room there is, how many files may be open, whether certificates last, whether the other brokers of
cluster.peers are reached, and whether the bucket lets put, get, list and delete: the right that is missing is named.
Where something is wrong, what to do about it.

The broker may run meanwhile. Nothing is changed; what is written for a measurement is removed. Run it as the broker's user
and with its environment, or what is allowed to one is not seen to be forbidden to the other. Exit code 10 when there is a
problem; warnings alone are 0.`,
		Example: "  qanat doctor --config /etc/qanat/qanat.yaml\n  qanat doctor --set data.dir=/var/lib/qanat --set bucket.url=s3://my-bucket -o json",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// What is wrong with bucket and certificates is a finding, beside others.
			cfg, err := a.loadChecked(config.Sources{File: path, Sets: sets}, func(*config.Broker) error { return nil })
			if err != nil {
				return err
			}
			found := doctor.Examine(cmd.Context(), cfg)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := a.showFindings(found); err != nil {
				return err
			}
			if n := doctor.Problems(found); n > 0 {
				return failf(exitUnhealthy, "", "%s", count(n, "problem"))
			}
			return nil
		},
	})
	c.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	c.Flags().StringArrayVar(&sets, "set", nil, "KEY=VALUE, over the file; may be repeated")
	a.completeConfigKeys(c)
	return c
}

// showFindings prints a line for each, and below it what to do: no table, as both are sentences.
func (a *app) showFindings(list []doctor.Finding) error {
	if a.output == formatJSON || a.output == formatYAML {
		return a.show(list)
	}
	width := 0
	for _, f := range list {
		width = max(width, len(f.Check))
	}
	for _, f := range list {
		fmt.Fprintf(a.stdout, "%-7s  %-*s  %s\n", f.Result, width, f.Check, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(a.stdout, "%-7s  %-*s  → %s\n", "", width, "", f.Remedy)
		}
	}
	return nil
}
