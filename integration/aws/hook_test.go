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

// turns calls the hook as terraform does, with a qanat that writes down what it is asked and answers as the test says, and a sleep that ends when the test says.
type turns struct {
	dir string
	t   *testing.T
}

// newTurns: script is what qanat does after it has written its arguments down.
func newTurns(t *testing.T, script string) *turns {
	t.Helper()
	dir := t.TempDir()
	fake := fmt.Sprintf("#!/bin/sh\necho \"qanat $*\" >> %s/log\n%s\n", dir, script)
	r := &turns{dir: dir, t: t}
	r.program("qanat", fake)
	r.program("sleep", "#!/bin/sh\n")
	return r
}

func (r *turns) program(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

func (r *turns) hook(ctx context.Context, do, broker string, more ...string) (string, error) {
	hook, err := filepath.Abs(root + "/terraform/modules/aws/hooks/turn")
	if err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, "/bin/sh", hook)
	c.Env = append(append(os.Environ(), "TURN_DO="+do, "TURN_CLUSTER=test", "TURN_BROKER="+broker, "TURN_SELF=http://self-"+broker, "TURN_OTHERS=http://other",
		"TURN_CA=", "TURN_COMMAND="+r.dir+"/qanat", "TURN_DRAIN=false", "TURN_TIMEOUT=0", "TURN_DIRECTORY="+r.dir, "PATH="+r.dir+":"+os.Getenv("PATH")), more...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (r *turns) log() string {
	raw, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(raw)
}

// False if it failed: "when one apply would replace several brokers, none of them goes; one alone goes, and comes back".
func TestOneTurnForEachApply(t *testing.T) {
	ctx := within(t, time.Minute)
	r := newTurns(t, "exit 0")
	// All have said what they want before anybody has slept enough.
	r.program("sleep", fmt.Sprintf("#!/bin/sh\nuntil [ $(ls %s/qanat-turns-*/wants-* | wc -l) = 5 ]; do /bin/sleep 0.02; done\n", r.dir))
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			if out, err := r.hook(ctx, "leave", fmt.Sprint(i+1)); err == nil || !strings.Contains(out, "Change one broker for each apply") {
				t.Errorf("broker %d: %v\n%s", i+1, err, out)
			}
		})
	}
	all.Wait()
	if asked, err := os.ReadFile(filepath.Join(r.dir, "log")); err != nil || strings.Contains(string(asked), "cluster health") {
		t.Errorf("one of several got as far as the cluster's health: %v\n%s", err, asked)
	}
	alone := newTurns(t, "exit 0")
	for _, do := range []string{"leave", "enter"} {
		if out, err := alone.hook(ctx, do, "1"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if n := strings.Count(alone.log(), "cluster health"); n != 2 {
		t.Errorf("the cluster's health was asked for %d times, and not before and after", n)
	}
}

// False if it failed: "no broker goes while the cluster is not healthy, and one that does not come back fails the apply".
func TestTurnsEndWithAnUnhealthyCluster(t *testing.T) {
	ctx := within(t, time.Minute)
	r := newTurns(t, `case $* in "cluster health"*) echo '! topic orders: nobody leads partition 3'; exit 10 ;; esac`)
	for _, do := range []string{"leave", "enter"} {
		if out, err := r.hook(ctx, do, "2"); err == nil || !strings.Contains(out, "nobody leads partition 3") {
			t.Errorf("%s: %v\n%s", do, err, out)
		}
	}
}

// False if it failed: "nobody waits when all brokers are destroyed, nor for those that have been emptied to leave the cluster".
func TestTurnsOfThoseThatGoForGood(t *testing.T) {
	ctx := within(t, time.Minute)
	empty := newTurns(t, `case $* in "broker status"*) echo '{ "id": 4, "drain": true, "replicas": 0 }' ;; *) exit 10 ;; esac`)
	for _, id := range []string{"4", "5"} {
		if out, err := empty.hook(ctx, "leave", id); err != nil || !strings.Contains(out, "is empty") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	whole := newTurns(t, "exit 10")
	if out, err := whole.hook(ctx, "end", ""); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, id := range []string{"1", "2", "3"} {
		if out, err := whole.hook(ctx, "leave", id); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(whole.dir, "log")); err == nil {
		t.Errorf("somebody was asked:\n%s", whole.log())
	}
}

// False if it failed: "with drain, a broker is emptied before it goes, and takes replicas again when it is back".
func TestTurnsDrain(t *testing.T) {
	ctx := within(t, time.Minute)
	r := newTurns(t, `case $* in "broker status"*) echo '{"drain":false,"replicas":7}' ;; esac`)
	for _, do := range []string{"leave", "enter"} {
		if out, err := r.hook(ctx, do, "1", "TURN_DRAIN=true"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	want := []string{"broker status 1", "cluster health --admin-url http://other", "broker drain 1 --wait", "broker drain 1 --stop", "cluster health --admin-url http://self-1"}
	rest := r.log()
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("%q does not come where it should:\n%s", w, r.log())
		}
		rest = after
	}
}
