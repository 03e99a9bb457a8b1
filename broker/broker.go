package broker

import (
	"context"
	"errors"
	"io"

	"github.com/qanat-io/qanat/metadata/config"
)

// Options are what a start needs besides its configuration.
type Options struct {
	Version string
	// Stdout receives the one line that says that the broker is ready.
	Stdout io.Writer
}

// Broker is one running broker.
type Broker struct{}

// Open builds the broker's parts.
func Open(ctx context.Context, cfg *config.Broker, o Options) (*Broker, error) {
	return nil, errors.New("the broker is not wired yet")
}

// Run serves until ctx ends, then stops in order.
func (b *Broker) Run(ctx context.Context) error { return errors.New("the broker is not wired yet") }

// Addr is where clients connect, HOST:PORT.
func (b *Broker) Addr() string { return "" }

// AdminAddr is the admin listener's HOST:PORT; "" for none.
func (b *Broker) AdminAddr() string { return "" }
