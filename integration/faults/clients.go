package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/workload"
)

// language is a client library: the command that plays a role with it.
type language struct {
	name    string
	command []string
	// pace is how often clients of it are replaced: a JVM takes its time to start.
	pace time.Duration
}

// member is one place among the clients, taken by one process after another.
type member struct {
	language language
	role     workload.Role
	assignor string // "": the run's
	// transactionalID of this place: whoever takes it ends what the one before has left open. See workload.Spec.
	transactionalID string
	process         *exec.Cmd
	done            chan struct{}
}

// clients is all of them.
type clients struct {
	c       *cluster.Cluster
	dir     string
	spec    workload.Spec
	rng     *rand.Rand
	members []*member
	log     io.Writer

	mu      sync.Mutex
	next    int // number of the next process
	crashed int
	ended   []string // how processes ended that nobody had ended
}

// cast is who plays with which library.
func cast(workloadName string, languages map[string]language) ([]*member, error) {
	of := func(l string, roles ...workload.Role) (all []*member) {
		for _, r := range roles {
			all = append(all, &member{language: languages[l], role: r})
		}
		return all
	}
	const produce, refused, read, group, committed = workload.Produce, workload.Refused, workload.Read, workload.Group, workload.Committed
	var all []*member
	switch workloadName {
	case "franz-go":
		all = of("franz-go", produce, produce, refused, read, group, group, committed)
	case "transactions": // beside readers of what is committed
		all = of("franz-go", workload.Transact, workload.Transact, workload.Transact, read, group, group, committed)
		for i, m := range all {
			m.transactionalID = fmt.Sprintf("place-%d", i)
		}
	case "streams": // the same, in a group of the streams protocol (KIP-1071)
		all = of("franz-go", produce, workload.Transact, workload.Streams, workload.Streams, workload.Streams, read, committed)
		for i, m := range all {
			m.transactionalID = fmt.Sprintf("place-%d", i)
		}
	case "pipeline": // what is consumed, what is made of it, and its offsets in one transaction
		all = of("franz-go", produce, workload.Transact, workload.Pipe, workload.Pipe, workload.Pipe, read, committed)
		for i, m := range all {
			m.transactionalID = fmt.Sprintf("place-%d", i)
		}
	case "share": // a share group (KIP-932)
		all = of("franz-go", produce, produce, refused, read, workload.Share, workload.Share, workload.Share, workload.Starts)
	case "consumer": // a group of the consumer protocol (KIP-848)
		all = of("franz-go", produce, produce, refused, read, group, group, group, committed)
	case "migrating": // members of both protocols: the group goes back and forth as they come and go
		all = of("franz-go", produce, produce, refused, read, group, group, group, committed)
		all[4].assignor = "broker"
	case "consumer-java":
		all = append(of("java", produce, refused, read, group, group), of("franz-go", committed)...)
	case "java":
		all = append(of("java", produce, refused, read, group, group), of("franz-go", committed)...)
	case "librdkafka":
		all = append(of("librdkafka", produce, produce, refused, read, group, group), of("franz-go", committed)...)
	case "mixed":
		all = append(append(of("java", produce, group), of("librdkafka", produce, group, read)...), of("franz-go", produce, refused, group, committed)...)
	default:
		return nil, fmt.Errorf("workload %q is not known", workloadName)
	}
	for _, m := range all {
		if len(m.language.command) == 0 {
			return nil, fmt.Errorf("workload %s needs a client that is not there: see integration/scripts/faults-clients", workloadName)
		}
	}
	return all, nil
}

// start puts a new process into a place.
func (k *clients) start(m *member) error {
	k.mu.Lock()
	spec := k.spec
	spec.Role, spec.Process, spec.TransactionalID = m.role, k.next, m.transactionalID
	if m.assignor != "" {
		spec.Assignor = m.assignor
	}
	spec.Seed = k.rng.Uint64()
	k.next++
	k.mu.Unlock()
	spec.History = filepath.Join(k.dir, fmt.Sprintf("%04d.history", spec.Process))
	args := append(append([]string{}, m.language.command[1:]...), spec.Args()...)
	cmd := exec.Command(m.language.command[0], args...)
	cmd.Stdout, cmd.Stderr = k.log, k.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := k.c.In(cluster.Clients, cmd.Start); err != nil {
		return fmt.Errorf("start %s client: %w", m.language.name, err)
	}
	m.process, m.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		err := cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) && !exit.Sys().(syscall.WaitStatus).Signaled() {
			k.mu.Lock()
			k.ended = append(k.ended, fmt.Sprintf("%s %s (process %d): %v", m.language.name, spec.Role, spec.Process, err))
			k.mu.Unlock()
		}
		close(done)
	}(m.done)
	return nil
}

// end ends the process in a place: by a crash, or asking it to and giving it a while.
func (m *member) end(crash bool) {
	if m.process == nil {
		return
	}
	if !crash {
		_ = syscall.Kill(-m.process.Process.Pid, syscall.SIGTERM) // it may have ended; done says so
		timer := time.NewTimer(10 * time.Second)
		defer timer.Stop()
		select {
		case <-m.done:
			return
		case <-timer.C:
		}
	}
	_ = syscall.Kill(-m.process.Process.Pid, syscall.SIGKILL)
	<-m.done
}

// begin starts everybody.
func (k *clients) begin() error {
	for _, m := range k.members {
		if err := k.start(m); err != nil {
			return err
		}
	}
	return nil
}

// churn replaces clients at random until ctx ends. Most crash.
func (k *clients) churn(ctx context.Context) error {
	for {
		m := k.members[k.rng.IntN(len(k.members))]
		timer := time.NewTimer(m.language.pace/2 + time.Duration(k.rng.Int64N(int64(m.language.pace))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		crash := k.rng.IntN(4) > 0
		m.end(crash)
		if k.crashed++; ctx.Err() != nil {
			return nil
		}
		if err := k.start(m); err != nil {
			return err
		}
	}
}

// crash ends everybody at once.
func (k *clients) crash() {
	for _, m := range k.members {
		m.end(true)
	}
}

// last has a franz-go client do what is left to do when all others have ended: take what a share group has not, or read everything.
func (k *clients) last(ctx context.Context, command []string, role workload.Role) error {
	spec := k.spec
	spec.Role, spec.Process = role, k.next
	spec.TransactionalID = k.members[0].transactionalID
	spec.History = filepath.Join(k.dir, fmt.Sprintf("%04d.history", spec.Process))
	k.next++
	cmd := exec.CommandContext(ctx, command[0], append(append([]string{}, command[1:]...), spec.Args()...)...)
	cmd.Stdout, cmd.Stderr = k.log, k.log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := k.c.In(cluster.Clients, cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", role, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	return nil
}
