package main

import (
	_ "embed"
	"io"

	"github.com/spf13/cobra"
)

//go:embed packaging/qanat.service
var systemdUnit string

// generateCommand prints what others read: so far, systemd.
func (a *app) generateCommand() *cobra.Command {
	return a.parent("generate", "Print files for the programs around a broker", &cobra.Command{
		Use:   "systemd",
		Short: "Print a systemd unit for a broker",
		Long: `Print a hardened systemd unit: it runs ` + "`/usr/bin/qanat serve --config /etc/qanat/qanat.yaml`" + ` as user qanat, with data
below /var/lib/qanat, is told when the broker serves, and restarts it when it ends, or the process does not run any more. The user is to be made first:
useradd --system --home-dir /var/lib/qanat --shell /usr/sbin/nologin qanat`,
		Example: "  qanat generate systemd > /etc/systemd/system/qanat.service",
		Args:    wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.stdout, systemdUnit)
			return err
		},
	})
}
