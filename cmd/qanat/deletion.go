package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// deletion is a command that deletes named things for good: it looks whether they are there, asks, and tells what became of each.
type deletion struct {
	what  string // one of them, in the usage and above the names
	short string
	// goes are the things that go with them, after "its" or "their".
	goes   string
	exist  func(ctx context.Context, adm *kadm.Client, names []string) error
	delete func(ctx context.Context, adm *kadm.Client, names []string) (outcomes, error)
}

func (a *app) deleteCommand(d deletion) *cobra.Command {
	c := a.outputs(&cobra.Command{
		Use:     "delete " + d.what + "...",
		Aliases: []string{"rm"},
		Short:   d.short,
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			if err := d.exist(cmd.Context(), adm, args); err != nil {
				return err
			}
			their := "their"
			if len(args) == 1 {
				their = "its"
			}
			if err := a.confirm(fmt.Sprintf("Delete %s and %s %s", strings.Join(args, ", "), their, d.goes)); err != nil {
				return err
			}
			o, err := d.delete(cmd.Context(), adm, args)
			if err != nil {
				return err
			}
			return o.show(a, d.what)
		},
	})
	a.destructive(c)
	return c
}
