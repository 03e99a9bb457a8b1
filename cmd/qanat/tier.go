package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/console"
)

func (a *app) tierCommand() *cobra.Command {
	return a.parent("tier", "Look at the bucket and what goes there",
		a.tierStatusCommand(), a.tierInspectCommand(), a.tierSweepCommand(), a.tierScrubCommand())
}

func (a *app) tierStatusCommand() *cobra.Command {
	return a.outputs(&cobra.Command{
		Use:   "status",
		Short: "Show uploads, backlog, failures and requests",
		Long: `Show what is in the bucket, what still waits to go there, and what fails; and, counted since this broker
process began, the bytes and requests to and from the bucket. /metrics has the same counters.`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t console.Tier
			if err := a.ask(cmd.Context(), http.MethodGet, "/v1/tier", nil, &t); err != nil {
				return err
			}
			if err := a.showFields(t,
				"bucket", t.Bucket,
				"hot", bytesText(t.HotBytes),
				"cold", bytesText(t.ColdBytes),
				"backlog", fmt.Sprintf("%s, %s behind, %d uploading", bytesText(t.BacklogBytes), secondsText(t.BacklogSeconds), t.Uploading),
				"cache", bytesText(t.CacheBytes),
				"failing", count(len(t.Failing), "partition"),
				"counted since", t.Since.UTC().Format(time.RFC3339)+", the start of the broker's process:",
				"  sent", fmt.Sprintf("%s in %d PUTs", bytesText(t.BytesUp), t.Puts),
				"  received", fmt.Sprintf("%s in %d GETs", bytesText(t.BytesDown), t.Gets),
				"  other requests", fmt.Sprintf("%d HEADs, %d LISTs, %d DELETEs", t.Heads, t.Lists, t.Deletes),
			); err != nil {
				return err
			}
			if len(t.Failing) == 0 || a.output == formatJSON || a.output == formatYAML {
				return nil
			}
			fmt.Fprintln(a.stdout)
			failing := table{columns: []string{"TOPIC", "#PARTITION", "#PENDING", "SINCE", "ERROR"}}
			for _, f := range t.Failing {
				failing.add(f.Topic, strconv.Itoa(int(f.Partition)), bytesText(f.PendingBytes), f.At.UTC().Format(time.RFC3339), f.Error)
			}
			failing.print(a.stdout, false)
			return nil
		},
	})
}

func (a *app) tierSweepCommand() *cobra.Command {
	var dryRun, force bool
	var grace time.Duration
	c := a.outputs(&cobra.Command{
		Use:   "sweep",
		Short: "Delete objects that no partition names (orphans of broken-off uploads)",
		Long: `List the bucket and delete the objects that no partition names and that are older than the grace: what a
broken-off upload or a lost leadership left behind. The broker does so by itself every tier.sweep.interval.ms.`,
		Example: "  qanat tier sweep --dry-run",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"dry_run": {strconv.FormatBool(dryRun)}, "force": {strconv.FormatBool(force)}}
			if cmd.Flags().Changed("grace") {
				if grace <= 0 {
					return failf(exitUsage, "without it, orphans are as old as tier.orphan.grace.ms says", "--grace %v: must be above zero", grace)
				}
				q.Set("grace", grace.String())
			}
			if !dryRun {
				if err := a.confirm("Delete orphans from the bucket"); err != nil {
					return err
				}
			}
			var s console.Sweep
			if err := a.ask(cmd.Context(), http.MethodPost, "/v1/tier/sweep", q, &s); err != nil {
				return err
			}
			return a.showSweep(s)
		},
	})
	c.Flags().BoolVar(&dryRun, "dry-run", false, "delete nothing, list them")
	c.Flags().DurationVar(&grace, "grace", 0, "how old an orphan must be (default: tier.orphan.grace.ms)")
	c.Flags().BoolVar(&force, "force", false, "a shorter grace than tier.orphan.grace.ms in a cluster of several: no broker uploads anything now")
	a.destructive(c)
	return c
}

func (a *app) showSweep(s console.Sweep) error {
	t := table{footer: fmt.Sprintf("%s listed, %s (%s) deleted", count(s.Objects, "object"), count(s.Orphans, "orphan"), bytesText(s.OrphanBytes))}
	if s.DryRun {
		t.footer = fmt.Sprintf("%s listed, %s (%s) found; nothing was deleted (--dry-run)", count(s.Objects, "object"), count(s.Orphans, "orphan"), bytesText(s.OrphanBytes))
	}
	if len(s.Keys) > 0 && (s.DryRun || a.output == formatWide) {
		t.columns = []string{"ORPHAN"}
		for _, k := range s.Keys {
			t.add(k)
		}
	}
	return a.show(s, t)
}

// sized is something to read at positions.
type sized interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
