package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (a *app) txnCommand() *cobra.Command {
	c := a.parent("txn", "Look at transactions, and end those that nobody else will",
		a.txnListCommand(), a.txnDescribeCommand(), a.txnFindHangingCommand(), a.txnAbortCommand())
	c.Aliases = []string{"transaction", "transactions"}
	return c
}

// txnRow is one of txn list.
type txnRow struct {
	ID          string `json:"transactional_id"`
	State       string `json:"state"`
	Producer    int64  `json:"producer_id"`
	Coordinator int32  `json:"coordinator"`
}

func (a *app) txnListCommand() *cobra.Command {
	var states []string
	var like string
	c := a.outputs(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List transactional ids",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("state", states, txnStates); err != nil {
				return err
			}
			if _, err := regexp.Compile(like); err != nil {
				return failf(exitUsage, "", "--like %q: %w", like, err)
			}
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			list, err := adm.ListTransactionsByTxPattern(cmd.Context(), nil, states, like)
			if err != nil {
				return fmt.Errorf("list transactional ids: %w", err)
			}
			rows := []txnRow{}
			t := table{columns: []string{"TRANSACTIONAL-ID", "STATE", "#PRODUCER", "+#COORDINATOR"}}
			for _, x := range list.Sorted() {
				rows = append(rows, txnRow{x.TxnID, x.State, x.ProducerID, x.Coordinator})
				t.add(x.TxnID, x.State, strconv.FormatInt(x.ProducerID, 10), strconv.Itoa(int(x.Coordinator)))
			}
			return a.show(rows, t)
		},
	})
	c.Flags().StringSliceVar(&states, "state", nil, "only those in these states: "+strings.Join(txnStates, ", "))
	c.Flags().StringVar(&like, "like", "", "only ids that this regular expression matches as a whole")
	return c
}

// txnStates are Kafka's words for what transactional ids may be.
var txnStates = []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}

// txnDescription is one of txn describe.
type txnDescription struct {
	ID             string         `json:"transactional_id"`
	State          string         `json:"state"`
	Producer       int64          `json:"producer_id"`
	Epoch          int16          `json:"producer_epoch"`
	Coordinator    int32          `json:"coordinator"`
	TimeoutSeconds float64        `json:"timeout_seconds"`
	AgeSeconds     *float64       `json:"age_seconds,omitempty"` // of the transaction; absent while there is none
	Partitions     []txnPartition `json:"partitions"`            // that it has written to
}

type txnPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func (a *app) txnDescribeCommand() *cobra.Command {
	c := a.outputs(&cobra.Command{
		Use:     "describe ID...",
		Aliases: []string{"info"},
		Short:   "Show transactional ids: whose they are, and what their transactions have written to",
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			return a.describeTxns(cmd.Context(), adm, args)
		},
	})
	c.ValidArgsFunction = a.completeTxns(-1)
	return c
}

func (a *app) describeTxns(ctx context.Context, adm *kadm.Client, ids []string) error {
	described, err := adm.DescribeTransactions(ctx, ids...)
	if err != nil {
		return fmt.Errorf("describe transactional ids: %w", err)
	}
	list := []txnDescription{}
	t := table{columns: []string{"TRANSACTIONAL-ID", "STATE", "#PRODUCER", "#EPOCH", "#TIMEOUT", "#AGE", "+#COORDINATOR", "PARTITIONS"}}
	for _, id := range ids {
		d, ok := described[id]
		switch {
		case !ok || errors.Is(d.Err, kerr.TransactionalIDNotFound):
			return noTxn(id)
		case d.Err != nil:
			return fmt.Errorf("transactional id %s: %w", id, d.Err)
		}
		x := txnOf(d)
		list = append(list, x)
		t.add(x.ID, x.State, strconv.FormatInt(x.Producer, 10), strconv.Itoa(int(x.Epoch)), secondsText(x.TimeoutSeconds), agePtr(x.AgeSeconds),
			strconv.Itoa(int(x.Coordinator)), assignmentText(d.Topics))
	}
	return a.show(list, t)
}

func noTxn(id string) error {
	return failf(exitNotFound, "`qanat txn list` lists those that do", "transactional id %s does not exist", id)
}

func txnOf(d kadm.DescribedTransaction) txnDescription {
	x := txnDescription{
		ID: d.TxnID, State: d.State, Producer: d.ProducerID, Epoch: d.ProducerEpoch, Coordinator: d.Coordinator,
		TimeoutSeconds: float64(d.TimeoutMillis) / 1000, Partitions: []txnPartition{},
	}
	if under := d.State == "Ongoing" || strings.HasPrefix(d.State, "Prepare"); under && d.StartTimestamp > 0 {
		age := max(0, time.Since(time.UnixMilli(d.StartTimestamp)).Seconds())
		x.AgeSeconds = &age
	}
	for _, t := range d.Topics.Sorted() {
		for _, p := range t.Partitions {
			x.Partitions = append(x.Partitions, txnPartition{t.Topic, p})
		}
	}
	return x
}

