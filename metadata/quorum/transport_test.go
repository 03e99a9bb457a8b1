package quorum

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire/kafka"
)

// A node that comes back after minutes would wait for what it missed as long as Raft has learned to pause between failures, up to ten
// seconds; or a failure would be kept from Raft for ever, and with it the node's end.
func TestFailuresAreHeldUntilAnAnswer(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	s := &stream{dialed: map[*dialedConn]struct{}{}, advertise: "127.0.0.1:1", Listener: closed}
	s.dial = func(_ kafka.BrokerID, address string, timeout time.Duration) (net.Conn, error) {
		return net.DialTimeout("tcp", address, timeout)
	}
	to := raft.ServerAddress(place{node: 2, address: closed.Addr().String()}.String())
	for what, end := range map[string]func(w *transport, leads *atomic.Bool){
		"it answered":     func(w *transport, _ *atomic.Bool) { w.note("2", 0, 0, true) },
		"another term":    func(w *transport, _ *atomic.Bool) { w.forget() },
		"shutdown":        func(w *transport, _ *atomic.Bool) { close(w.ended) },
		"leads no longer": func(_ *transport, leads *atomic.Bool) { leads.Store(false) },
	} {
		w := newTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: s, Logger: hclog.NewNullLogger(), MaxPool: 1, Timeout: time.Second,
		}), time.Now)
		var leads atomic.Bool
		leads.Store(true)
		w.leads = func(raft.ServerID) bool { return leads.Load() }
		var resp raft.AppendEntriesResponse
		if err := w.AppendEntries("2", to, &raft.AppendEntriesRequest{Term: 1}, &resp); err == nil {
			t.Fatal("a heartbeat to nobody succeeded")
		}
		failed := make(chan error, 1)
		go func() {
			failed <- w.AppendEntries("2", to, &raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 1, PrevLogTerm: 1}, new(raft.AppendEntriesResponse))
		}()
		for waits := false; !waits; {
			select {
			case err := <-failed:
				t.Fatalf("%s: the failure was not held: %v", what, err)
			default:
			}
			w.mu.Lock()
			waits = w.members["2"] != nil && w.members["2"].heard != nil
			w.mu.Unlock()
		}
		end(w, &leads)
		if err := <-failed; err == nil {
			t.Errorf("%s: an append to nobody succeeded", what)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
