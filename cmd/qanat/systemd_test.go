package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/qanat-io/qanat/broker"
)

// False if it failed: "a service manager hears that the process runs, that the broker serves, and that it stops".
func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "3600000000")
	m := supervised(slog.New(slog.DiscardHandler))
	heard := func() string {
		b := make([]byte, 100)
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	for _, want := range []string{"WATCHDOG=1", "READY=1", "STOPPING=1"} {
		switch want {
		case "READY=1":
			m.tell(broker.Serving)
		case "STOPPING=1":
			m.tell(broker.Stopping)
		}
		if got := heard(); got != want {
			t.Errorf("heard %q, not %q", got, want)
		}
	}
	m.end()
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	none := supervised(slog.New(slog.DiscardHandler))
	none.tell(broker.Serving)
	none.end()
}
