package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/console"
)

func (a *app) brokerCommand() *cobra.Command {
	c := a.parent("broker", "Look at brokers, empty them, take them out",
		a.brokerListCommand(), a.brokerStatusCommand(), a.brokerDrainCommand(), a.brokerDecommissionCommand())
	c.Aliases = []string{"brokers"}
	return c
}

func (a *app) allBrokers(ctx context.Context) (list []console.Broker, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err = a.ask(ctx, http.MethodGet, "/v1/brokers", nil, &list)
	return list, err
}

// oneBroker finds a broker by what was typed.
func (a *app) oneBroker(ctx context.Context, arg string) (console.Broker, error) {
	id, err := brokerID(arg)
	if err != nil {
		return console.Broker{}, err
	}
	list, err := a.allBrokers(ctx)
	if err != nil {
		return console.Broker{}, err
	}
	return findBroker(list, id)
}

func findBroker(list []console.Broker, id int32) (console.Broker, error) {
	for _, b := range list {
		if b.ID == id {
			return b, nil
		}
	}
	return console.Broker{}, failf(exitNotFound, "`qanat broker list` lists those that are", "broker %d is not registered", id)
}

func brokerID(arg string) (int32, error) {
	id, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || id < 0 {
		return 0, failf(exitUsage, "", "%q is no broker's number", arg)
	}
	return int32(id), nil
}

// completeBrokers offers the brokers' numbers.
func (a *app) completeBrokers(n int) completer {
	return a.completeNames(n, func(ctx context.Context) (names []string, err error) {
		list, err := a.allBrokers(ctx)
		for _, b := range list {
			names = append(names, strconv.Itoa(int(b.ID)))
		}
		return names, err
	})
}

func (a *app) brokerListCommand() *cobra.Command {
	return a.outputs(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the cluster's brokers",
		Long: `List the brokers that are registered, whether they are there or not. Asked of the admin port of one broker,
which answers as it knows it.`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.allBrokers(cmd.Context())
			if err != nil {
				return err
			}
			t := table{columns: []string{"#ID", "STATE", "ADDRESS", "RACK", "#REPLICAS", "#OUT-OF-SYNC", "#LEADS", "+#PREFERRED", "#GROUP-SHARDS", "QUORUM", "+CLUSTER-ADDRESS", "+#EPOCH", "+VERSION"}}
			for _, b := range list {
				t.add(strconv.Itoa(int(b.ID)), stateText(b), addressText(b), b.Rack, strconv.Itoa(b.Replicas), strconv.Itoa(b.OutOfSync),
					strconv.Itoa(b.Leaders), strconv.Itoa(b.Preferred), strconv.Itoa(b.Groups), quorumText(b), b.Cluster, strconv.FormatInt(b.Epoch, 10), b.Version)
			}
			if err := a.show(list, t); err != nil {
				return err
			}
			if !slices.ContainsFunc(list, func(b console.Broker) bool { return b.Controller }) {
				fmt.Fprintln(a.stderr, "the metadata quorum has no leader: states are those from before; `qanat quorum status` shows who is missing")
			}
			return nil
		},
	})
}

func stateText(b console.Broker) string {
	if b.Drain {
		return b.State + ", draining"
	}
	return b.State
}

func addressText(b console.Broker) string {
	var list []string
	for _, l := range b.Listeners {
		list = append(list, l.Advertised)
	}
	return strings.Join(list, ",")
}

func quorumText(b console.Broker) string {
	switch {
	case b.Controller:
		return "leader"
	case b.Voter:
		return "voter"
	case b.Observer:
		return "observer"
	}
	return "-"
}

