package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qanat-io/qanat/metadata/config"
)

// completionTimeout bounds how long a shell waits for names after TAB.
const completionTimeout = 1500 * time.Millisecond

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeTopics offers names of topics; at most n of them on a command line, any number for n < 0.
func (a *app) completeTopics(n int) completer {
	return a.completeListed(n, func(ctx context.Context, adm *kadm.Client) ([]string, error) {
		topics, err := adm.ListTopics(ctx)
		return topics.Names(), err
	})
}

// completeGroups offers names of groups.
func (a *app) completeGroups(n int) completer {
	return a.completeListed(n, func(ctx context.Context, adm *kadm.Client) ([]string, error) {
		groups, err := adm.ListGroups(ctx)
		return groups.Groups(), err
	})
}

// completeListed is completeNames with what any broker can list.
func (a *app) completeListed(n int, list func(context.Context, *kadm.Client) ([]string, error)) completer {
	return a.completeNames(n, func(ctx context.Context) ([]string, error) {
		adm, err := a.admins(ctx)
		if err != nil {
			return nil, err
		}
		defer adm.Close()
		return list(ctx, adm)
	})
}

func (a *app) completeNames(n int, list func(context.Context) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTimeout)
		defer cancel()
		names, err := list(ctx)
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names = slices.DeleteFunc(names, func(s string) bool { return !strings.HasPrefix(s, prefix) || slices.Contains(args, s) })
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeConfigKeys offers KEY= for --set.
func (a *app) completeConfigKeys(c *cobra.Command) {
	completeKeys(c, "set", config.BrokerScope)
}

// completeKeys offers KEY= for a flag that sets keys of a scope.
func completeKeys(c *cobra.Command, flag string, s config.Scope) {
	var names []string
	for _, k := range config.Keys(s) {
		names = append(names, k.Name+"=")
	}
	cobra.CheckErr(c.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return withPrefix(names, prefix), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}))
}

func withPrefix(names []string, prefix string) []string {
	var list []string
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			list = append(list, n)
		}
	}
	return list
}
