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
		Long: `Show what is in the bucket, what still waits to go there, what fails, and which objects were found missing or
damaged, by a read or a sweep; and, counted since this broker process began, the bytes and requests to and from the
bucket. /metrics has the same counters.`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t console.Tier
			if err := a.ask(cmd.Context(), http.MethodGet, "/v1/tier", nil, &t); err != nil {
				return err
			}
			bucket := t.Bucket
			if t.Held != "" {
				bucket += " (HELD: " + t.Held + "; see the broker's log)"
			}
			if err := a.showFields(t,
				"bucket", bucket,
				"hot", bytesText(t.HotBytes),
				"cold", bytesText(t.ColdBytes),
				"backlog", fmt.Sprintf("%s, %s behind, %d uploading", bytesText(t.BacklogBytes), secondsText(t.BacklogSeconds), t.Uploading),
				"cache", bytesText(t.CacheBytes),
				"failing", count(len(t.Failing), "partition"),
				"missing or damaged", lossText(t.Lost),
				"counted since", t.Since.UTC().Format(time.RFC3339)+", the start of the broker's process:",
				"  sent", fmt.Sprintf("%s in %d PUTs", bytesText(t.BytesUp), t.Puts),
				"  received", fmt.Sprintf("%s in %d GETs", bytesText(t.BytesDown), t.Gets),
				"  other requests", fmt.Sprintf("%d HEADs, %d LISTs, %d DELETEs", t.Heads, t.Lists, t.Deletes),
			); err != nil {
				return err
			}
			if a.output == formatJSON || a.output == formatYAML {
				return nil
			}
			a.showLosses(t.Lost)
			if len(t.Failing) == 0 {
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
broken-off upload or a lost leadership left behind. The broker does so by itself every tier.sweep.interval.ms.

It also says how many of the objects that the metadata names the listing has not shown: those are missing, and what only
they hold cannot be read.`,
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

// lossText is how much is lost, in a word.
func lossText(lost []console.TierLoss) string {
	objects := 0
	for _, l := range lost {
		objects += l.Objects
	}
	if objects == 0 {
		return "nothing that is known of"
	}
	return fmt.Sprintf("%s, of %s", count(objects, "object"), count(len(lost), "partition"))
}

func (a *app) showLosses(lost []console.TierLoss) {
	if len(lost) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	t := table{columns: []string{"TOPIC", "#PARTITION", "#OBJECTS", "SEEN", "MISSING OR DAMAGED"}}
	for _, l := range lost {
		t.add(l.Topic, strconv.Itoa(int(l.Partition)), strconv.Itoa(l.Objects), l.At.UTC().Format(time.RFC3339), l.Error)
	}
	t.print(a.stdout, false)
}

// showSweep shows what was found; objects that are missing make the command fail.
func (a *app) showSweep(s console.Sweep) error {
	grace := time.Duration(s.GraceSeconds * float64(time.Second))
	done, more := "deleted", ""
	if s.DryRun {
		done, more = "found", "; nothing was deleted (--dry-run)"
	}
	t := table{footer: fmt.Sprintf("%s listed, %s older than %v (the grace) %s (%s)%s", count(s.Objects, "object"), count(s.Orphans, "orphan"), grace, done, bytesText(s.OrphanBytes), more)}
	if s.Young > 0 {
		t.footer += fmt.Sprintf("\n%s younger than that: nothing names them, and uploads may be under way", count(s.Young, "object"))
	}
	if s.Missing > 0 {
		t.footer += fmt.Sprintf("\n%s missing:", count(s.Missing, "object"))
		for _, l := range s.Lost {
			t.footer += fmt.Sprintf("\n  %s-%d: %d", l.Topic, l.Partition, l.Objects)
		}
	}
	if len(s.Keys) > 0 && (s.DryRun || a.output == formatWide) {
		t.columns = []string{"ORPHAN"}
		for _, k := range s.Keys {
			t.add(k)
		}
	}
	if err := a.show(s, t); err != nil {
		return err
	}
	if s.Missing > 0 {
		return failf(exitDamaged, "docs/operations.md, \"Objects missing\"", "%d of the %d objects that the metadata names are missing: what only they hold cannot be read", s.Missing, s.Named)
	}
	return nil
}

// sized is something to read at positions.
type sized interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
