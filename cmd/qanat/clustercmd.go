package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/console"
)

func (a *app) clusterCommand() *cobra.Command {
	return a.parent("cluster", "Look at all brokers together", a.clusterHealthCommand())
}

func (a *app) clusterHealthCommand() *cobra.Command {
	var watch bool
	var every, timeout time.Duration
	c := a.outputs(&cobra.Command{
		Use:   "health",
		Short: "Tell whether everything is as it should be, and what is not",
		Long: `Tell whether every broker is active, every partition has a leader and all its replicas in sync, and none is offline,
damaged, without objects that should be in the bucket, or for a minute and longer without a way to get its segments there;
if not, what is wrong, the gravest first. Asked of the admin port of one broker, which answers as it knows it: of other
brokers' disks and buckets by way of the controller, some seconds late, and of objects what reads and sweeps have found.
Exit code 10 when something is wrong.

With --watch, print a line whenever that changes, until everything is well (exit code 0), or until the timeout (10).`,
		Example: "  qanat cluster health\n  qanat cluster health --watch --timeout 1m   # after a restart",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchHealth(cmd.Context(), every, timeout)
			}
			h, err := a.health(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.showHealth(h); err != nil {
				return err
			}
			return unhealthy(h)
		},
	})
	f := c.Flags()
	f.BoolVarP(&watch, "watch", "w", false, "wait until the cluster is healthy, and tell what happens meanwhile")
	f.DurationVar(&every, "interval", time.Second, "with --watch: how often to look")
	f.DurationVar(&timeout, "timeout", 0, "with --watch: how long to wait (0: as long as it takes)")
	return c
}

func (a *app) health(ctx context.Context) (h console.Cluster, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err = a.ask(ctx, http.MethodGet, "/v1/cluster", nil, &h)
	return h, err
}

// unhealthy is the exit code of a cluster that is not well. What is wrong has been shown.
func unhealthy(h console.Cluster) error {
	if h.Healthy {
		return nil
	}
	remedy := "`qanat broker list` shows the brokers; docs/operations.md, \"What brokers say\""
	if h.Controller < 0 {
		remedy = "bring back brokers that vote: `qanat quorum status` shows who is missing"
	}
	return failf(exitUnhealthy, remedy, "the cluster is not healthy: %s", h.Problems[0])
}

func (a *app) showHealth(h console.Cluster) error {
	verdict := "yes"
	if !h.Healthy {
		verdict = "no"
	}
	if err := a.showFields(h,
		"healthy", verdict,
		"cluster", h.ClusterID,
		"brokers", fmt.Sprintf("%d of %d active", h.Active, h.Brokers),
		"controller", brokerText(h.Controller),
		"metadata level", strconv.Itoa(h.MetadataLevel),
		"partitions", fmt.Sprintf("%d in %s", h.Partitions, count(h.Topics, "topic")),
		"  without a leader", strconv.Itoa(h.Leaderless),
		"  below the minimum in sync", strconv.Itoa(h.UnderMinISR),
		"  under-replicated", strconv.Itoa(h.UnderReplicated),
		"  offline on a broker", strconv.Itoa(h.Offline),
		"  damaged, taking no records", strconv.Itoa(h.Damaged),
		"  with objects missing or damaged", strconv.Itoa(h.Unreadable),
		"  whose uploads fail", strconv.Itoa(h.Unarchived),
		"  being moved", strconv.Itoa(h.Moving),
		"  not led by the preferred replica", strconv.Itoa(h.NotPreferred),
	); err != nil {
		return err
	}
	if a.output == formatJSON || a.output == formatYAML {
		return nil
	}
	for i, w := range h.Warnings {
		if i == 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintf(a.stdout, "? %s\n", w)
	}
	if h.Healthy {
		return nil
	}
	fmt.Fprintln(a.stdout)
	for _, p := range h.Problems {
		fmt.Fprintf(a.stdout, "! %s\n", p)
	}
	if len(h.Worst) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	t := table{columns: []string{"TOPIC", "#PARTITION", "#LEADER", "REPLICAS", "ISR", "ELIGIBLE", "PROBLEM"}}
	for _, p := range h.Worst {
		t.add(p.Topic, strconv.Itoa(int(p.Partition)), brokerText(p.Leader), idList(p.Replicas), idList(p.ISR), idList(p.ELR), p.Problem)
	}
	t.print(a.stdout, a.output == formatWide)
	return nil
}

// brokerText is a broker's number, or - for none.
func brokerText(id int32) string {
	if id < 0 {
		return "-"
	}
	return strconv.Itoa(int(id))
}

// watchHealth prints what is wrong whenever that changes.
func (a *app) watchHealth(ctx context.Context, every, timeout time.Duration) error {
	if every <= 0 {
		return failf(exitUsage, "", "--interval %s: must be above zero", every)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last, said := "", error(nil)
	for {
		line, healthy := "", false
		h, err := a.health(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			line, said = err.Error(), err
		default:
			line, said, healthy = healthLine(h), unhealthy(h), h.Healthy
		}
		if line != "" && line != last {
			fmt.Fprintf(a.stdout, "%s  %s\n", time.Now().Format(time.TimeOnly), line)
			last = line
		}
		if healthy {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && said != nil {
				return failf(exitUnhealthy, "", "not healthy within %s: %w", timeout, said)
			}
			return ctx.Err()
		}
	}
}

func healthLine(h console.Cluster) string {
	if h.Healthy {
		return fmt.Sprintf("healthy: %s active, %s", count(h.Active, "broker"), count(h.Partitions, "partition"))
	}
	return strings.Join(h.Problems, "; ")
}
