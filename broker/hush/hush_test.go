package hush

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func at(last byte, port int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 0, 0, last), Port: port}
}

// journal is what was written, line by line.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(p)
}

func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Split(strings.TrimSuffix(j.all.String(), "\n"), "\n")
}

func (j *journal) log() *Log { return New(slog.New(slog.NewTextHandler(j, nil))) }

// A client that does wrong in a loop fills the log; or what was left out of it is not said: how much, from how many addresses.
func TestLoopIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		l := j.log()
		for i := range 10_000 {
			l.Say(slog.LevelInfo, "nonsense", at(byte(i%3), i), "connection closed")
		}
		l.Say(slog.LevelWarn, "another", at(9, 1), "not the same")
		if n := len(j.lines()); n != burst+1 {
			t.Fatalf("%d lines at once, want %d and the other one", n, burst)
		}
		time.Sleep(interval)
		synctest.Wait()
		lines := j.lines()
		if len(lines) != burst+2 {
			t.Fatalf("%d lines after the interval: %q", len(lines), lines)
		}
		for _, want := range []string{"level=INFO", "kind=nonsense", fmt.Sprint("lines=", 10_000-burst), "addresses=3"} {
			if last := lines[len(lines)-1]; !strings.Contains(last, want) {
				t.Errorf("the last line has no %s: %s", want, last)
			}
		}
		l.Say(slog.LevelInfo, "nonsense", at(1, 1), "connection closed")
		if n := len(j.lines()); n != burst+3 {
			t.Errorf("a new interval begins with %d lines", n-burst-2)
		}
		l.Flush()
	})
}

// Whoever can choose kinds, or comes from addresses without end, fills the log or the memory.
func TestKindsAndAddressesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		l := j.log()
		for i := range 100_000 {
			l.Say(slog.LevelInfo, fmt.Sprint("kind ", i/2), &net.TCPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Port: 1}, "line")
		}
		kept := func() (kinds, addresses int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if k := l.kinds["other"]; k != nil {
				addresses = len(k.addresses)
			}
			return len(l.kinds), addresses
		}
		kinds, addresses := kept()
		if n, most := len(j.lines()), (maxKinds+1)*burst; n > most || kinds > maxKinds+1 || addresses != maxAddresses {
			t.Errorf("%d lines of at most %d, %d kinds, %d addresses of %d", n, most, kinds, addresses, maxAddresses)
		}
		time.Sleep(interval)
		synctest.Wait()
		if kinds, _ := kept(); kinds != 0 {
			t.Errorf("%d kinds are kept when their interval is over", kinds)
		}
	})
}

// What was left out is lost when the broker stops, or is told of once more when its interval ends.
func TestFlushSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		l := j.log()
		for range burst + 7 {
			l.Say(slog.LevelInfo, "nonsense", at(1, 1), "connection closed")
		}
		l.Flush()
		lines := j.lines()
		if last := lines[len(lines)-1]; !strings.Contains(last, "lines=7 addresses=1") {
			t.Errorf("the last line is %s", last)
		}
		time.Sleep(2 * interval)
		synctest.Wait()
		if n := len(j.lines()); n != len(lines) {
			t.Errorf("%d lines after the end", n-len(lines))
		}
	})
}

// Lines at once from everywhere are counted twice or not at all.
func TestNoLineIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		l := j.log()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 1000 {
					l.Say(slog.LevelInfo, "nonsense", at(1, 1), "line")
				}
			})
		}
		all.Wait()
		l.Flush()
		lines := j.lines()
		if last := lines[len(lines)-1]; len(lines) != burst+1 || !strings.Contains(last, fmt.Sprint("lines=", 8000-burst)) {
			t.Errorf("%d lines, the last one %s", len(lines), last)
		}
	})
}
