package console

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"

	"github.com/qanat-io/qanat/broker/hush"
)

// complaints is what net/http has to say of its connections. Of failed TLS handshakes people want to hear, though not of
// each; the rest is for who looks for it.
type complaints struct{ said *hush.Log }

var handshakeError = []byte("TLS handshake error from ")

// Write takes one line.
func (c complaints) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	level, from, cause := slog.LevelDebug, net.Addr(nil), text
	if _, rest, ok := bytes.Cut(text, handshakeError); ok {
		// What follows the address is the cause. A connection that says nothing is a health check.
		var addr []byte
		addr, cause, _ = bytes.Cut(rest, []byte(": "))
		if a, err := netip.ParseAddrPort(string(addr)); err == nil {
			from = net.TCPAddrFromAddrPort(a)
		}
		if !bytes.HasSuffix(cause, []byte("EOF")) {
			level = slog.LevelWarn
		}
	}
	c.said.Say(level, string(cause), from, "admin connection failed", "cause", string(text))
	return len(line), nil
}
