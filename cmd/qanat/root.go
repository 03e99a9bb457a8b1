package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Where things are unless they are said to be elsewhere.
const (
	defaultBroker = "127.0.0.1:9092"
	defaultAdmin  = "127.0.0.1:9644"
)

// run executes one command line and returns its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	err = usageOf(cmd, err)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return exitInterrupted
		}
		report(a.stderr, err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "qanat",
		Short: "A Kafka-protocol broker whose history lives in object storage, and the tool to work with it",
		Long: `Qanat is a Kafka-protocol broker. The hot end of every log is on local disk; closed
segments go to object storage, where they stay for as long as retention says.

  qanat dev                        start a broker here, with nothing to set up
  qanat topic create events -p 6   then, in another terminal
  echo hello | qanat produce events
  qanat consume events -o start`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          a.group,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return failf(exitUsage, "see "+cmd.CommandPath()+" --help", "%s: %s", cmd.CommandPath(), plainFlagError(err))
	})
	root.PersistentFlags().StringSliceVar(&a.brokers, "brokers", nil, "brokers to connect to, HOST:PORT (env QANAT_BROKERS, default "+defaultBroker+")")
	root.PersistentFlags().StringVar(&a.admin, "admin-url", "", "the admin port, HOST:PORT or URL (env QANAT_ADMIN, default "+defaultAdmin+")")
	a.tls.register(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run a broker:"},
		&cobra.Group{ID: "use", Title: "Work with a cluster:"},
		&cobra.Group{ID: "cluster", Title: "Look after a cluster:"},
		&cobra.Group{ID: "look", Title: "Look inside:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", a.devCommand(), a.serveCommand(), a.configCommand(), a.certCommand(), a.generateCommand())
	add("use", a.topicCommand(), a.produceCommand(), a.consumeCommand(), a.groupCommand(), a.shareCommand(), a.txnCommand(), a.quotaCommand(), a.benchCommand())
	add("cluster", a.clusterCommand(), a.brokerCommand(), a.partitionCommand(), a.quorumCommand())
	add("look", a.doctorCommand(), a.debugCommand(), a.tierCommand(), a.logCommand())
	root.AddCommand(a.versionCommand(), &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp})
	return root
}

// group is what a command does that only has subcommands.
func (a *app) group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	hint := "see " + cmd.CommandPath() + " --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+near[0])
	}
	return failf(exitUsage, hint, "unknown command %q for %q", args[0], cmd.CommandPath())
}

// parent is a command that only has subcommands.
func (a *app) parent(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: a.group, SuggestionsMinimumDistance: 2}
	c.AddCommand(children...)
	return c
}

// confirm asks before something that cannot be undone.
func (a *app) confirm(question string) error {
	if a.yes {
		return nil
	}
	if !a.stdinTTY {
		return failf(exitDeclined, "add --yes to do it without asking", "%s: not confirmed, and there is no terminal to ask on", question)
	}
	fmt.Fprintf(a.stderr, "%s? [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(a.stdin, &answer); err != nil && answer != "" {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer != "y" && answer != "Y" && answer != "yes" {
		return failf(exitDeclined, "", "not confirmed")
	}
	return nil
}

// destructive gives a command --yes.
func (a *app) destructive(c *cobra.Command) {
	c.Flags().BoolVarP(&a.yes, "yes", "y", false, "do it without asking")
}
