package aws

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
)

// hooks calls the hook as terraform does, with a qanat that writes down what it is asked and answers as the test says.
type hooks struct {
	dir string
	t   *testing.T
}

// newHooks: script is what qanat does after it has written its arguments down.
func newHooks(t *testing.T, script string) *hooks {
	t.Helper()
	h := &hooks{dir: t.TempDir(), t: t}
	h.program("qanat", fmt.Sprintf("#!/bin/sh\necho \"qanat $*\" >> %s/log\n%s\n", h.dir, script))
	// What waits looks again at once, or nearly.
	h.program("sleep", "#!/bin/sh\nexec /bin/sleep 0.02\n")
	return h
}

// shared is the directory that hooks of this process share.
func (h *hooks) shared() string {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, "qanat-roll-test-*"))
	if err != nil || len(found) != 1 {
		h.t.Fatalf("%v, %v", found, err)
	}
	return found[0]
}

func (h *hooks) program(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

// run calls a hook in a cluster of brokers 1 to 3; more are further variables, of which later ones count.
func (h *hooks) run(ctx context.Context, do, broker string, more ...string) (string, error) {
	hook, err := filepath.Abs(root + "/terraform/modules/aws/hooks/roll")
	if err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, "/bin/sh", hook)
	// As waits are short here, a conductor is given many: its process may be slow to begin.
	c.Env = append(append(os.Environ(), "ROLL_DO="+do, "ROLL_CLUSTER=test", "ROLL_BROKER="+broker, "ROLL_ADMINS=1=http://b-1 2=http://b-2 3=http://b-3", "ROLL_PATIENCE=1500",
		"ROLL_CA=", "ROLL_COMMAND="+h.dir+"/qanat", "ROLL_DRAIN=false", "ROLL_TIMEOUT=30", "ROLL_DIRECTORY="+h.dir, "PATH="+h.dir+":"+os.Getenv("PATH")), more...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// roll replaces brokers as an apply does: each leaves, is gone, and comes back where the test says so. It is what each was answered; "" is the conductor.
func (h *hooks) roll(ctx context.Context, brokers string, back func(broker string) bool, more ...string) map[string]string {
	var mu sync.Mutex
	said := map[string]string{}
	note := func(broker, out string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			out += "FAILED: " + err.Error()
		}
		said[broker] = out
	}
	var all sync.WaitGroup
	all.Go(func() {
		out, err := h.run(ctx, "conduct", "", more...)
		note("", out, err)
	})
	for _, n := range strings.Fields(brokers) {
		all.Go(func() {
			out, err := h.run(ctx, "leave", n, more...)
			note(n, out, err)
			if err == nil {
				h.write("gone " + n)
				if back(n) {
					h.write("new " + n)
					if out, err := h.run(ctx, "back", n); err != nil {
						h.t.Errorf("broker %s: %v\n%s", n, err, out)
					}
				}
			}
		})
	}
	all.Wait()
	return said
}

func always(string) bool { return true }

func (h *hooks) write(line string) {
	f, err := os.OpenFile(filepath.Join(h.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		_ = f.Close()
	}
	if err != nil {
		h.t.Error(err)
	}
}

func (h *hooks) log() []string {
	raw, err := os.ReadFile(filepath.Join(h.dir, "log"))
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// gone is who has gone, in order.
func (h *hooks) gone() (gone []string) {
	for _, line := range h.log() {
		if n, ok := strings.CutPrefix(line, "gone "); ok {
			gone = append(gone, n)
		}
	}
	return gone
}

// False if it failed: "brokers that one apply replaces go one after the other, each when the one before is back and the cluster healthy".
func TestOneAfterTheOther(t *testing.T) {
	ctx := within(t, time.Minute)
	h := newHooks(t, "exit 0")
	for n, said := range h.roll(ctx, "3 1 2", always) {
		if strings.Contains(said, "FAILED") {
			t.Errorf("%q: %s", n, said)
		}
	}
	away, asked := "", 0
	for _, line := range h.log() {
		what, n, _ := strings.Cut(line, " ")
		switch what {
		case "gone":
			if away != "" || asked == 0 {
				t.Errorf("broker %s goes while %q is away, after %d looks at the cluster's health", n, away, asked)
			}
			away = n
		case "new":
			away, asked = "", 0
		default:
			asked++
		}
	}
	if len(h.gone()) != 3 {
		t.Errorf("gone are %v", h.gone())
	}
}

// False if it failed: "no broker goes while the cluster is not healthy; when one does not come back, nobody else goes; and the apply fails in both cases".
func TestNobodyGoesFromAnUnhealthyCluster(t *testing.T) {
	ctx := within(t, time.Minute)
	ill := newHooks(t, `case $* in "cluster health"*) echo '! topic orders: nobody leads partition 3'; exit 10 ;; "broker status"*) echo '{ "state": "active" }' ;; esac`)
	for n, said := range ill.roll(ctx, "1 2", always, "ROLL_TIMEOUT=0") {
		if !strings.Contains(said, "nobody leads partition 3") || !strings.Contains(said, "FAILED") {
			t.Errorf("%q: %s", n, said)
		}
	}
	if len(ill.gone()) != 0 {
		t.Errorf("gone are %v", ill.gone())
	}
	lost := newHooks(t, "exit 0")
	failed := 0
	for _, said := range lost.roll(ctx, "1 2 3", func(string) bool { return false }, "ROLL_TIMEOUT=1") {
		if strings.Contains(said, "FAILED") && strings.Contains(said, "no new instance") {
			failed++
		}
	}
	if len(lost.gone()) != 1 || failed != 3 {
		t.Errorf("gone are %v, and %d hooks of the conductor's and the others' failed", lost.gone(), failed)
	}
}

// False if it failed: "a broker that is away is replaced first, as the cluster cannot be healthy without it".
func TestWhoIsAwayGoesFirst(t *testing.T) {
	ctx := within(t, time.Minute)
	h := newHooks(t, "")
	h.program("qanat", fmt.Sprintf(`#!/bin/sh
echo "qanat $*" >> %[1]s/log
case $* in
"cluster health"*) grep -q 'new 3' %[1]s/log || exit 10 ;;
"broker status 3"*) echo '{ "state": "fenced" }' ;;
"broker status"*) echo '{ "state": "active" }' ;;
esac
`, h.dir))
	for n, said := range h.roll(ctx, "1 2 3", always) {
		if strings.Contains(said, "FAILED") {
			t.Errorf("%q: %s", n, said)
		}
	}
	if gone := h.gone(); len(gone) != 3 || gone[0] != "3" {
		t.Errorf("gone are %v", gone)
	}
}

// False if it failed: "an instance whose replacement nobody conducts, as what brokers stand on waits for it to go, stays".
func TestNobodyGoesWithoutAConductor(t *testing.T) {
	ctx := within(t, time.Minute)
	h := newHooks(t, "exit 0")
	if out, err := h.run(ctx, "leave", "2", "ROLL_PATIENCE=3"); err == nil || !strings.Contains(out, "apply that alone, then this") {
		t.Errorf("%v\n%s", err, out)
	}
	// Nor does it go because an earlier apply of the same process has let it.
	if err := os.WriteFile(filepath.Join(h.shared(), "go-2"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := h.run(ctx, "leave", "2", "ROLL_PATIENCE=3"); err == nil || !strings.Contains(out, "apply that alone, then this") {
		t.Errorf("%v\n%s", err, out)
	}
}

// False if it failed: "nobody goes, and nobody waits for ever, when who let brokers go was killed; nor when it has refused".
func TestNobodyGoesAfterTheConductor(t *testing.T) {
	ctx := within(t, time.Minute)
	h := newHooks(t, "exit 0")
	if out, err := h.run(ctx, "conduct", ""); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dead := exec.CommandContext(ctx, "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	conductor := filepath.Join(h.shared(), "conductor")
	if err := os.Symlink(fmt.Sprint(dead.Process.Pid), conductor); err != nil {
		t.Fatal(err)
	}
	if out, err := h.run(ctx, "leave", "2"); err == nil || !strings.Contains(out, "was ended") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.Remove(conductor); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.shared(), "refused"), []byte("one is lost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := h.run(ctx, "leave", "3"); err == nil || !strings.Contains(out, "one is lost") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := h.run(ctx, "conduct", ""); err == nil {
		t.Errorf("conducted although one had refused\n%s", out)
	}
}

// False if it failed: "nobody waits when all brokers are destroyed, nor for one that has been emptied to leave the cluster; one that is not empty does not leave it".
func TestWhoGoesForGood(t *testing.T) {
	ctx := within(t, time.Minute)
	empty := newHooks(t, `case $* in "broker status"*) echo '{ "id": 4, "drain": true, "replicas": 0 }' ;; *) exit 10 ;; esac`)
	for n, said := range empty.roll(ctx, "4 5", func(string) bool { return false }) {
		if strings.Contains(said, "FAILED") {
			t.Errorf("%q: %s", n, said)
		}
	}
	full := newHooks(t, `case $* in "broker status"*) echo '{ "id": 4, "drain": true, "replicas": 12 }' ;; esac`)
	if said := full.roll(ctx, "4", always); !strings.Contains(said["4"], "decommission 4") || !strings.Contains(said["4"], "FAILED") {
		t.Errorf("%v", said)
	}
	whole := newHooks(t, "exit 10")
	if out, err := whole.run(ctx, "end", ""); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, n := range []string{"1", "2", "3"} {
		if out, err := whole.run(ctx, "leave", n); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(whole.dir, "log")); err == nil {
		t.Errorf("somebody was asked: %v", whole.log())
	}
}

// False if it failed: "with drain, a broker is emptied before it goes, and takes replicas again when it is back, also where another apply has emptied it".
func TestBrokersAreDrained(t *testing.T) {
	ctx := within(t, time.Minute)
	h := newHooks(t, "")
	for n, said := range h.roll(ctx, "1", always, "ROLL_DRAIN=true") {
		if strings.Contains(said, "FAILED") {
			t.Errorf("%q: %s", n, said)
		}
	}
	if out, err := h.run(ctx, "ready", "", "ROLL_DRAIN=true"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	rest := strings.Join(h.log(), "\n")
	for _, want := range []string{"cluster health", "broker drain 1 --wait", "gone 1", "new 1", "broker drain 1 --stop", "cluster health", "broker drain 2 --stop", "cluster health"} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("%q does not come where it should:\n%s", want, strings.Join(h.log(), "\n"))
		}
		rest = after
	}
}
