package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker"
	"github.com/qanat-io/qanat/broker/doctor"
	"github.com/qanat-io/qanat/metadata/config"
)

func (a *app) debugCommand() *cobra.Command {
	return a.parent("debug", "Collect what a report about a broker needs", a.debugBundleCommand())
}

// bundle is a debug bundle while it is made.
type bundle struct {
	app     *app
	out     string
	config  config.Sources
	logs    []string
	unit    string
	since   time.Duration
	profile time.Duration

	at      time.Time
	hide    *scrubber
	base    string // of the admin port
	client  *http.Client
	archive *tar.Writer
	items   []bundleItem
}

// bundleItem is a line of the bundle's contents.
type bundleItem struct {
	File  string `json:"file"`
	From  string `json:"from"`
	Error string `json:"error,omitempty"` // why it is not there
}

func (a *app) debugBundleCommand() *cobra.Command {
	b := bundle{app: a}
	c := a.outputs(&cobra.Command{
		Use:   "bundle",
		Short: "Put state, metrics, logs, profiles and configuration of a broker into one archive, without secrets",
		Long: `Put what a report about a broker needs into one tar.gz: its state as the admin port tells it (cluster, brokers, quorum, storage,
tier), metrics, profiles (where admin.pprof.enable), its configuration and what doctor finds (with --config), the last lines of its log (--log FILE,
or the journal of --unit), versions of program and machine. Run it on the broker's machine, as its user. With --config the admin port is the one that
the configuration has, and the certificate that it shows is checked by the configuration's files; --admin-url and --tls-… go before.

What cannot be had is named, in the archive too, and is no failure. Secrets are taken out of everything: values of keys that are secret, credentials in the
environment, private keys, what stands behind words such as password and token. Names of topics, groups, clients and hosts are in it: look before you send it.`,
		Example: "  qanat debug bundle --config /etc/qanat/qanat.yaml\n  qanat debug bundle --admin-url broker-2:9644 --log broker.log --out /tmp/broker-2.tar.gz",
		Args:    wantArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return b.make(cmd.Context()) },
	})
	f := c.Flags()
	f.StringVar(&b.out, "out", "", "the archive (default qanat-debug-TIME.tar.gz)")
	f.StringVarP(&b.config.File, "config", "c", "", "the broker's configuration file, for its values and for doctor")
	f.StringArrayVar(&b.config.Sets, "set", nil, "KEY=VALUE, over the file; may be repeated")
	f.StringArrayVar(&b.logs, "log", nil, "a file with the broker's log, of which the last 8 MiB are taken; may be repeated")
	f.StringVar(&b.unit, "unit", "qanat", "without --log: the systemd unit whose journal is taken")
	f.DurationVar(&b.since, "since", 24*time.Hour, "how far back the journal is taken")
	f.DurationVar(&b.profile, "profile", 5*time.Second, "how long processors are profiled")
	a.completeConfigKeys(c)
	return c
}