// hangingTxn is a transaction that is open in a partition, and that its coordinator knows nothing of.
type hangingTxn struct {
	Topic       string  `json:"topic"`
	Partition   int32   `json:"partition"`
	Producer    int64   `json:"producer_id"`
	Epoch       int16   `json:"producer_epoch"`
	StartOffset int64   `json:"start_offset"`
	IdleSeconds float64 `json:"idle_seconds"` // since it last wrote
}

// hangsAfter is how long a transaction must not have written before it is suspected: no coordinator lets one last longer by default.
const hangsAfter = 15 * time.Minute

func (a *app) txnFindHangingCommand() *cobra.Command {
	var topics []string
	var idle time.Duration
	c := a.outputs(&cobra.Command{
		Use:   "find-hanging",
		Short: "Find transactions that are open in a partition, and that no coordinator will end",
		Long: `Find transactions that are open in a partition, and that no coordinator will end: readers of committed records wait
there for ever, and the cleaner with them. No cluster of Qanat's leaves any behind by itself; one that was fed by tools may have some.
Only such as have not written for a time are looked at, as others may be about to be enlisted.`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			if err := findTopics(cmd.Context(), adm, topics); err != nil {
				return err
			}
			list, err := findHanging(cmd.Context(), adm, topics, idle)
			if err != nil {
				return err
			}
			t := table{columns: []string{"TOPIC", "#PARTITION", "#PRODUCER", "#EPOCH", "#START-OFFSET", "#IDLE"}}
			for _, h := range list {
				t.add(h.Topic, strconv.Itoa(int(h.Partition)), strconv.FormatInt(h.Producer, 10), strconv.Itoa(int(h.Epoch)),
					strconv.FormatInt(h.StartOffset, 10), secondsText(h.IdleSeconds))
			}
			if len(list) > 0 {
				t.footer = "end one with: qanat txn abort --topic TOPIC --partition PARTITION --start-offset START-OFFSET"
			}
			return a.show(list, t)
		},
	})
	c.Flags().StringSliceVarP(&topics, "topics", "t", nil, "in these topics (default: in all)")
	c.Flags().DurationVar(&idle, "idle", hangsAfter, "only transactions that have written nothing for so long; more than transaction.max.timeout.ms")
	return c
}

// findHanging asks the partitions for what is open in them, and the coordinators for what they know of it.
func findHanging(ctx context.Context, adm *kadm.Client, topics []string, idle time.Duration) ([]hangingTxn, error) {
	in := kadm.TopicsSet{}
	for _, t := range topics {
		in.Add(t)
	}
	open, err := openTxns(ctx, adm, in)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	open = slices.DeleteFunc(open, func(p kadm.DescribedProducer) bool { return now.Sub(time.UnixMilli(p.LastTimestamp)) < idle })
	found := []hangingTxn{}
	if len(open) == 0 {
		return found, nil
	}
	described, err := txnsOf(ctx, adm, open)
	if err != nil {
		return nil, err
	}
	for _, p := range open {
		if _, ok := underWay(described, p); !ok {
			found = append(found, hangingTxn{p.Topic, p.Partition, p.ProducerID, p.ProducerEpoch, p.CurrentTxnStartOffset, now.Sub(time.UnixMilli(p.LastTimestamp)).Seconds()})
		}
	}
	return found, nil
}

// txnsOf is what coordinators know of producers.
func txnsOf(ctx context.Context, adm *kadm.Client, of []kadm.DescribedProducer) (kadm.DescribedTransactions, error) {
	var producers []int64
	for _, p := range of {
		producers = append(producers, p.ProducerID)
	}
	slices.Sort(producers)
	listed, err := adm.ListTransactions(ctx, slices.Compact(producers), nil)
	if err != nil {
		return nil, fmt.Errorf("list transactional ids: %w", err)
	}
	if len(listed) == 0 {
		return kadm.DescribedTransactions{}, nil
	}
	described, err := adm.DescribeTransactions(ctx, listed.TransactionalIDs()...)
	if err != nil {
		return nil, fmt.Errorf("describe transactional ids: %w", err)
	}
	return described, nil
}

// underWay tells whether a coordinator has the transaction that a producer has open in a partition, and so will end it, and under which id.
func underWay(described kadm.DescribedTransactions, p kadm.DescribedProducer) (id string, ok bool) {
	for _, d := range described {
		if d.ProducerID == p.ProducerID && (d.Err != nil && !errors.Is(d.Err, kerr.TransactionalIDNotFound) || d.Topics.Lookup(p.Topic, p.Partition)) {
			return d.TxnID, true // of one that cannot be asked nothing is claimed
		}
	}
	return "", false
}

// openTxns are the producers with a transaction open in one of some partitions, or in any when none are named; in order.
func openTxns(ctx context.Context, adm *kadm.Client, in kadm.TopicsSet) ([]kadm.DescribedProducer, error) {
	described, err := adm.DescribeProducers(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("describe producers: %w", err)
	}
	for _, p := range described.SortedPartitions() {
		if p.Err != nil {
			return nil, fmt.Errorf("describe producers of %s/%d: %w", p.Topic, p.Partition, p.Err)
		}
	}
	return slices.DeleteFunc(described.SortedProducers(), func(p kadm.DescribedProducer) bool { return p.CurrentTxnStartOffset < 0 }), nil
}

