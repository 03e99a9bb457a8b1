package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/secure"
)

// Settings say where a cluster is and how long it is waited for.
type Settings struct {
	Bootstrap []string
	TLS       *tls.Config   // nil for plain connections
	Request   time.Duration // one request, with what it is tried again
	Wait      time.Duration // what takes as long as data takes to be copied
	Version   string        // of the provider, told to brokers
}

// Times that nobody has asked to change.
const (
	dialTimeout = 3 * time.Second
	look        = 100 * time.Millisecond // between two looks at something that has no event
	unreached   = 10 * time.Second       // who was not reached is not dialed again for so long: Terraform asks for every resource
)

// Cluster is the connection to a cluster, made when it is first needed: a plan may come before the cluster does. Safe for concurrent use.
type Cluster struct {
	settings Settings
	now      func() time.Time
	view     view

	mu     sync.Mutex
	client *kgo.Client
	adm    *kadm.Client
	failed error // of the last attempt, at
	at     time.Time
}

// New connects to nobody yet.
func New(s Settings) *Cluster {
	c := &Cluster{settings: s, now: time.Now}
	c.view.init(c)
	return c
}

// Close ends all connections.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		c.client.Close()
		c.client, c.adm, c.failed, c.at = nil, nil, errors.New("the provider is closed"), c.now().Add(365*24*time.Hour)
	}
}

// Reach finds out whether anybody answers.
func (c *Cluster) Reach(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// connect is the client, once somebody has answered.
func (c *Cluster) connect(ctx context.Context) (*kgo.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		return c.client, nil
	}
	if c.failed != nil && c.now().Sub(c.at) < unreached {
		return nil, c.failed
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.settings.Bootstrap...),
		kgo.ClientID("terraform-provider-qanat"),
		kgo.SoftwareNameAndVersion("terraform-provider-qanat", cmp.Or(c.settings.Version, "dev")),
		kgo.DialTimeout(dialTimeout),
		kgo.RetryTimeout(c.settings.Request),
		kgo.MetadataMinAge(look),
	}
	if c.settings.TLS != nil {
		options = append(options, kgo.DialTLSConfig(c.settings.TLS.Clone()))
	}
	cl, err := kgo.NewClient(options...)
	if err != nil {
		return nil, &Error{What: "use the provider's configuration", Err: err}
	}
	ping, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	if err := cl.Ping(ping); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.failed, c.at = c.nobody(err), c.now()
		return nil, c.failed
	}
	c.client, c.adm = cl, kadm.NewClient(cl)
	c.adm.SetTimeoutMillis(int32(c.settings.Request.Milliseconds()))
	return cl, nil
}

// admin is connect for kadm's calls.
func (c *Cluster) admin(ctx context.Context) (*kadm.Client, error) {
	if _, err := c.connect(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.adm == nil {
		return nil, c.failed
	}
	return c.adm, nil
}

// nobody says why nobody answers.
func (c *Cluster) nobody(err error) *Error {
	e := &Error{What: "reach a broker at " + strings.Join(c.settings.Bootstrap, ", "), Err: rootCause(err), Unreached: true}
	var first *kgo.ErrFirstReadEOF
	hangsUp := errors.As(err, &first) || errors.Is(err, io.EOF)
	var verify *tls.CertificateVerificationError
	switch {
	case c.settings.TLS != nil && (secure.NotTLS(err) || errors.As(err, &verify) || strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: ")):
		e.Text, e.Hint = secure.Explain(err, secure.Dialer).Text, "Correct the provider's `tls` block, or bootstrap_servers."
	case c.settings.TLS != nil && hangsUp:
		e.Hint = "Is it a TLS listener? Does it require a certificate (tls.cert, tls.key)?"
	case hangsUp:
		e.Hint = "Is it a TLS listener? Then give the provider tls = { ca = \"…\" }, or tls = {} for the CAs of this machine."
	default:
		e.Hint = "Is the broker running, and bootstrap_servers (or QANAT_BROKERS) its address?"
	}
	return e
}

// rootCause drops the layers of a network error that repeat the address.
func rootCause(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// request carries out one request at any broker, or at the one that it is for.
func request[R kmsg.Response](ctx context.Context, c *Cluster, req kmsg.Request) (R, error) {
	var none R
	cl, err := c.connect(ctx)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	resp, err := cl.Request(ctx, req)
	if err != nil {
		return none, err
	}
	return resp.(R), nil
}

// until looks again and again until done says true or errs, or the time is over, for which err is context.DeadlineExceeded.
func (c *Cluster) until(ctx context.Context, limit time.Duration, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
