package quorum

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	rpcTimeout = 10 * time.Second
	// connsPerPeer are kept open; rpcsInFlight 1 keeps Raft from pipelining
	// appends, which gains nothing beside batching and wedges under load.
	connsPerPeer = 3
	rpcsInFlight = 1
)

// stream is Raft's listener. Peers and mutual TLS come in here: Dial and
// Accept are the only places where bytes enter and leave.
type stream struct {
	net.Listener
	advertise address
}

// address is a host:port that need not be resolved here.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Addr is where peers reach this node.
func (s *stream) Addr() net.Addr { return s.advertise }

// Dial connects to a peer.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(to), timeout)
}

// listen opens the Raft listener. advertise "" is where it listens; a
// listener on all addresses is then reached by the host's name.
func listen(at, advertise string, log hclog.Logger) (*raft.NetworkTransport, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("open metadata listener: %w", err)
	}
	if advertise == "" {
		if advertise, err = reachable(l.Addr()); err != nil {
			return nil, fmt.Errorf("find metadata listener's address: %w", err)
		}
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  &stream{Listener: l, advertise: address(advertise)},
		Logger:                  log,
		MaxPool:                 connsPerPeer,
		MaxRPCsInFlight:         rpcsInFlight,
		Timeout:                 rpcTimeout,
		MsgpackUseNewTimeFormat: true,
	}), nil
}

func reachable(a net.Addr) (string, error) {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String(), nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, fmt.Sprint(t.Port)), nil
}