// openTxn names a transaction by where it began.
type openTxn struct {
	topic     string
	partition int32
	start     int64
}

func (o openTxn) String() string {
	return fmt.Sprintf("%s/%d at offset %d", o.topic, o.partition, o.start)
}

func (a *app) txnAbortCommand() *cobra.Command {
	var open openTxn
	c := a.outputs(&cobra.Command{
		Use:   "abort ID | abort --topic TOPIC --partition PARTITION --start-offset OFFSET",
		Short: "Abort a transaction, or one that hangs in a partition",
		Long: `With a transactional id: abort its transaction through its coordinator. Its producer is fenced: it fails with its next request.
With where a transaction began: write an abort marker there, on the word of txn find-hanging that no coordinator will.`,
		Example: "  qanat txn abort billing-7\n  qanat txn abort --topic events --partition 0 --start-offset 4711",
		Args:    wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (open.topic != "") {
				return failf(exitUsage, "see "+cmd.CommandPath()+" --help", "give either a transactional id or --topic, --partition and --start-offset")
			}
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			if len(args) == 1 {
				return a.abortTxn(cmd.Context(), adm, args[0])
			}
			return a.abortOpen(cmd.Context(), adm, open)
		},
	})
	f := c.Flags()
	f.StringVarP(&open.topic, "topic", "t", "", "of the transaction that hangs")
	f.Int32Var(&open.partition, "partition", 0, "of the topic")
	f.Int64Var(&open.start, "start-offset", 0, "the offset at which it began")
	c.MarkFlagsRequiredTogether("topic", "partition", "start-offset")
	a.destructive(c)
	c.ValidArgsFunction = a.completeTxns(1)
	return c
}

// abortTxn takes a transactional id over, which aborts what its owner has under way, and leaves it.
func (a *app) abortTxn(ctx context.Context, adm *kadm.Client, id string) error {
	described, err := adm.DescribeTransactions(ctx, id)
	if err != nil {
		return fmt.Errorf("describe transactional id %s: %w", id, err)
	}
	d, ok := described[id]
	switch {
	case !ok || errors.Is(d.Err, kerr.TransactionalIDNotFound):
		return noTxn(id)
	case d.Err != nil:
		return fmt.Errorf("transactional id %s: %w", id, d.Err)
	}
	switch d.State {
	case "Ongoing", "PrepareAbort", "PrepareEpochFence":
	case "PrepareCommit":
		return failf(exitRefused, "", "the transaction of %s is decided: it is being committed", id)
	default: // it would only fence the producer, and say that something was aborted
		return failf(exitNotFound, "`qanat txn find-hanging` finds those that are open in a partition, and that no coordinator knows of", "transactional id %s has no transaction open: it is %s", id, d.State)
	}
	if err := a.confirm("Abort the transaction of " + id + " and fence its producer"); err != nil {
		return err
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, max(d.TimeoutMillis, 1), -1, -1
	cl, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	var o outcomes
	o.add(id, "aborted", err)
	return o.show(a, "TRANSACTIONAL-ID")
}

// abortOpen writes a marker where a transaction is open.
func (a *app) abortOpen(ctx context.Context, adm *kadm.Client, open openTxn) error {
	if _, err := findTopic(ctx, adm, open.topic); err != nil {
		return err
	}
	in := kadm.TopicsSet{}
	in.Add(open.topic, open.partition)
	there, err := openTxns(ctx, adm, in)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(there, func(p kadm.DescribedProducer) bool { return p.CurrentTxnStartOffset == open.start })
	if i < 0 {
		return failf(exitNotFound, "`qanat txn find-hanging` says where there are", "no transaction is open in %s", open)
	}
	of := there[i]
	described, err := txnsOf(ctx, adm, there[i:i+1])
	if err != nil {
		return err
	}
	if id, ok := underWay(described, of); ok { // a marker here alone would tear it: its producer may commit the rest
		return failf(exitRefused, "`qanat txn abort "+id+"` ends it everywhere", "the transaction in %s does not hang: its coordinator has it, under the transactional id %s", open, id)
	}
	if err := a.confirm(fmt.Sprintf("Abort the transaction of producer %d in %s", of.ProducerID, open)); err != nil {
		return err
	}
	written, err := adm.WriteTxnMarkers(ctx, kadm.TxnMarkers{
		ProducerID: of.ProducerID, ProducerEpoch: of.ProducerEpoch, CoordinatorEpoch: max(of.CoordinatorEpoch, 0), Topics: in,
	})
	if err != nil {
		return fmt.Errorf("write an abort marker: %w", err)
	}
	var o outcomes
	for _, p := range written.SortedPartitions() {
		o.add(open.String(), "aborted", p.Err)
	}
	return o.show(a, "TRANSACTION")
}

// completeTxns offers transactional ids.
func (a *app) completeTxns(n int) completer {
	return a.completeListed(n, func(ctx context.Context, adm *kadm.Client) ([]string, error) {
		list, err := adm.ListTransactions(ctx, nil, nil)
		return list.TransactionalIDs(), err
	})
}
