package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/quota"
)

func (a *app) quotaCommand() *cobra.Command {
	c := a.parent("quota", "Bound what clients may ask for", a.quotaListCommand(), a.quotaSetCommand(), a.quotaDeleteCommand())
	c.Aliases = []string{"quotas"}
	return c
}

// quotaRow is one of quota list.
type quotaRow struct {
	User   *string            `json:"user,omitempty"` // "<default>": of all that have no limit of their own
	Client *string            `json:"client_id,omitempty"`
	IP     *string            `json:"ip,omitempty"`
	Limits map[string]float64 `json:"limits"`
}

// defaultEntity is how people say that a limit is for all that have none of their own.
const defaultEntity = "<default>"

// quotaFlags are an entity as flags.
type quotaFlags struct{ user, client, ip string }

func (f *quotaFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.user, "user", "", "a user's name; "+defaultEntity+" for all that have no limit of their own")
	c.Flags().StringVar(&f.client, "client-id", "", "a client id, or "+defaultEntity)
	c.Flags().StringVar(&f.ip, "ip", "", "an address, or "+defaultEntity)
}

// entity is what the flags that were given name.
func (f *quotaFlags) entity(c *cobra.Command) (e quota.Entity, err error) {
	for flag, part := range map[string]*quota.Part{"user": &e.User, "client-id": &e.Client, "ip": &e.IP} {
		if !c.Flags().Changed(flag) {
			continue
		}
		v := c.Flags().Lookup(flag).Value.String()
		*part = quota.Part{Set: true, Name: v}
		if v == defaultEntity {
			*part = quota.Part{Set: true, Default: true}
		}
	}
	if err := e.Check(); err != nil {
		return e, failf(exitUsage, "name whom the quota is for with --user, --client-id or --ip", "%w", err)
	}
	return e, nil
}

func (a *app) quotaListCommand() *cobra.Command {
	return a.outputs(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all quotas",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, err := a.admins(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			described, err := adm.DescribeClientQuotas(cmd.Context(), false, nil)
			if err != nil {
				return fmt.Errorf("describe quotas: %w", err)
			}
			rows := []quotaRow{}
			t := table{columns: []string{"USER", "CLIENT-ID", "IP", "QUOTA", "#LIMIT"}}
			for _, d := range described {
				r := quotaRow{Limits: map[string]float64{}}
				for _, c := range d.Entity {
					name := defaultEntity
					if c.Name != nil {
						name = *c.Name
					}
					switch c.Type {
					case quota.User:
						r.User = &name
					case quota.ClientID:
						r.Client = &name
					case quota.IP:
						r.IP = &name
					}
				}
				for _, v := range d.Values {
					r.Limits[v.Key] = v.Value
				}
				rows = append(rows, r)
			}
			slices.SortFunc(rows, func(a, b quotaRow) int {
				return cmp.Or(strings.Compare(or(a.User), or(b.User)), strings.Compare(or(a.Client), or(b.Client)), strings.Compare(or(a.IP), or(b.IP)))
			})
			for _, r := range rows {
				for _, key := range slices.Sorted(maps.Keys(r.Limits)) {
					t.add(or(r.User), or(r.Client), or(r.IP), key, strconv.FormatFloat(r.Limits[key], 'f', -1, 64))
				}
			}
			if len(rows) == 0 {
				t.footer = "no quotas: clients may have what they ask for"
			}
			return a.show(rows, t)
		},
	})
}