func (a *app) brokerStatusCommand() *cobra.Command {
	c := a.outputs(&cobra.Command{
		Use:   "status BROKER",
		Short: "Show one broker: its state, what it has, how far it is emptied",
		Args:  wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.oneBroker(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fields := []string{
				"broker", strconv.Itoa(int(b.ID)),
				"state", stateText(b),
				"address", addressText(b),
				"for brokers", b.Cluster,
				"rack", b.Rack,
				"version", fmt.Sprintf("%s, metadata level up to %d", b.Version, b.MetadataLevel),
				"epoch", strconv.FormatInt(b.Epoch, 10),
				"quorum", quorumText(b),
				"replicas", fmt.Sprintf("%d, %d not in sync", b.Replicas, b.OutOfSync),
				"leads", fmt.Sprintf("%d, preferred for %d", b.Leaders, b.Preferred),
				"group shards", fmt.Sprintf("%d of 64", b.Groups),
			}
			if b.Drain {
				fields = append(fields, "to be emptied", drainText(b))
			}
			return a.showFields(b, fields...)
		},
	})
	c.ValidArgsFunction = a.completeBrokers(1)
	return c
}

func drainText(b console.Broker) string {
	if b.Replicas == 0 {
		return "it is empty"
	}
	text := fmt.Sprintf("%s left, %d on the way", count(b.Replicas, "replica"), b.Moving) + throttleText(b.Throttle)
	if b.Stuck > 0 {
		text += fmt.Sprintf(", %d that no other broker can take, or that nobody leads", b.Stuck)
	}
	return text
}

// throttleText is what bounds moves, behind how many there are.
func throttleText(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf(", at most %s/s for each broker", bytesText(bytes))
}

// throttleFlag gives a command --throttle.
func throttleFlag(c *cobra.Command, to *int64) {
	c.Flags().Int64Var(to, "throttle", 0, "the most that each broker copies, in bytes a second, until nothing is moved any more (0: as it is set, by default without limit)")
}

func checkThrottle(n int64) error {
	if n < 0 {
		return failf(exitUsage, "", "--throttle %d: must not be below zero", n)
	}
	return nil
}

func (a *app) brokerDrainCommand() *cobra.Command {
	var stop, wait bool
	var throttle int64
	c := &cobra.Command{
		Use:   "drain BROKER",
		Short: "Empty a broker: its replicas, leaderships and groups go to others, a few at a time",
		Long: `Empty a broker. Its replicas are copied to other brokers, a few at a time (cluster.moves.max), while clients go on;
nothing new comes to it. The wish is kept in the cluster's metadata: it outlives restarts of any broker, and of this
command. A broker that is dead can be drained too, as far as others have its data.

--throttle bounds what is copied for it; given again, it changes that. With --wait, any broker may restart meanwhile: another one is asked.`,
		Example: "  qanat broker drain 3 --wait\n  qanat broker drain 3 --throttle 10000000\n  qanat broker drain 3 --stop     # it takes replicas again",
		Args:    wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkThrottle(throttle); err != nil {
				return err
			}
			who, b, err := a.following(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !stop && !b.Drain {
				if err := a.confirm(fmt.Sprintf("Move %s away from broker %d", count(b.Replicas, "replica"), b.ID)); err != nil {
					return err
				}
			}
			if err := a.setDrain(cmd.Context(), who, b.ID, !stop, throttle); err != nil {
				return err
			}
			if wait && !stop {
				return a.watchDrain(cmd.Context(), who, b.ID)
			}
			return nil
		},
	}
	throttleFlag(c, &throttle)
	c.Flags().BoolVar(&stop, "stop", false, "end it: the broker takes replicas again; what is on the way still goes")
	c.Flags().BoolVarP(&wait, "wait", "w", false, "wait until it is empty, and tell how far it is")
	a.destructive(c)
	c.ValidArgsFunction = a.completeBrokers(1)
	return c
}

// following finds a broker, and whom to ask about it from then on.
func (a *app) following(ctx context.Context, arg string) (*anyone, console.Broker, error) {
	id, err := brokerID(arg)
	if err != nil {
		return nil, console.Broker{}, err
	}
	list, err := a.allBrokers(ctx)
	if err != nil {
		return nil, console.Broker{}, err
	}
	who := a.anyone()
	who.learn(list)
	b, err := findBroker(list, id)
	return who, b, err
}

