package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
)

// Times after which a cluster that does not answer is given up.
const (
	dialTimeout  = 3 * time.Second
	reachTimeout = 6 * time.Second
	adminTimeout = 30 * time.Second
	lookTimeout  = 5 * time.Second // of what the broker knows by heart
)

// seeds are the brokers to connect to: flag, environment, default.
func (a *app) seeds() []string {
	if len(a.brokers) > 0 {
		return a.brokers
	}
	if v := a.getenv("QANAT_BROKERS"); v != "" {
		return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	}
	return []string{defaultBroker}
}

// client connects, and finds out at once whether anyone is there.
func (a *app) client(ctx context.Context, options ...kgo.Opt) (*kgo.Client, error) {
	base := []kgo.Opt{
		kgo.SeedBrokers(a.seeds()...),
		kgo.ClientID("qanat-cli"),
		kgo.DialTimeout(dialTimeout),
		kgo.RetryTimeout(10 * time.Second),
		kgo.SoftwareNameAndVersion("qanat-cli", softwareVersion()),
	}
	secured, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	if secured != nil {
		base = append(base, kgo.DialTLSConfig(secured))
	}
	cl, err := kgo.NewClient(append(base, options...)...)
	if err != nil {
		return nil, failf(exitUsage, "", "client: %w", err)
	}
	ping, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err := cl.Ping(ping); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, a.noBroker(secured != nil, err)
	}
	return cl, nil
}

// unreachable is the error when nobody answers.
func unreachable(what, where, flag string, err error) error {
	return failf(exitUnreachable,
		"is the broker running? try `qanat dev`, or say where it is with "+flag,
		"cannot reach %s at %s: %w", what, where, rootCause(err))
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

// admins is the client for the cluster's administration.
func (a *app) admins(ctx context.Context) (*kadm.Client, error) {
	cl, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(30_000)
	return adm, nil
}

// adminBase is the admin port's URL: flag, environment, default.
func (a *app) adminBase() string {
	base := a.admin
	if base == "" {
		base = a.getenv("QANAT_ADMIN")
	}
	if base == "" {
		base = defaultAdmin
	}
	if !strings.Contains(base, "://") {
		scheme := "http://"
		if a.wantsTLS() {
			scheme = "https://"
		}
		base = scheme + base
	}
	return strings.TrimRight(base, "/")
}

// maxAnswer bounds what the admin port may answer: the storage of 100,000 partitions is some 50 MB.
const maxAnswer = 256 << 20

// ask calls the admin port and decodes its answer.
func (a *app) ask(ctx context.Context, method, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	return a.askPatiently(ctx, method, path, query, into)
}

// askPatiently is ask for what may take as long as it takes.
func (a *app) askPatiently(ctx context.Context, method, path string, query url.Values, into any) error {
	return a.askAt(ctx, a.adminBase(), method, path, query, into)
}

// askAt is askPatiently of one admin port.
func (a *app) askAt(ctx context.Context, base, method, path string, query url.Values, into any) error {
	target := base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return failf(exitUsage, "", "--admin-url %q: %w", base, err)
	}
	client, err := a.adminClient(base)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return context.Canceled
		}
		return a.noAdmin(base, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the admin port's answer: %w", err)
	}
	if res.StatusCode == http.StatusBadRequest && bytes.Contains(body, []byte("HTTP request to an HTTPS server")) {
		return failf(exitUnreachable, "say https: --admin-url "+strings.Replace(base, "http://", "https://", 1)+" --tls-ca CA.pem", "the admin port at %s speaks TLS", strings.TrimPrefix(base, "http://"))
	}
	if res.StatusCode >= 300 {
		return refused(res.StatusCode, base, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return failf(exitFailed, "is this Qanat's admin port?", "the answer of %s is not what was expected: %w", target, err)
	}
	return nil
}

func refused(status int, base string, body []byte) error {
	var f console.Failure
	if json.Unmarshal(body, &f) != nil || f.Error == "" {
		return failf(exitFailed, "is this Qanat's admin port?", "%s answered %s", base, http.StatusText(status))
	}
	code, remedy := exitRefused, ""
	switch status {
	case http.StatusNotFound:
		code = exitNotFound
	case http.StatusServiceUnavailable:
		remedy = "`qanat quorum status` shows whether the cluster can change anything, and who is missing"
	}
	return failf(code, remedy, "%s", f.Error)
}
