package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/workload"
)

// foreign starts a producer and a consumer of another language. heard makes what they have written down since began into pulses.
func (g *gapRun) foreign(ctx context.Context, working *sync.WaitGroup, began *time.Time) (heard func() error, err error) {
	g.rounds++ // and a group each: the last one's member was killed, and is waited for
	log, err := os.OpenFile(filepath.Join(g.logs, "clients.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	histories := map[workload.Role]string{}
	for i, role := range []workload.Role{workload.Produce, workload.Follow} {
		spec := workload.Spec{Role: role, Bootstrap: g.c.Bootstrap(), Topic: gapTopic, Partitions: 1, Group: fmt.Sprintf("gaps-%d", g.rounds), Rate: 1000, Size: 48,
			Process: 4*g.rounds + 2*i + 1} // odd ones give up on nothing
		spec.History = filepath.Join(g.logs, fmt.Sprintf("%04d.history", spec.Process))
		histories[role] = spec.History
		cmd := exec.Command(g.language.command[0], append(g.language.command[1:len(g.language.command):len(g.language.command)], spec.Args()...)...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := g.c.In(cluster.Clients, cmd.Start); err != nil {
			return nil, fmt.Errorf("start %s client: %w", g.language.name, err)
		}
		working.Go(func() {
			<-ctx.Done()
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
			_ = cmd.Wait()                                      // by that
		})
	}
	return func() error {
		return errors.Join(hear(histories[workload.Produce], " ok s", *began, &g.acked), hear(histories[workload.Follow], " poll ", *began, &g.polled))
	}, nil
}

// hear has a pulse beat at the lines of a history that hold a text and were written since a time.
func hear(file, text string, since time.Time, p *pulse) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil { // by which all clients go
		return err
	}
	now, mono := time.Now(), clock.Nano()
	for line := range strings.Lines(string(raw)) {
		failed := strings.Contains(line, " unknown s") || strings.Contains(line, " fail s")
		if !failed && !strings.Contains(line, text) {
			continue
		}
		ns, err := strconv.ParseInt(strings.SplitN(line, " ", 3)[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %q: %w", file, line, err)
		}
		switch at := now.Add(time.Duration(ns - mono)); {
		case at.Before(since):
		case failed:
			p.beatAt(at, errors.New(line))
		default:
			p.beatAt(at, nil)
		}
	}
	return nil
}
