package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qanat-io/qanat/broker/console"
)

func (a *app) partitionCommand() *cobra.Command {
	c := a.parent("partition", "Move partitions between brokers, and their leaderships",
		a.partitionMoveCommand(), a.partitionBalanceCommand(), a.partitionTransferCommand())
	c.Aliases = []string{"partitions"}
	return c
}

// partitionArg reads TOPIC/PARTITION.
func partitionArg(arg string) (topic string, partition int32, err error) {
	topic, number, ok := strings.Cut(arg, "/")
	n, parse := strconv.ParseInt(number, 10, 32)
	if !ok || topic == "" || parse != nil || n < 0 {
		return "", 0, failf(exitUsage, "", "%q: must be TOPIC/PARTITION, such as events/0", arg)
	}
	return topic, int32(n), nil
}

func brokerIDs(list string) ([]int32, error) {
	var ids []int32
	for text := range strings.SplitSeq(list, ",") {
		id, err := brokerID(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (a *app) partitionMoveCommand() *cobra.Command {
	var to string
	var cancel, wait bool
	var throttle int64
	c := a.outputs(&cobra.Command{
		Use:   "move TOPIC/PARTITION…",
		Short: "Give partitions other replicas, or another number of them",
		Long: `Give partitions other replicas: new ones copy what they need, and when they are in sync, those that are not named
any more go. The first named is the preferred leader. Clients go on meanwhile. Without --wait this returns when it has
begun; the cluster ends it by itself.`,
		Example: "  qanat partition move events/0 --to 2,3,4\n  qanat partition move events/0 --cancel",
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cancel == (to != "") {
				return failf(exitUsage, "", "give either --to BROKER,BROKER,… or --cancel")
			}
			var target []int32
			if !cancel {
				var err error
				if target, err = brokerIDs(to); err != nil {
					return err
				}
			}
			if err := checkThrottle(throttle); err != nil {
				return err
			}
			return a.move(cmd.Context(), args, target, wait, throttle)
		},
	})
	f := c.Flags()
	f.StringVar(&to, "to", "", "the new replicas, brokers separated by commas")
	f.BoolVar(&cancel, "cancel", false, "end a move that is under way; the replicas are again those from before")
	f.BoolVarP(&wait, "wait", "w", false, "wait until it is done")
	throttleFlag(c, &throttle)
	c.ValidArgsFunction = a.completePartitions(-1)
	return c
}

// completePartitions offers TOPIC/PARTITION.
func (a *app) completePartitions(n int) completer {
	return a.completeListed(n, func(ctx context.Context, adm *kadm.Client) (names []string, err error) {
		topics, err := adm.ListTopics(ctx)
		topics.EachPartition(func(p kadm.PartitionDetail) { names = append(names, fmt.Sprintf("%s/%d", p.Topic, p.Partition)) })
		return names, err
	})
}

// move begins reassignments; target nil cancels.
func (a *app) move(ctx context.Context, args []string, target []int32, wait bool, throttle int64) error {
	req := kadm.AlterPartitionAssignmentsReq{}
	var moving kadm.TopicsSet
	for _, arg := range args {
		topic, partition, err := partitionArg(arg)
		if err != nil {
			return err
		}
		if target == nil {
			req.CancelAssign(topic, partition)
		} else {
			req.Assign(topic, partition, target)
		}
		moving.Add(topic, partition)
	}
	adm, err := a.admins(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	resp, err := adm.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return fmt.Errorf("move partitions: %w", err)
	}
	var o outcomes
	for _, r := range resp.Sorted() {
		status := "moving"
		if target == nil {
			status = "cancelled"
		}
		o.add(fmt.Sprintf("%s/%d", r.Topic, r.Partition), status, withMessage(r.Err, r.ErrMessage))
	}
	if err := o.show(a, "PARTITION"); err != nil || target == nil {
		return err
	}
	if throttle > 0 { // behind the moves: with nothing to move it would be taken back at once
		if _, err := a.anyone().change(ctx, "/v1/throttle", url.Values{"throttle": {strconv.FormatInt(throttle, 10)}}); err != nil {
			return fmt.Errorf("bound what the moves copy: %w", err)
		}
	}
	if !wait {
		return nil
	}
	last := -1
	for {
		left, err := adm.ListPartitionReassignments(ctx, moving)
		if err != nil {
			return fmt.Errorf("look at the moves: %w", err)
		}
		n := len(left.Sorted())
		if n != last && a.output == formatTable {
			fmt.Fprintf(a.stdout, "%s still moving\n", count(n, "partition"))
		}
		if last = n; n == 0 {
			return nil
		}
		if err := pause(ctx, drainLook); err != nil {
			return err
		}
	}
}

func (a *app) partitionBalanceCommand() *cobra.Command {
	var dryRun, stop, wait bool
	var throttle int64
	c := a.outputs(&cobra.Command{
		Use:   "balance",
		Short: "Spread replicas and leaders over racks and brokers, moving little",
		Long: `Spread replicas and leaders evenly over racks and brokers: for a broker that has come, for instance. The controller does
it, a few partitions at a time (cluster.moves.max), and goes on when this command or any broker ends. It sets
cluster.balance=once; when everything is in balance, that is off again. cluster.balance=on keeps it so for ever.

--throttle bounds what is copied for it; given again, it changes that. With --wait, any broker may restart meanwhile: another one is asked.`,
		Example: "  qanat partition balance --dry-run\n  qanat partition balance --throttle 10000000 --wait\n  qanat partition balance --wait\n  qanat partition balance --stop    # what is on the way still goes",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if err := checkThrottle(throttle); err != nil {
				return err
			}
			who := a.anyone()
			if stop {
				return a.setBalance(ctx, who, "off", 0)
			}
			b, err := a.balance(ctx)
			if err != nil {
				return err
			}
			if !dryRun && throttle > 0 && b.Moving > 0 && len(b.Moves) == 0 { // all that is to be moved is on its way
				done, err := who.change(ctx, "/v1/throttle", url.Values{"throttle": {strconv.FormatInt(throttle, 10)}})
				if err == nil {
					fmt.Fprintln(a.stdout, done)
				}
				return err
			}
			if dryRun || len(b.Moves) == 0 {
				return a.showBalance(b, dryRun)
			}
			if err := a.confirm(fmt.Sprintf("Change the replicas of %s, copying %s", count(len(b.Moves), "partition"), toCopy(b))); err != nil {
				return err
			}
			if list, err := a.allBrokers(ctx); err == nil { // without it only the one is asked
				who.learn(list)
			}
			if err := a.setBalance(ctx, who, "once", throttle); err != nil || !wait {
				return err
			}
			return a.watchBalance(ctx, who)
		},
	})
	f := c.Flags()
	f.BoolVar(&dryRun, "dry-run", false, "show what would be moved, and move nothing")
	f.BoolVar(&stop, "stop", false, "begin no more moves")
	f.BoolVarP(&wait, "wait", "w", false, "wait until everything is in balance, and tell how far it is")
	throttleFlag(c, &throttle)
	c.MarkFlagsMutuallyExclusive("dry-run", "stop")
	a.destructive(c)
	return c
}

func (a *app) balance(ctx context.Context) (b console.Balance, err error) {
	err = a.ask(ctx, http.MethodGet, "/v1/balance", nil, &b)
	return b, err
}

func (a *app) setBalance(ctx context.Context, who *anyone, mode string, throttle int64) error {
	q := url.Values{"mode": {mode}}
	if throttle > 0 {
		q.Set("throttle", strconv.FormatInt(throttle, 10))
	}
	done, err := who.change(ctx, "/v1/balance", q)
	if err == nil {
		fmt.Fprintln(a.stdout, done)
	}
	return err
}

func (a *app) showBalance(b console.Balance, dryRun bool) error {
	t := table{footer: fmt.Sprintf("%s, %s to copy; %d being moved now%s; cluster.balance is %s", count(len(b.Moves), "change"), toCopy(b), b.Moving, throttleText(b.Throttle), b.Mode)}
	if len(b.Moves) > 0 {
		t.columns = []string{"TOPIC", "#PARTITION", "REPLICAS", "WOULD-BE", "#COPY"}
	} else if !dryRun {
		t.footer = "everything is in balance"
		if b.Moving > 0 {
			t.footer = fmt.Sprintf("nothing more is to be begun; %d being moved now", b.Moving)
		}
	}
	for _, m := range b.Moves {
		size := "?"
		if m.Bytes >= 0 {
			size = bytesText(m.Bytes)
		}
		t.add(m.Topic, strconv.Itoa(int(m.Partition)), idList(m.Replicas), idList(m.Target), size)
	}
	return a.show(b, t)
}

// toCopy is how much a balance copies, as far as the broker that was asked knows: it sees its own disk.
func toCopy(b console.Balance) string {
	if b.Unknown > 0 {
		return fmt.Sprintf("%s and what %s not on that broker's disk take", bytesText(b.Bytes), count(b.Unknown, "partition"))
	}
	return "about " + bytesText(b.Bytes)
}

func (a *app) watchBalance(ctx context.Context, who *anyone) error {
	last := ""
	for {
		var b console.Balance
		if err := who.ask(ctx, "/v1/balance", &b); err != nil {
			return err
		}
		if b.Mode == "off" {
			fmt.Fprintln(a.stdout, "everything is in balance, or somebody has ended it: `qanat partition balance --dry-run` tells")
			return nil
		}
		if text := fmt.Sprintf("%d being moved, %d to come", b.Moving, len(b.Moves)) + throttleText(b.Throttle); text != last {
			fmt.Fprintln(a.stdout, text)
			last = text
		}
		if err := pause(ctx, drainLook); err != nil {
			return err
		}
	}
}

func (a *app) partitionTransferCommand() *cobra.Command {
	var to int32
	c := &cobra.Command{
		Use:   "transfer-leader TOPIC/PARTITION --to BROKER",
		Short: "Give a partition's leadership to another replica that is in sync",
		Long: `Give a partition's leadership to another replica that is in sync. It stays there until that broker stops, or until
leaderships go back to the preferred replicas (auto.leader.rebalance.enable): to make it last, change the order of the
replicas with ` + "`qanat partition move`" + `.`,
		Example: "  qanat partition transfer-leader events/0 --to 2",
		Args:    wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, partition, err := partitionArg(args[0])
			if err != nil {
				return err
			}
			q := url.Values{"topic": {topic}, "partition": {strconv.Itoa(int(partition))}, "to": {strconv.Itoa(int(to))}}
			var done console.Done
			if err := a.ask(cmd.Context(), http.MethodPost, "/v1/partitions/transfer", q, &done); err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, done.Done)
			return nil
		},
	}
	c.Flags().Int32Var(&to, "to", -1, "the broker that is to lead")
	cobra.CheckErr(c.MarkFlagRequired("to"))
	cobra.CheckErr(c.RegisterFlagCompletionFunc("to", a.completeBrokers(1)))
	c.ValidArgsFunction = a.completePartitions(1)
	return c
}
