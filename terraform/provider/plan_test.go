package provider

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

// workspace is a directory in which terraform, a process of its own, uses the provider, another one.
type workspace struct {
	t   *testing.T
	dir string
}

func newWorkspace(t *testing.T, config string) *workspace {
	t.Helper()
	w := &workspace{t, t.TempDir()}
	bin := filepath.Join(w.dir, "bin")
	if out, err := exec.Command("go", "build", "-o", bin+"/", "github.com/qanat-io/qanat/cmd/terraform-provider-qanat").CombinedOutput(); err != nil {
		t.Fatalf("build the provider: %v\n%s", err, out)
	}
	w.write("cli.tfrc", fmt.Sprintf("provider_installation {\n  dev_overrides { \"qanat-io/qanat\" = %q }\n  direct {}\n}\n", bin))
	w.write("main.tf", "terraform {\n  required_providers {\n    qanat = { source = \"qanat-io/qanat\" }\n  }\n}\n"+config)
	return w
}

func (w *workspace) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// terraform runs it, and returns what it printed and how long it took.
func (w *workspace) terraform(ctx context.Context, args ...string) (string, time.Duration, error) {
	cmd := exec.CommandContext(ctx, os.Getenv("TF_ACC_TERRAFORM_PATH"), args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(w.dir, "cli.tfrc"), "CHECKPOINT_DISABLE=1")
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	return string(out), time.Since(begin), err
}

// requests counts what a broker has answered, by API.
func requests(t *testing.T, admin string) map[string]int {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	broken(t, err)
	defer resp.Body.Close()
	out := map[string]int{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "kafka_request_duration_seconds_count{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(rest, "} ")
		_, api, _ := strings.Cut(labels, `api="`)
		api, _, _ = strings.Cut(api, `"`)
		n, err := strconv.ParseFloat(value, 64)
		broken(t, err)
		out[api] += int(n)
	}
	return out
}

// A plan over many topics (QANAT_TEST_TOPICS says how many) would ask for them one by one, or would show differences where there are none.
func TestManyTopics(t *testing.T) {
	c := one(t)
	topics, err := strconv.Atoi(cmp.Or(os.Getenv("QANAT_TEST_TOPICS"), "200"))
	broken(t, err)
	w := newWorkspace(t, c.provider(allowed)+fmt.Sprintf(`
resource "qanat_topic" "many" {
  count      = %d
  name       = "many-${count.index}"
  partitions = 1
  configs    = { "retention.ms" = "3600000" }
}`, topics))
	ctx := within(t, 5*time.Minute)
	out, took, err := w.terraform(ctx, "apply", "-auto-approve", "-no-color")
	if err != nil || !strings.Contains(out, fmt.Sprintf("Resources: %d added, 0 changed, 0 destroyed", topics)) {
		t.Fatalf("apply: %v\n%s", err, tail(out))
	}
	t.Logf("terraform apply of %d new topics: %v", topics, took.Round(10*time.Millisecond))
	before := requests(t, c.b[0].Admin)
	out, took, err = w.terraform(ctx, "plan", "-detailed-exitcode", "-no-color")
	if err != nil || !strings.Contains(out, "No changes") {
		t.Fatalf("plan: %v\n%s", err, tail(out))
	}
	t.Logf("terraform plan over %d topics: %v", topics, took.Round(10*time.Millisecond))
	after := requests(t, c.b[0].Admin)
	for _, api := range []string{"Metadata", "DescribeConfigs", "ListPartitionReassignments"} {
		// Terraform starts the provider twice: to validate, which asks nothing, and to plan. The client asks for metadata of its own, too.
		if n := after[api] - before[api]; n < 1 || n > 3 || n > 1 && api != "Metadata" {
			t.Errorf("the plan asked %s %d times", api, n)
		}
	}
	if out, took, err = w.terraform(ctx, "destroy", "-auto-approve", "-no-color"); err != nil {
		t.Fatalf("destroy: %v\n%s", err, tail(out))
	}
	t.Logf("terraform destroy of %d topics: %v", topics, took.Round(10*time.Millisecond))
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// A plan before the cluster is there would fail, or an apply without it would not say what is wrong.
func TestNobodyThere(t *testing.T) {
	needTerraform(t)
	w := newWorkspace(t, "provider \"qanat\" {\n  bootstrap_servers = \"127.0.0.1:1\"\n}\nresource \"qanat_topic\" \"t\" {\n  name = \"t\"\n}\n")
	ctx := within(t, time.Minute)
	if out, _, err := w.terraform(ctx, "plan", "-no-color"); err != nil || !strings.Contains(out, "was not checked by the cluster") || !strings.Contains(out, "1 to add") {
		t.Errorf("plan: %v\n%s", err, tail(out))
	}
	if out, _, err := w.terraform(ctx, "apply", "-auto-approve", "-no-color"); err == nil || !strings.Contains(out, "Cannot reach a broker at 127.0.0.1:1") || !strings.Contains(out, "Is the broker running") {
		t.Errorf("apply: %v\n%s", err, tail(out))
	}
}

// Two hundred that ask at once would be answered from two hundred requests, or a read after a write would show what was before it.
func TestReadsAreSharedAndWritesSeen(t *testing.T) {
	c := one(t)
	ctx := within(t, time.Minute)
	settings := cluster.Settings{Bootstrap: []string{c.b[0].Listen}, Request: 20 * time.Second, Wait: time.Minute, Version: "test"}
	many := cluster.New(settings)
	defer many.Close()
	if created, err := many.CreateTopic(ctx, cluster.Wish{Name: "shared", Partitions: 2, ReplicationFactor: 1}); err != nil || created.Unsure != nil || created.Taken {
		t.Fatal(err, created)
	}
	defer func() { broken(t, many.DeleteTopic(ctx, "shared")) }()
	fresh := cluster.New(settings)
	defer fresh.Close()
	before := requests(t, c.b[0].Admin)
	found := make(chan error, 200)
	for range cap(found) {
		go func() {
			topic, err := fresh.Topic(ctx, "shared")
			if err == nil && (topic == nil || len(topic.Partitions) != 2) {
				err = errors.New("not as it was made")
			}
			found <- err
		}()
	}
	for range cap(found) {
		broken(t, <-found)
	}
	if n := requests(t, c.b[0].Admin)["DescribeConfigs"] - before["DescribeConfigs"]; n != 1 {
		t.Errorf("%d requests for configurations", n)
	}
	broken(t, fresh.Grow(ctx, "shared", 5))
	broken(t, fresh.Alter(ctx, cluster.TopicResource("shared"), cluster.Change{Set: map[string]string{"retention.ms": "7"}}, false))
	if topic, err := fresh.Topic(ctx, "shared"); err != nil || len(topic.Partitions) != 5 || topic.Configs["retention.ms"] != "7" {
		t.Errorf("after the writes: %+v (%v)", topic, err)
	}
}
