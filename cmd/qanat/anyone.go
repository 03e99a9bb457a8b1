package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/qanat-io/qanat/broker/console"
)

// anyone asks whichever broker of a cluster answers: what is followed for minutes or hours goes on when the broker that was asked first
// restarts, or all of them do, one after the other. The others' admin ports are known from the list of brokers.
type anyone struct {
	a     *app
	bases []string // the one that answered last is first
}

const (
	// askTimeout bounds one look at one broker.
	askTimeout = 3 * time.Second
	// settleTime is how long only those are asked who say that they are ready: who has just started may know of the cluster what
	// was true before.
	settleTime = 5 * time.Second
	// silentMost is how long nobody may answer.
	silentMost = 2 * time.Minute
)

func (a *app) anyone() *anyone { return &anyone{a: a, bases: []string{a.adminBase()}} }

// learn takes in where the brokers' admin ports are. Those that only their own machine reaches count where that is this one.
func (n *anyone) learn(list []console.Broker) {
	here := isLoopback(n.bases[0])
	scheme, _, _ := strings.Cut(n.bases[0], "://") // admin.security.protocol is the same everywhere
	for _, b := range list {
		if b.Admin == "" {
			continue
		}
		if base := scheme + "://" + b.Admin; (here || !isLoopback(base)) && !slices.Contains(n.bases, base) {
			n.bases = append(n.bases, base)
		}
	}
}

func isLoopback(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// ask asks for what only reads, until somebody answers. Refusals are answers.
func (n *anyone) ask(ctx context.Context, path string, into any) error {
	return n.until(ctx, silentMost, func(ctx context.Context, base string) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		return n.a.askAt(ctx, base, http.MethodGet, path, nil, into)
	})
}

// change asks for a change, which must be harmless to do twice: nobody knows what became of it when a broker dies under it.
func (n *anyone) change(ctx context.Context, path string, query url.Values) (string, error) {
	var done console.Done
	err := n.until(ctx, settleTime+askTimeout, func(ctx context.Context, base string) error {
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		return n.a.askAt(ctx, base, http.MethodPost, path, query, &done)
	})
	return done.Done, err
}

// until has one after the other asked until one has answered, or nobody has for a time.
func (n *anyone) until(ctx context.Context, most time.Duration, ask func(ctx context.Context, base string) error) error {
	began := time.Now()
	for {
		var silent error
		for i, base := range n.bases {
			err := error(nil)
			if time.Since(began) < settleTime {
				err = n.ready(ctx, base)
			}
			if err == nil {
				err = ask(ctx, base)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !passing(err) {
				n.prefer(i)
				return err
			}
			if silent == nil {
				silent = err
			}
		}
		if time.Since(began) > most {
			return fmt.Errorf("nobody has answered for %s: %w", most, silent)
		}
		if err := pause(ctx, drainLook); err != nil {
			return err
		}
	}
}

// ready tells whether a broker says that it is.
func (n *anyone) ready(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return failf(exitUsage, "", "--admin-url %q: %w", base, err)
	}
	client, err := n.a.adminClient(base)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err == nil {
		err = res.Body.Close()
	}
	if err != nil {
		return n.a.noAdmin(base, err)
	}
	if res.StatusCode == http.StatusServiceUnavailable {
		return errUnready
	}
	return nil
}

var errUnready = errors.New("the broker is not ready")

// passing tells whether an error may be another one's answer.
func passing(err error) bool {
	var f *failure
	return err != nil && (errors.Is(err, errUnready) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &f) && f.code == exitUnreachable)
}

// prefer puts the one that answers first.
func (n *anyone) prefer(i int) {
	if i == 0 {
		return
	}
	fmt.Fprintf(n.a.stderr, "%s does not answer, or is not ready: asking %s\n", addressOf(n.bases[0]), addressOf(n.bases[i]))
	base := n.bases[i]
	n.bases = slices.Insert(slices.Delete(n.bases, i, i+1), 0, base)
}

// addressOf is a base without its scheme.
func addressOf(base string) string {
	_, address, _ := strings.Cut(base, "://")
	return address
}

// broker finds a broker by its number.
func (n *anyone) broker(ctx context.Context, id int32) (console.Broker, error) {
	var list []console.Broker
	if err := n.ask(ctx, "/v1/brokers", &list); err != nil {
		return console.Broker{}, err
	}
	n.learn(list)
	return findBroker(list, id)
}