func (a *app) setDrain(ctx context.Context, who *anyone, id int32, on bool, throttle int64) error {
	q := url.Values{"on": {strconv.FormatBool(on)}}
	if throttle > 0 {
		q.Set("throttle", strconv.FormatInt(throttle, 10))
	}
	done, err := who.change(ctx, fmt.Sprintf("/v1/brokers/%d/drain", id), q)
	if err == nil {
		fmt.Fprintln(a.stdout, done)
	}
	return err
}

// drainLook is how often a drain's progress is looked at; stuckLooks how often in a row nothing may be on the way, while
// something is left that cannot go, until it is given up.
const (
	drainLook  = 250 * time.Millisecond
	stuckLooks = 20
)

// watchDrain waits until a broker is empty.
func (a *app) watchDrain(ctx context.Context, who *anyone, id int32) error {
	last, stuck := "", 0
	for {
		b, err := who.broker(ctx, id)
		if err != nil {
			return err
		}
		if text := drainText(b); text != last {
			fmt.Fprintf(a.stdout, "broker %d: %s\n", id, text)
			last = text
		}
		switch {
		case !b.Drain:
			return failf(exitRefused, "", "broker %d is not being drained any more: somebody has ended that", id)
		case b.Replicas == 0:
			return nil
		case b.Moving == 0 && b.Stuck == b.Replicas:
			if stuck++; stuck == stuckLooks {
				remedy := fmt.Sprintf("add a broker, lower the replication factor, or bring back the brokers that lead them (`qanat cluster health` shows partitions without a leader); or end it: `qanat broker drain %d --stop`, until then nothing new comes to broker %d", id, id)
				return failf(exitRefused, remedy, "broker %d cannot be emptied: %s", id, drainText(b))
			}
		default:
			stuck = 0
		}
		if err := pause(ctx, drainLook); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *app) brokerDecommissionCommand() *cobra.Command {
	var throttle int64
	c := &cobra.Command{
		Use:   "decommission BROKER",
		Short: "Take a broker out of the cluster: empty it, wait until it has stopped, forget it",
		Long: `Take a broker out of the cluster. It is drained; when it is empty, this waits until somebody stops its process; then
the cluster forgets it, the metadata quorum included. Interrupted, it goes on where it was when it is run again. A broker
that holds the only copy of something, or whose replicas no other broker can take, is not forgotten. Any broker may
restart meanwhile: another one is asked.`,
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := checkThrottle(throttle); err != nil {
				return err
			}
			who, b, err := a.following(ctx, args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Empty broker %d (%s) and forget it", b.ID, count(b.Replicas, "replica"))); err != nil {
				return err
			}
			if !b.Drain || throttle > 0 {
				if err := a.setDrain(ctx, who, b.ID, true, throttle); err != nil {
					return err
				}
			}
			if err := a.watchDrain(ctx, who, b.ID); err != nil {
				return err
			}
			if err := a.awaitStop(ctx, who, b.ID); err != nil {
				return err
			}
			if err := a.forget(ctx, b.ID); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "broker %d is forgotten: its data directory may be deleted\n", b.ID)
			return nil
		},
	}
	throttleFlag(c, &throttle)
	a.destructive(c)
	c.ValidArgsFunction = a.completeBrokers(1)
	return c
}

// awaitStop waits until a broker's process has ended.
func (a *app) awaitStop(ctx context.Context, who *anyone, id int32) error {
	for said := false; ; said = true {
		b, err := who.broker(ctx, id)
		if err != nil || b.State == "fenced" {
			return err
		}
		if !said {
			fmt.Fprintf(a.stdout, "broker %d is empty: stop its process now (SIGTERM); it is forgotten when it has ended\n", id)
		}
		if err := pause(ctx, drainLook); err != nil {
			return err
		}
	}
}

// forget unregisters a broker.
func (a *app) forget(ctx context.Context, id int32) error {
	cl, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = id
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("forget broker %d: %w", id, err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		text := ""
		if resp.ErrorMessage != nil {
			text = *resp.ErrorMessage
		}
		return fmt.Errorf("forget broker %d: %w", id, withMessage(err, text))
	}
	return nil
}
