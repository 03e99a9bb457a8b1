package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/console"
)

func (a *app) tierScrubCommand() *cobra.Command {
	var topic string
	var status bool
	c := a.outputs(&cobra.Command{
		Use:   "scrub",
		Short: "Read the closed segments on the broker's disk and check them",
		Long: `Read all closed segments on the broker's disk, at full speed, and check every batch. A damaged segment that the bucket holds is
set aside and read there; one that it does not hold is shown to nobody any more, and its partition takes no records.
The broker does so by itself, slowly, every storage.scrub.interval.ms, and at once for a segment of which a client reads one
place again and again; --status shows how far it is.`,
		Example: "  qanat tier scrub --topic events",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s console.Scrub
			if status {
				if err := a.ask(cmd.Context(), http.MethodGet, "/v1/scrub", nil, &s); err != nil {
					return err
				}
				return a.showScrubStatus(s)
			}
			q := url.Values{}
			if topic != "" {
				q.Set("topic", topic)
			}
			if err := a.askPatiently(cmd.Context(), http.MethodPost, "/v1/scrub", q, &s); err != nil {
				return err
			}
			return a.showScrub(s)
		},
	})
	c.Flags().StringVar(&topic, "topic", "", "only this topic's segments")
	c.Flags().BoolVar(&status, "status", false, "check nothing, show how far the broker is by itself")
	c.MarkFlagsMutuallyExclusive("topic", "status")
	return c
}

func (a *app) showScrubStatus(s console.Scrub) error {
	at := func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return t.UTC().Format(time.RFC3339)
	}
	round := "at rest"
	if s.Running {
		round = "under way"
	}
	if err := a.showFields(s,
		"round", round,
		"began", at(s.Began),
		"last ended", at(s.Finished),
		"checked", fmt.Sprintf("%s, %s, since the broker's start", count(int(s.Segments), "segment"), bytesText(s.Bytes)),
		"for suspicion", count(int(s.Suspicions), "segment"),
		"damaged", count(int(s.Damaged), "segment"),
	); err != nil {
		return err
	}
	if len(s.Latest) == 0 || a.output == formatJSON || a.output == formatYAML {
		return nil
	}
	fmt.Fprintln(a.stdout)
	t := damagedTable(s.Latest)
	t.print(a.stdout, false)
	return nil
}

// showScrub shows what was found; segments that nobody else holds make the command fail.
func (a *app) showScrub(s console.Scrub) error {
	t := damagedTable(s.Latest)
	t.footer = fmt.Sprintf("%s (%s) checked, %d damaged", count(int(s.Segments), "segment"), bytesText(s.Bytes), s.Damaged)
	if err := a.show(s, t); err != nil {
		return err
	}
	lost := 0
	for _, d := range s.Latest {
		if !d.Archived {
			lost++
		}
	}
	if lost > 0 {
		return failf(exitDamaged, "see the broker's log, and docs/operations.md, damaged partition", "%s damaged that the bucket does not hold", count(lost, "segment"))
	}
	return nil
}

func damagedTable(list []console.DamagedRecord) table {
	var t table
	if len(list) == 0 {
		return t
	}
	t.columns = []string{"TOPIC", "#PARTITION", "#SEGMENT", "FOUND", "NOW", "ERROR"}
	for _, d := range list {
		now := "out of service"
		if d.Archived {
			now = "read from the bucket"
		}
		t.add(d.Topic, strconv.Itoa(int(d.Partition)), strconv.FormatInt(d.Segment, 10), d.Found.UTC().Format(time.RFC3339), now, d.Error)
	}
	return t
}
