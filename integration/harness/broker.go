// Package harness starts, kills and watches real broker processes for the
// black-box tests and the demonstration. It knows the program only by its
// command line, its output and its ports.
package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Broker is one broker that may be started, killed and started again on the
// same directory and addresses.
type Broker struct {
	Bin    string   // the program
	Dir    string   // its data directory
	Bucket string   // bucket URL, "" for the default
	Sets   []string // key=value
	Env    []string // added to the environment
	Listen string   // chosen by New
	Admin  string
	Raft   string

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{} // closed when cmd has ended
	exit    error
	spent   time.Duration // CPU of ended processes
	Ready   string        // the line that the last start printed
	Started time.Duration // from exec to that line, last start
}

// New chooses free addresses for a broker on dir.
func New(bin, dir string) (*Broker, error) {
	b := &Broker{Bin: bin, Dir: dir}
	for _, to := range []*string{&b.Listen, &b.Admin, &b.Raft} {
		address, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		*to = address
	}
	return b, nil
}

// Environ is this process's environment without the tests' own variables: the
// broker takes every QANAT_ variable for a configuration key.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "QANAT_") })
}

// FreeAddress is a loopback address that nothing listens on at the moment. Its port is below those that systems give to outgoing connections
// (32768 and up): a broker that is stopped and started again finds it free.
func FreeAddress() (string, error) {
	const first, ports = 20000, 12000
	var err error
	for range 100 {
		port := first + (firstPort+nextPort.Add(1))%ports
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
}

// Ports are handed out one after the other, from a place that each process draws: one that was handed out and is not listened on
// yet would otherwise be handed out again some day.
var (
	firstPort = rand.Uint32N(1 << 20)
	nextPort  atomic.Uint32
)

// Log is the file that collects what the broker logs, over all its starts.
func (b *Broker) Log() string { return b.Dir + ".log" }

// Args is the command line.
func (b *Broker) Args() []string {
	args := []string{"dev", "--dir", b.Dir, "--listen", b.Listen, "--admin", b.Admin, "--set", "raft.listener=" + b.Raft}
	if b.Bucket != "" {
		args = append(args, "--bucket", b.Bucket)
	}
	for _, s := range b.Sets {
		args = append(args, "--set", s)
	}
	return args
}

// Start runs the program and returns when it has said that it is ready. When
// it ends before that, the error carries the end of its log.
func (b *Broker) Start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(b.Dir), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(b.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(b.Bin, b.Args()...)
	cmd.Env = append(Environ(), b.Env...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	b.mu.Lock()
	b.cmd, b.done, b.exit = cmd, done, nil
	b.mu.Unlock()
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			if first {
				ready <- lines.Text()
			}
		}
		err := cmd.Wait()
		b.mu.Lock()
		b.exit = err
		b.spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		b.mu.Unlock()
		close(done)
	}()
	select {
	case b.Ready = <-ready:
		b.Started = time.Since(begin)
		return nil
	case <-done:
		return fmt.Errorf("broker ended before it was ready: %w\n%s", errors.Join(b.exit, errors.New("see its log")), b.Tail(20))
	case <-ctx.Done():
		_ = b.Kill()
		return fmt.Errorf("broker was not ready in time: %w\n%s", ctx.Err(), b.Tail(20))
	}
}

// Tail is the end of the log.
func (b *Broker) Tail(lines int) string {
	raw, err := os.ReadFile(b.Log())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Kill ends the broker with SIGKILL and waits for its end.
func (b *Broker) Kill() error { return b.end(syscall.SIGKILL) }

// Stop asks the broker to stop and waits; the error is its exit code's.
func (b *Broker) Stop() error {
	if err := b.end(syscall.SIGTERM); err != nil {
		return err
	}
	return b.exit
}

// Signal sends a signal without waiting.
func (b *Broker) Signal(s syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd == nil {
		return errors.New("broker was never started")
	}
	return b.cmd.Process.Signal(s)
}

// Pause stops the process (SIGSTOP) and returns when none of its threads runs any more: the signal alone only asks for it. Signal with SIGCONT has it go on.
func (b *Broker) Pause() error {
	if err := b.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		if err := unix.Waitid(unix.P_PID, b.PID(), nil, unix.WSTOPPED, nil); err != unix.EINTR {
			return err
		}
	}
}

func (b *Broker) end(s syscall.Signal) error {
	if err := b.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-b.done
	return nil
}

// Done is closed when the process of the last Start has ended.
func (b *Broker) Done() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

// PID is the running process.
func (b *Broker) PID() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cmd.Process.Pid
}

// CPU is the processor time of all processes so far, the running one included.
func (b *Broker) CPU() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := b.spent
	if b.cmd == nil {
		return total
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.cmd.Process.Pid))
	if err != nil {
		return total
	}
	// Fields after the command's name, which is in parentheses: utime and stime are 11 and 12, in ticks of 10 ms.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, _ := strconv.Atoi(f)
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}