// make writes the archive beside its name first: a bundle that is there is whole.
func (b *bundle) make(ctx context.Context) error {
	b.at = time.Now().UTC()
	if b.out == "" {
		b.out = "qanat-debug-" + b.at.Format("20060102T150405Z") + ".tar.gz"
	}
	file, err := os.CreateTemp(filepath.Dir(b.out), filepath.Base(b.out)+".*")
	if err != nil {
		return failf(exitUsage, "", "--out: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	zip := gzip.NewWriter(file)
	b.archive = tar.NewWriter(zip)
	if err := b.collect(ctx); err != nil {
		return err
	}
	if err := errors.Join(b.archive.Close(), zip.Close(), file.Sync(), os.Rename(file.Name(), b.out)); err != nil {
		return fmt.Errorf("write %s: %w", b.out, err)
	}
	return b.tell()
}

func (b *bundle) tell() error {
	t := table{columns: []string{"FILE", "FROM", "NOT-THERE-BECAUSE"}}
	for _, i := range b.items {
		t.add(i.File, i.From, i.Error)
	}
	if err := b.app.show(map[string]any{"bundle": b.out, "files": b.items}, t); err != nil {
		return err
	}
	fmt.Fprintf(b.app.stderr, "%s: secrets were taken out as far as they are known; look before you send it\n", b.out)
	return nil
}

// adminFiles are what the admin port is asked for.
var adminFiles = []struct{ file, path string }{
	{"state/status.json", "/v1/status"},
	{"state/ready.txt", "/readyz"},
	{"state/cluster.json", "/v1/cluster"},
	{"state/brokers.json", "/v1/brokers"},
	{"state/quorum.json", "/v1/quorum"},
	{"state/storage.json", "/v1/storage"},
	{"state/tier.json", "/v1/tier"},
	{"state/scrub.json", "/v1/scrub"},
	{"metrics.txt", "/metrics"},
}

func (b *bundle) collect(ctx context.Context) error {
	cfg, cfgErr := b.load()
	b.hide = newScrubber(cfg, b.app.environ())
	b.text("versions.json", "this machine", b.versions)
	reached := b.reach(cfg)
	ask := func(path string, patience time.Duration) func() ([]byte, error) {
		return func() ([]byte, error) {
			if reached != nil {
				return nil, reached
			}
			return b.get(ctx, path, patience)
		}
	}
	for _, f := range adminFiles {
		b.text(f.file, f.path, ask(f.path, adminTimeout))
	}
	for _, p := range []struct{ file, query string }{{"goroutine.txt", "goroutine?debug=2"}, {"heap.pprof", "heap"}, {"mutex.pprof", "mutex"}} {
		path := "/debug/pprof/" + p.query
		b.add("profiles/"+p.file, path, ask(path, adminTimeout))
	}
	path := fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(b.profile.Seconds())))
	b.add("profiles/cpu.pprof", path, ask(path, b.profile+adminTimeout))
	b.text("config.json", "--config", func() ([]byte, error) {
		if cfgErr != nil {
			return nil, cfgErr
		}
		return b.describe(cfg)
	})
	b.text("doctor.json", "--config", func() ([]byte, error) {
		if cfgErr != nil {
			return nil, cfgErr
		}
		return json.MarshalIndent(doctor.Examine(ctx, cfg), "", "  ")
	})
	for _, log := range b.logs {
		b.text("log/"+filepath.Base(log), log, func() ([]byte, error) { return tail(log, logBytes) })
	}
	if len(b.logs) == 0 {
		b.text("log/journal.txt", "the journal of "+b.unit, func() ([]byte, error) { return b.journal(ctx) })
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	contents, err := json.MarshalIndent(b.items, "", "  ")
	if err != nil {
		return err
	}
	return b.write("contents.json", append(contents, '\n'))
}

// logBytes of each log's end are taken.
const logBytes = 8 << 20

// text adds what people read, without secrets.
func (b *bundle) text(file, from string, get func() ([]byte, error)) {
	b.add(file, from, func() ([]byte, error) {
		raw, err := get()
		return b.hide.bytes(raw), err
	})
}

// add adds a file, or why it is not there.
func (b *bundle) add(file, from string, get func() ([]byte, error)) {
	raw, err := get()
	if err == nil {
		err = b.write(file, raw)
	}
	item := bundleItem{File: file, From: from}
	if err != nil {
		item.Error = string(b.hide.bytes([]byte(err.Error())))
	}
	b.items = append(b.items, item)
}

func (b *bundle) write(name string, raw []byte) error {
	head := &tar.Header{Name: "qanat-debug/" + name, Mode: 0o600, Size: int64(len(raw)), ModTime: b.at}
	if err := b.archive.WriteHeader(head); err != nil {
		return err
	}
	_, err := b.archive.Write(raw)
	return err
}

// errNotGiven is why there is neither configuration nor doctor.
var errNotGiven = errors.New("neither --config nor --set was given")

func (b *bundle) load() (*config.Broker, error) {
	if b.config.File == "" && len(b.config.Sets) == 0 {
		return nil, errNotGiven
	}
	return b.app.loadChecked(b.config, func(*config.Broker) error { return nil })
}

// reach finds the admin port: the one that was named, or else the configuration's (nil where there is none).
func (b *bundle) reach(cfg *config.Broker) (err error) {
	b.base = b.app.adminBase()
	if cfg == nil || b.app.admin != "" || b.app.getenv("QANAT_ADMIN") != "" {
		b.client, err = b.app.adminClient(b.base)
		return err
	}
	listen := cfg.String("admin.listener")
	if listen == "" {
		return errors.New("the broker has no admin port: admin.listener is empty")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return fmt.Errorf("admin.listener %s does not say where the admin port is: name it with --admin-url", listen)
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	at := net.JoinHostPort(host, port)
	if cfg.String("admin.security.protocol") != config.SSL {
		b.base, b.client = "http://"+at, http.DefaultClient
		return nil
	}
	b.base = "https://" + at
	if b.app.wantsTLS() {
		b.client, err = b.app.adminClient(b.base)
		return err
	}
	id, err := broker.AdminIdentity(cfg)
	if err != nil {
		return err
	}
	b.client = &http.Client{Transport: &http.Transport{TLSClientConfig: id.OwnDialConfig(), DisableKeepAlives: true}}
	return nil
}

// get asks the admin port, of whose answers also refusals are worth having where they are about readiness.
func (b *bundle) get(ctx context.Context, path string, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, b.app.noAdmin(b.base, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusNotFound && strings.HasPrefix(path, "/debug/pprof/"):
		return nil, errors.New("the broker has admin.pprof.enable=false")
	case res.StatusCode >= 300 && path != "/readyz":
		return nil, fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

func (b *bundle) versions() ([]byte, error) {
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	release, err := os.ReadFile("/proc/version")
	if err != nil {
		release = []byte(err.Error())
	}
	return json.MarshalIndent(map[string]string{
		"program": buildVersion(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "kernel": strings.TrimSpace(string(release)),
		"host": host, "at": b.at.Format(time.RFC3339),
	}, "", "  ")
}

// describe is every key with its value and where that came from; secret ones without their value.
func (b *bundle) describe(cfg *config.Broker) ([]byte, error) {
	type entry struct{ Key, Value, From string }
	var list []entry
	for _, e := range cfg.DescribeBroker(nil, nil) {
		x := entry{e.Key.Name, e.Value, "default"}
		if e.Source != config.Default {
			x.From = e.From
		}
		if e.Key.Sensitive && e.Source != config.Default {
			x.Value = hidden
		}
		list = append(list, x)
	}
	return json.MarshalIndent(list, "", "  ")
}

func (b *bundle) journal(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var stderr bytes.Buffer
	// So many lines have more than logBytes, and not a day of a broker that says too much.
	c := exec.CommandContext(ctx, "journalctl", "--no-pager", "--output=short-iso-precise", "--lines=200000", "--unit="+b.unit, fmt.Sprintf("--since=-%ds", int(b.since.Seconds())))
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s; --log FILE takes a file", err, strings.TrimSpace(stderr.String()))
	}
	return out[max(0, len(out)-logBytes):], nil
}

// tail is the end of a file.
func tail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-n), n))
}
