package integration

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/integration/harness"
)

// stack is a directory in which terraform makes a cluster by the local module, and topics on it by the provider.
type stack struct {
	t       *testing.T
	dir     string // of the configuration
	cluster string // of the brokers
	port    int    // the first of all ports
}

func newStack(t *testing.T) *stack {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("NOT TESTED: terraform is not in PATH: neither the local module nor the provider on it")
	}
	s := &stack{t: t, dir: t.TempDir(), port: freePorts(t, 12)}
	s.cluster = filepath.Join(s.dir, "cluster")
	bin := filepath.Join(s.dir, "bin")
	if out, err := exec.Command("go", "build", "-o", bin+"/", "../cmd/terraform-provider-qanat").CombinedOutput(); err != nil {
		t.Fatalf("build the provider: %v\n%s", err, out)
	}
	module, err := filepath.Abs(filepath.Join("..", "terraform", "modules", "local"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs(qanat)
	if err != nil {
		t.Fatal(err)
	}
	bucket := "null"
	if os.Getenv("QANAT_TEST_S3") == "" {
		t.Log("NOT TRIED with S3: QANAT_TEST_S3 names no server (make test sets it); the bucket is a directory")
	} else {
		bucket = fmt.Sprintf("{ url = \"minio://%s/%s?endpoint=%s\" }", os.Getenv("QANAT_TEST_S3_BUCKET"), strings.ToLower(t.Name()), os.Getenv("QANAT_TEST_S3"))
	}
	s.write("cli.tfrc", fmt.Sprintf("provider_installation {\n  dev_overrides { \"qanat-io/qanat\" = %q }\n  direct {}\n}\n", bin))
	s.write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    qanat = { source = "qanat-io/qanat" }
  }
}
variable "brokers" { type = map(object({ az = optional(string) })) }
module "cluster" {
  source    = %q
  name      = "stack"
  qanat     = %q
  directory = %q
  base_port = %d
  bucket    = %s
  brokers   = var.brokers
  config    = { "log.segment.bytes" = "1048576", "group.initial.rebalance.delay.ms" = "0" }
}
provider "qanat" {
  bootstrap_servers = module.cluster.provider.bootstrap_servers
  tls               = module.cluster.provider.tls
  allow_deletion    = true
}
resource "qanat_topic" "t" {
  for_each           = toset(["load", "kcat", "java"])
  name               = each.key
  partitions         = each.key == "load" ? 6 : 1
  replication_factor = 3
  depends_on         = [module.cluster]
}
`, module, program, s.cluster, s.port, bucket))
	s.brokers(3)
	if out, err := s.run(within(t, time.Minute), "get", "-no-color"); err != nil {
		t.Fatalf("terraform get: %v\n%s", err, out)
	}
	t.Cleanup(func() { // what a failure leaves behind
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(s.cluster, "*", "log"))
			for _, l := range logs {
				text, _ := os.ReadFile(l)
				t.Logf("%s ends with:\n%s", l, text[max(0, len(text)-2000):])
			}
		}
		sweep := exec.Command("bash", filepath.Join(module, "scripts", "broker"), "sweep")
		sweep.Env = append(os.Environ(), "QM_DIRECTORY="+s.cluster)
		_ = sweep.Run()
	})
	return s
}

// freePorts finds n ports in a row on which nothing listens, and gives the first.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 50 {
		_, text, err := net.SplitHostPort(address(t))
		if err != nil {
			t.Fatal(err)
		}
		first, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		free := 0
		for ; free < n; free++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+free))
			if err != nil {
				break
			}
			_ = l.Close()
		}
		if free == n {
			return first
		}
	}
	t.Fatalf("there are no %d free ports in a row", n)
	return 0
}

func (s *stack) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// brokers writes how many there are to be.
func (s *stack) brokers(n int) {
	s.t.Helper()
	var text strings.Builder
	text.WriteString("brokers = {\n")
	for i := range n {
		fmt.Fprintf(&text, "  \"%d\" = { az = \"%c\" }\n", i+1, 'a'+i%3)
	}
	s.write("terraform.tfvars", text.String()+"}\n")
}

func (s *stack) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "terraform", args...)
	cmd.Dir = s.dir
	cmd.Env = append(harness.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(s.dir, "cli.tfrc"), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// apply makes it so, and returns what terraform printed.
func (s *stack) apply(ctx context.Context, args ...string) string {
	s.t.Helper()
	begin := time.Now()
	out, err := s.run(ctx, append([]string{"apply", "-auto-approve", "-no-color"}, args...)...)
	if err != nil {
		s.t.Fatalf("terraform apply %v: %v\n%s", args, err, out)
	}
	s.t.Logf("terraform apply %v: %v", args, time.Since(begin).Round(100*time.Millisecond))
	return out
}

// kafka is a broker's address.
func (s *stack) kafka(id int) string { return fmt.Sprintf("127.0.0.1:%d", s.port+3*(id-1)) }

// pki is the throwaway CA that the module made, for clients.
func (s *stack) pki() *pki {
	s.t.Helper()
	dir := filepath.Join(s.cluster, "tls")
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	return &pki{s.t, &issue.Authority{Cert: cert}, dir}
}

// reader is a group's member that reads all the while.
type reader struct {
	cl   *kgo.Client
	done sync.WaitGroup
	seen sync.Map
}

func startReader(ctx context.Context, t *testing.T, seeds []string, topic string, options ...kgo.Opt) *reader {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{cl: cl}
	r.done.Go(func() {
		for {
			fetches := cl.PollFetches(ctx)
			if fetches.IsClientClosed() || ctx.Err() != nil {
				return
			}
			fetches.EachRecord(func(f *kgo.Record) { r.seen.Store(string(f.Value), nil) })
		}
	})
	t.Cleanup(r.end)
	return r
}

func (r *reader) end() {
	r.cl.Close()
	r.done.Wait()
}

// all waits until it has read whatever was acknowledged.
func (r *reader) all(ctx context.Context, t *testing.T, l *steady) {
	t.Helper()
	missing := 0
	if err := harness.Until(ctx, func() (bool, error) {
		missing = 0
		l.acked.Range(func(k, _ any) bool {
			if _, ok := r.seen.Load(k); !ok {
				missing++
			}
			return true
		})
		return missing == 0, nil
	}); err != nil {
		t.Fatalf("the group has not read %d acknowledged records: %v", missing, err)
	}
}

// The local module would not make a cluster, or not finish what was broken off; its topics would not be there for unmodified clients; something would be lost, or
// clients would notice, when a broker is replaced, one comes, and one goes; or destroy would leave something behind.
func TestTerraform(t *testing.T) {
	s := newStack(t)
	ctx := within(t, 8*time.Minute)

	// The third broker cannot have its port: the apply says so; the next one finishes it.
	taken, err := net.Listen("tcp", s.kafka(3))
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.run(ctx, "apply", "-auto-approve", "-no-color")
	if err == nil || !strings.Contains(out, "broker 3: has ended") || !strings.Contains(out, "address already in use") {
		t.Fatalf("an apply whose third broker cannot start: %v\n%s", err, out)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	s.apply(ctx)
	if out, err := s.run(ctx, "plan", "-detailed-exitcode", "-no-color"); err != nil {
		t.Fatalf("a plan behind an apply shows changes: %v\n%s", err, out)
	}

	p := s.pki()
	secured := kgo.DialTLSConfig(p.config(""))
	seeds := []string{s.kafka(1), s.kafka(2), s.kafka(3)}
	for _, c := range p.clients(false) {
		topic := map[string]string{"kcat": "kcat", "Java console tools": "java"}[c.name]
		if topic == "" {
			continue
		}
		if err := c.missing(); err != nil {
			if os.Getenv("QANAT_TEST_CLIENTS") == "all" {
				t.Fatal(err)
			}
			t.Logf("NOT TESTED: %s is not installed (%v); integration/scripts/clients-install installs it", c.name, err)
			continue
		}
		lines := []string{"one", "two", "three"}
		if err := c.produce(ctx, s.kafka(1), topic, lines); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got, err := c.consume(ctx, s.kafka(2), topic, len(lines)); err != nil || !slices.Equal(got, lines) {
			t.Fatalf("%s read %q (%v)", c.name, got, err)
		}
	}

	load := startSteady(t, seeds, "load", secured, kgo.RecordDeliveryTimeout(time.Minute))
	group := startReader(ctx, t, seeds, "load", secured)
	load.more(ctx, 100)
	if out := s.apply(ctx, `-replace=module.cluster.terraform_data.broker["2"]`); !strings.Contains(out, "broker 2: replaced") {
		t.Errorf("broker 2 was not replaced:\n%s", out)
	}
	load.more(ctx, 100)
	s.brokers(4)
	s.apply(ctx)
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), secured, kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var onto kadm.AlterPartitionAssignmentsReq // the new one has something to lose
	onto.Assign("load", 0, []int32{4, 1, 2})
	onto.Assign("load", 1, []int32{1, 4, 3})
	if _, err := adm.AlterPartitionAssignments(ctx, onto); err != nil {
		t.Fatal(err)
	}
	if err := harness.Until(ctx, func() (bool, error) {
		topics, err := adm.ListTopics(ctx, "load")
		return err == nil && slices.Contains(topics["load"].Partitions[0].ISR, 4), nil
	}); err != nil {
		t.Fatal(err)
	}
	load.more(ctx, 100)
	s.brokers(3)
	if out := s.apply(ctx); !strings.Contains(out, "broker 4: is forgotten") {
		t.Errorf("broker 4 was not taken out:\n%s", out)
	}
	if brokers, err := adm.ListBrokers(ctx); err != nil || len(brokers) != 3 {
		t.Errorf("there are %d brokers (%v)", len(brokers), err)
	}
	load.more(ctx, 100)
	load.end()
	group.all(ctx, t, load)
	group.end()
	load.check(ctx, seeds, secured)
	t.Logf("%d records were acknowledged meanwhile, and are there", load.count.Load())

	if out, err := s.run(ctx, "destroy", "-auto-approve", "-no-color"); err != nil {
		t.Fatalf("terraform destroy: %v\n%s", err, out)
	}
	if _, err := os.Stat(s.cluster); !os.IsNotExist(err) {
		t.Errorf("the brokers' directory is there (%v)", err)
	}
	// 1: there is none.
	left := exec.Command("pgrep", "-f", "--", s.cluster+"/")
	if out, err := left.Output(); left.ProcessState.ExitCode() != 1 {
		t.Errorf("processes are there: %s (%v)", out, err)
	}
}

// False if it failed: "a broker of the local module that ends as it starts fails the apply with what it has said, and is not waited for: the others
// wait for it".
func TestLocalModuleTellsWhatHasEnded(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	dir, port := t.TempDir(), freePorts(t, 9)
	program, err := filepath.Abs(qanat)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+8)) // the third's cluster.listener
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	step := func(name string, more ...string) (string, error) {
		c := exec.CommandContext(ctx, "bash", filepath.Join("..", "terraform", "modules", "local", "scripts", "broker"), name)
		c.Env = append(append(harness.Environ(), "QM_DIRECTORY="+dir, "QM_PROGRAM="+program, "QM_CERTIFICATES=", "QM_MAKE_CERTS=", "QM_TIMEOUT=60", "QM_DRAIN=true", "QM_OTLP="), more...)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	defer func() {
		if out, err := step("sweep"); err != nil {
			t.Errorf("sweep: %v\n%s", err, out)
		}
	}()
	if out, err := step("prepare"); err != nil {
		t.Fatalf("prepare: %v\n%s", err, out)
	}
	var peers []string
	for n := range 3 {
		peers = append(peers, fmt.Sprintf("%d@127.0.0.1:%d", n+1, port+3*n+2))
	}
	for n := range 3 {
		first, id := port+3*n, strconv.Itoa(n+1)
		config := fmt.Sprintf("node.id: %s\ndata.dir: %s\nlisteners: PLAINTEXT://127.0.0.1:%d\nadmin.listener: 127.0.0.1:%d\ncluster.listener: 127.0.0.1:%d\ncluster.peers: %s\n",
			id, filepath.Join(dir, id, "data"), first, first+1, first+2, strings.Join(peers, ","))
		if out, err := step("up", "QM_ID="+id, "QM_CONFIG="+config, fmt.Sprintf("QM_KAFKA=127.0.0.1:%d", first), fmt.Sprintf("QM_ADMIN=http://127.0.0.1:%d", first+1)); err != nil {
			t.Fatalf("up: %v\n%s", err, out)
		}
	}
	out, err := step("ready", "QM_IDS=1 2 3")
	if err == nil || !strings.Contains(out, "broker 3: has ended:") || !strings.Contains(out, "address already in use") {
		t.Errorf("%v\n%s", err, out)
	}
}