// or is a part of an entity as a cell.
func or(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

const quotaKeysHelp = `Of a user, a client id or both together (per broker):
  producer_byte_rate         bytes of records produced in a second
  consumer_byte_rate         bytes of records fetched in a second
  request_percentage         of the time of one core; 200 is two
  controller_mutation_rate   partitions created and deleted in a second
Of an address:
  connection_creation_rate   connections opened in a second`

func (a *app) quotaSetCommand() *cobra.Command {
	var f quotaFlags
	c := &cobra.Command{
		Use:   "set QUOTA=LIMIT...",
		Short: "Set limits of a user, a client id, both together, or an address",
		Long: `Set limits. The most particular one that matches a client counts: of user and client id, of the user, of the
client id, and of the defaults of each. All clients of a user share its limit. Who goes beyond one is told to
wait, and is not read meanwhile.

` + quotaKeysHelp,
		Example: "  qanat quota set --client-id reports consumer_byte_rate=10000000\n  qanat quota set --user '<default>' producer_byte_rate=50000000 request_percentage=200",
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := f.entity(cmd)
			if err != nil {
				return err
			}
			var ops []kadm.AlterClientQuotaOp
			for _, arg := range args {
				key, text, ok := strings.Cut(arg, "=")
				value, err := strconv.ParseFloat(text, 64)
				if !ok || err != nil {
					return failf(exitUsage, "as in producer_byte_rate=1000000", "%q is not QUOTA=LIMIT", arg)
				}
				if err := e.CheckValue(key, value); err != nil {
					return failf(exitUsage, "see qanat quota set --help", "%w", err)
				}
				ops = append(ops, kadm.AlterClientQuotaOp{Key: key, Value: value})
			}
			return a.alterQuota(cmd.Context(), e, ops, "set")
		},
	}
	f.register(c)
	return c
}

func (a *app) quotaDeleteCommand() *cobra.Command {
	var f quotaFlags
	c := &cobra.Command{
		Use:     "delete [QUOTA...]",
		Aliases: []string{"rm"},
		Short:   "Remove limits: those that are named, or all that the user, client id or address has",
		Example: "  qanat quota delete --client-id reports consumer_byte_rate",
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := f.entity(cmd)
			if err != nil {
				return err
			}
			limits, err := a.limits(cmd.Context(), e)
			if err != nil {
				return err
			}
			if len(limits) == 0 {
				return failf(exitNotFound, quotasListed, "%s has no quota", e.Resource())
			}
			if len(args) == 0 {
				args = slices.Sorted(maps.Keys(limits))
			}
			for _, key := range args {
				if _, ok := limits[key]; !ok {
					return failf(exitNotFound, quotasListed, "%s has no %s", e.Resource(), key)
				}
			}
			var ops []kadm.AlterClientQuotaOp
			for _, key := range args {
				ops = append(ops, kadm.AlterClientQuotaOp{Key: key, Remove: true})
			}
			return a.alterQuota(cmd.Context(), e, ops, "removed")
		},
	}
	f.register(c)
	return c
}

const quotasListed = "`qanat quota list` lists those that there are"

// limits are those that an entity has of its own.
func (a *app) limits(ctx context.Context, e quota.Entity) (quota.Limits, error) {
	adm, err := a.admins(ctx)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	var of []kadm.DescribeClientQuotaComponent
	for kind, p := range e.Parts() {
		c := kadm.DescribeClientQuotaComponent{Type: kind, MatchName: &p.Name, MatchType: kmsg.QuotasMatchTypeExact}
		if p.Default {
			c.MatchName, c.MatchType = nil, kmsg.QuotasMatchTypeDefault
		}
		of = append(of, c)
	}
	described, err := adm.DescribeClientQuotas(ctx, true, of)
	if err != nil {
		return nil, fmt.Errorf("describe quotas: %w", err)
	}
	limits := quota.Limits{}
	for _, d := range described {
		for _, v := range d.Values {
			limits[v.Key] = v.Value
		}
	}
	return limits, nil
}

func (a *app) alterQuota(ctx context.Context, e quota.Entity, ops []kadm.AlterClientQuotaOp, done string) error {
	adm, err := a.admins(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	entry := kadm.AlterClientQuotaEntry{Ops: ops}
	parts := e.Parts()
	for _, kind := range slices.Sorted(maps.Keys(parts)) {
		c := kadm.ClientQuotaEntityComponent{Type: kind}
		if p := parts[kind]; !p.Default {
			c.Name = &p.Name
		}
		entry.Entity = append(entry.Entity, c)
	}
	altered, err := adm.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{entry})
	if err != nil {
		return fmt.Errorf("alter quotas: %w", err)
	}
	for _, r := range altered {
		if r.Err != nil {
			return fmt.Errorf("quota of %s: %s: %w", e.Resource(), r.ErrMessage, r.Err)
		}
	}
	fmt.Fprintf(a.stdout, "quota of %s %s\n", e.Resource(), done)
	return nil
}
