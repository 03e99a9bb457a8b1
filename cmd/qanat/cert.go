package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
)

func (a *app) certCommand() *cobra.Command {
	return a.parent("cert", "Make certificates for trying TLS", a.certDevCommand())
}

// devCerts is what `qanat cert dev` makes.
type devCerts struct {
	dir   string
	hosts []string
	nodes int
	days  int
}

func (a *app) certDevCommand() *cobra.Command {
	var d devCerts
	c := &cobra.Command{
		Use:   "dev",
		Short: "Make a throwaway CA, certificates of brokers, and a client's",
		Long: `Make a CA whose key is thrown away, and with it, as PEM in one directory:

  ca.pem                        whom to trust
  broker-1.pem, broker-1-key.pem, …  for brokers: with localhost, this machine's name, and --host; with the broker's role
  client.pem, client-key.pem    for a client, which has no role

They are for trying TLS. Whoever runs this again has another CA: brokers take up the new files by themselves, clients need
the new ca.pem. A cluster that matters has its certificates from a CA that somebody looks after.`,
		Example: `  qanat cert dev --dir certs
  qanat dev --set listeners=SSL://127.0.0.1:9092 --set ssl.keystore.certificate.chain=certs/broker-1.pem \
    --set ssl.keystore.key=certs/broker-1-key.pem
  echo hello | qanat produce demo --tls-ca certs/ca.pem`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			files, err := d.make()
			if err != nil {
				return err
			}
			for _, f := range files {
				fmt.Fprintln(a.stdout, f)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&d.dir, "dir", "certs", "where the files go")
	f.StringSliceVar(&d.hosts, "host", nil, "further names and addresses of the brokers; may be repeated")
	f.IntVar(&d.nodes, "nodes", 1, "certificates for so many brokers, with the node ids 1, 2, …")
	f.IntVar(&d.days, "days", 30, "how long they are valid")
	return c
}

// devTLS is where `qanat dev --tls` has its certificates.
func devTLS(dir string) string { return filepath.Join(dir, "tls") }

// forDev makes what nodes of `qanat dev --tls` need, unless an earlier run has: clients have its ca.pem.
func forDev(dir string, nodes int) error {
	d := devCerts{dir: devTLS(dir), nodes: nodes, days: 365}
	for _, f := range []string{"ca.pem", "client.pem", fmt.Sprintf("broker-%d.pem", nodes)} {
		if _, err := os.Stat(filepath.Join(d.dir, f)); err != nil {
			_, err := d.make()
			return err
		}
	}
	return nil
}

// brokerFiles are a node's certificate and key.
func brokerFiles(dir string, node int) (cert, key string) {
	name := fmt.Sprintf("broker-%d", node)
	return filepath.Join(devTLS(dir), name+".pem"), filepath.Join(devTLS(dir), name+"-key.pem")
}

// make makes all of them, and returns their paths.
func (d devCerts) make() ([]string, error) {
	if d.nodes < 1 || d.nodes > 1000 {
		return nil, failf(exitUsage, "", "--nodes %d: must be between 1 and 1000", d.nodes)
	}
	if d.days < 1 || d.days > 3650 {
		return nil, failf(exitUsage, "", "--days %d: must be between 1 and 3650", d.days)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	ca, err := issue.NewAuthority("Qanat throwaway CA", time.Duration(d.days)*24*time.Hour, time.Now)
	if err != nil {
		return nil, err
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" && !strings.ContainsAny(name, " _") {
		hosts = append(hosts, name)
	}
	for _, h := range d.hosts {
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	files := []string{}
	add := func(r issue.Request, name string) error {
		p, err := ca.Issue(r)
		if err != nil {
			return err
		}
		files = append(files, filepath.Join(d.dir, name+".pem"), filepath.Join(d.dir, name+"-key.pem"))
		return p.Write(d.dir, name)
	}
	// The CA first: who has a new certificate of a broker's finds the CA that it is to be checked by.
	if err := issue.WriteFile(filepath.Join(d.dir, "ca.pem"), ca.PEM(), 0o644); err != nil {
		return nil, err
	}
	files = append(files, filepath.Join(d.dir, "ca.pem"))
	for id := 1; id <= d.nodes; id++ {
		name := fmt.Sprintf("broker-%d", id)
		// A single one serves whatever node id its broker has.
		role := &secure.Role{Node: int32(id)}
		if d.nodes == 1 {
			role.Node = secure.AnyNode
		}
		if err := add(issue.Request{Name: name, Hosts: hosts, Role: role}, name); err != nil {
			return nil, err
		}
	}
	return files, add(issue.Request{Name: "client"}, "client")
}
