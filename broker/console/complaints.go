package console

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
)

// complaints is what net/http has to say of its connections. Of failed TLS handshakes people want to hear, though not more
// often than once a minute; the rest is for who looks for it.
type complaints struct {
	log  *slog.Logger
	said secure.Rarely
}

var handshakeError = []byte("TLS handshake error from ")

// Write takes one line.
func (c *complaints) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	level := slog.LevelDebug
	if _, rest, ok := bytes.Cut(text, handshakeError); ok {
		// What follows the address is the cause. A connection that says nothing is a health check.
		_, cause, _ := bytes.Cut(rest, []byte(": "))
		if !bytes.HasSuffix(cause, []byte("EOF")) && c.said.Say(string(cause), time.Now()) {
			level = slog.LevelWarn
		}
	}
	c.log.Log(context.Background(), level, "admin connection failed", "cause", string(text))
	return len(line), nil
}
