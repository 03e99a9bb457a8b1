package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// root is the repository.
const root = "../.."

// within bounds a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// needAWS skips a test loudly where integration/scripts/aws does not run it.
func needAWS(t *testing.T) {
	t.Helper()
	if os.Getenv("QANAT_TEST_AWS") == "" {
		t.Skip("SKIPPED: there is no AWS to try it on; run integration/scripts/aws go test ./integration/aws")
	}
}

// program builds qanat as it is packaged, so that little is left to compile where it has been.
func program(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("QANAT_BIN"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "qanat")
	output(t, t.Context(), command(t.Context(), "", "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin, root+"/cmd/qanat"))
	return bin
}

func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.WaitDelay = 10 * time.Second
	return c
}

// output runs a command that must succeed.
func output(t *testing.T, ctx context.Context, c *exec.Cmd) string {
	t.Helper()
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		t.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), errors.Join(err, ctx.Err()), out)
	}
	return string(out)
}

// stack is an example, in a directory of its own with the modules beside it, as somebody has it who has copied it.
type stack struct {
	t      *testing.T
	dir    string
	region region
	envs   []string
}

func newStack(t *testing.T, ctx context.Context, example string, r region, variables map[string]any) *stack {
	t.Helper()
	top := t.TempDir()
	output(t, ctx, command(ctx, root, "cp", "-r", "terraform/modules", "terraform/examples", top))
	for _, left := range []string{"modules/aws/.terraform", "examples/" + example + "/.terraform", "examples/" + example + "/.terraform.lock.hcl"} {
		if err := os.RemoveAll(filepath.Join(top, left)); err != nil {
			t.Fatal(err)
		}
	}
	s := &stack{t: t, dir: filepath.Join(top, "examples", example), region: r, envs: r.env()}
	s.set(t, variables)
	if out, err := s.run(ctx, "init", "-input=false"); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	return s
}

// set writes the example's variables.
func (s *stack) set(t *testing.T, variables map[string]any) {
	t.Helper()
	raw, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "test.auto.tfvars.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) command(ctx context.Context, args ...string) *exec.Cmd {
	c := command(ctx, s.dir, "terraform", args...)
	c.Args = append(c.Args, "-no-color")
	c.Env = append(os.Environ(), s.envs...)
	return c
}

// slow is what Terraform says of a resource that took ten seconds or more.
var slow = regexp.MustCompile(`\n\S+: (Creation|Destruction|Modifications) complete after (\d+m\d+|\d\d+)s`)

// run says how long it took: most of these tests' time is Terraform's, or what its hooks wait for.
func (s *stack) run(ctx context.Context, args ...string) (string, error) {
	begin := time.Now()
	out, err := s.command(ctx, args...).CombinedOutput()
	s.t.Logf("terraform %s: %.1f s%s", args[0], time.Since(begin).Seconds(), strings.Join(slow.FindAllString(string(out), -1), ""))
	return string(out), err
}

func (s *stack) must(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := s.run(ctx, args...)
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// outputs are what the example says of itself.
func (s *stack) outputs(t *testing.T, ctx context.Context, to any) {
	t.Helper()
	raw := s.must(t, ctx, "output", "-json")
	values := map[string]struct{ Value json.RawMessage }{}
	if err := json.Unmarshal([]byte(raw), &values); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	flat := map[string]json.RawMessage{}
	for k, v := range values {
		flat[k] = v.Value
	}
	again, err := json.Marshal(flat)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, to); err != nil {
		t.Fatal(err)
	}
}

// account is what read.py finds.
type account struct {
	Instances map[string]struct {
		State, Type, Tokens, Profile string
		Hops                         int
		Tags                         map[string]string
		Interfaces                   []string
		UserData                     string `json:"user_data"`
	}
	Volumes map[string]struct {
		Type, Az, KMS          string
		Size, IOPS, Throughput int
		Encrypted              bool
		Tags                   map[string]string
		Attached               []string
	}
	Interfaces map[string]struct {
		Address string
		Groups  []string
	}
	Groups    map[string]string
	Rules     []rule
	Endpoints []struct {
		Service, Type string
		Tables        []string
	}
	Buckets map[string]struct {
		Policy                           any
		Public                           map[string]bool
		Encryption, Lifecycle, Ownership []map[string]any
	}
	Roles map[string]struct {
		Assume   any
		Policies map[string]policy
		Attached []string
	}
	Profiles  []string
	Balancers map[string]struct {
		Type, Scheme, DNS string
		Groups, Subnets   []string
		Listeners         []struct {
			Port     int
			Protocol string
		}
		Targets []struct {
			Type, Path, Port, Protocol string
			Addresses                  []string
		}
	}
	Records map[string][]string
	Zones   []string
	Secrets map[string]struct{ ARN, KMS, Value string }
}

type rule struct {
	Group, Protocol, CIDR, Source string
	Egress                        bool
	From, To                      int
}

type policy struct {
	Statement []struct {
		Sid, Effect      string
		Action, Resource any
		Condition        any
	}
}

// region is where a test has its own instances, volumes and load balancers; buckets, roles and names are the account's.
type region string

func (r region) env() []string {
	return []string{"AWS_REGION=" + string(r), "AWS_DEFAULT_REGION=" + string(r)}
}

func (r region) python(ctx context.Context, args ...string) *exec.Cmd {
	c := command(ctx, "", os.Getenv("QANAT_TEST_AWS_PYTHON"), append([]string{"read.py"}, args...)...)
	c.Env = append(os.Environ(), r.env()...)
	return c
}

// readBack is what is there now.
func (r region) readBack(t *testing.T, ctx context.Context) account {
	t.Helper()
	var a account
	raw := output(t, ctx, r.python(ctx))
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return a
}

// network is what the examples are given: a VPC with what is in it.
type network struct {
	VPC         string            `json:"vpc"`
	Subnets     map[string]string `json:"subnets"`
	RouteTables []string          `json:"route_tables"`
	AMI         string            `json:"ami"`
	KMSKey      string            `json:"kms_key"`
}

func newNetwork(t *testing.T, ctx context.Context, r region) (n network) {
	t.Helper()
	if err := json.Unmarshal([]byte(output(t, ctx, r.python(ctx, "setup"))), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// same compares what is there with what was promised, in words.
func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	g, errG := json.Marshal(got)
	w, errW := json.Marshal(want)
	if err := errors.Join(errG, errW); err != nil {
		t.Fatal(err)
	}
	if string(g) != string(w) {
		t.Errorf("%s\n  is       %s\n  promised %s", what, g, w)
	}
}

// list is a JSON string, or a list of them, in order.
func list(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, fmt.Sprint(x))
		}
		slices.Sort(out)
		return out
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// copyFile copies with a mode.
func copyFile(t *testing.T, to, from string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}
