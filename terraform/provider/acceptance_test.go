package provider

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/integration/harness"
)

// The acceptance tests drive brokers by the terraform of this machine. They need no network.

// qanat is the program of the brokers: QANAT_BIN, or built once.
var qanat = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("QANAT_BIN"); bin != "" {
		return bin, nil
	}
	bin := filepath.Join(scratch, "qanat")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/qanat-io/qanat/cmd/qanat").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return bin, nil
})

// scratch is a directory for what all tests share.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "qanat-provider-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		scratch = dir
		if where, err := exec.LookPath("terraform"); err == nil {
			for k, v := range map[string]string{"TF_ACC": "1", "TF_ACC_TERRAFORM_PATH": where, "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.DevNull} {
				if os.Getenv(k) == "" {
					_ = os.Setenv(k, v)
				}
			}
		}
		defer func() {
			for _, b := range shared {
				_ = b.Kill()
			}
		}()
		return m.Run()
	}())
}

// needTerraform skips, loudly, where there is none.
func needTerraform(t *testing.T) {
	t.Helper()
	if os.Getenv("TF_ACC_TERRAFORM_PATH") == "" {
		t.Skip("NOT TESTED: terraform is not in PATH; the provider's acceptance tests need it")
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// factories serve the provider in this process; a clean environment keeps QANAT_ variables of the tests out of it.
func factories(version string) map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){
		"qanat": providerserver.NewProtocol6WithError(New(version, func(string) string { return "" })()),
	}
}

// shared brokers live until all tests are done.
var shared []*harness.Broker

var (
	oneBroker    = sync.OnceValues(func() (*brokers, error) { return startBrokers(1) })
	threeBrokers = sync.OnceValues(func() (*brokers, error) { return startBrokers(3) })
)

// brokers are those of one cluster; b[i] has node id i+1 and a rack of its own.
type brokers struct{ b []*harness.Broker }

func startBrokers(n int) (*brokers, error) {
	bin, err := qanat()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := &brokers{}
	var peers []string
	for i := range n {
		b, err := harness.New(bin, filepath.Join(scratch, fmt.Sprintf("cluster-%d", n), fmt.Sprint(i+1)))
		if err != nil {
			return nil, err
		}
		b.Bucket = "dir:" + filepath.Join(scratch, fmt.Sprintf("bucket-%d", n))
		b.Sets = append(b.Sets, fmt.Sprintf("node.id=%d", i+1), fmt.Sprintf("broker.rack=r%d", i+1), "auto.create.topics.enable=false")
		peers = append(peers, fmt.Sprintf("%d@%s", i+1, b.Raft))
		c.b = append(c.b, b)
		shared = append(shared, b)
	}
	started := make(chan error, n)
	for _, b := range c.b {
		if n > 1 {
			b.Sets = append(b.Sets, "cluster.peers="+strings.Join(peers, ","))
		}
		go func() { started <- b.Start(ctx) }()
	}
	for range n {
		if err := <-started; err != nil {
			return nil, err
		}
	}
	return c, c.await(ctx, c.b[0], func(h console.Cluster) bool { return h.Healthy && h.Active == n })
}

func (c *brokers) await(ctx context.Context, ask *harness.Broker, ok func(console.Cluster) bool) error {
	return harness.Until(ctx, func() (bool, error) {
		var h console.Cluster
		err := ask.Ask(ctx, "GET", "/v1/cluster", &h)
		return err == nil && ok(h), nil
	})
}

func one(t *testing.T) *brokers {
	t.Helper()
	needTerraform(t)
	c, err := oneBroker()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func three(t *testing.T) *brokers {
	t.Helper()
	needTerraform(t)
	c, err := threeBrokers()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *brokers) bootstrap() string {
	var list []string
	for _, b := range c.b {
		list = append(list, b.Listen)
	}
	return strings.Join(list, ",")
}

// provider is the provider's block, with further lines.
func (c *brokers) provider(lines ...string) string {
	return fmt.Sprintf("provider \"qanat\" {\n  bootstrap_servers = %q\n  %s\n}\n", c.bootstrap(), strings.Join(lines, "\n  "))
}

func (c *brokers) admin(t *testing.T) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(c.bootstrap(), ",")...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// broken fails a test that runs between Terraform's steps.
func broken(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
