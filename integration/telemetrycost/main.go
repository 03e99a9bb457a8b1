// Command telemetrycost measures what telemetry costs a broker, in two ways that must agree.
//
// By its profile: of the processor time of a broker that has everything on (metrics scraped every 15 s, as `qanat generate prometheus` asks,
// and pushed every minute, as OpenTelemetry does; traces pushed, one in a thousand kept, logs pushed) the share
// of samples with telemetry's code on the stack; of garbage collection, the share that telemetry allocates of what is allocated.
//
// By rounds: two brokers, one with all of that and one with nothing, get the same load in turns, each first as often as second; the processor time of a request,
// of pairs of rounds.
//
//	go run ./integration/telemetrycost -qanat bin/qanat
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
)

// telemetry is what belongs to it on a stack. Nothing else of a broker without a bucket speaks HTTP.
const telemetry = `go\.opentelemetry\.io|prometheus|broker/telemetry|serverObserver|net/http|wire\.\(\*Trace\)|wire\.NewTrace|api\.traceparent|\)\.trace`

func main() {
	bin := flag.String("qanat", "bin/qanat", "the program")
	rate := flag.Int("rate", 3000, "produce requests a second, over 16 clients")
	records := flag.Int("records", 1, "records of 100 bytes in each")
	rounds := flag.Int("rounds", 0, "pairs of rounds; 0: none")
	round := flag.Duration("round", time.Minute, "how long each takes: as long as lies between two pushes, or a multiple")
	profile := flag.Duration("profile", 2*time.Minute, "how long the profile takes: a multiple of the times between two scrapes and two pushes")
	scrape := flag.Duration("scrape", 15*time.Second, "between two scrapes of the metrics")
	push := flag.Duration("push", time.Minute, "between two pushes of them")
	keep := flag.String("keep", "", "keep the profiles in this directory")
	flag.Parse()
	if err := run(*bin, *rate, *records, *rounds, *round, *profile, *scrape, *push, *keep); err != nil {
		log.Fatal(err)
	}
}

// side is a broker and those who produce to it and read from it.
type side struct {
	name    string
	b       *harness.Broker
	clients []*kgo.Client
	records int
}

func run(bin string, rate, records, rounds int, round, profile, scrape, push time.Duration, keep string) (err error) {
	dir, err := os.MkdirTemp("", "telemetrycost-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	sink, err := collect()
	if err != nil {
		return err
	}
	off, err := newSide(ctx, bin, dir, "off", records, "OTEL_SDK_DISABLED=true")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, off.end()) }()
	on, err := newSide(ctx, bin, dir, "on", records, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+sink, "OTEL_METRIC_EXPORT_INTERVAL="+strconv.FormatInt(push.Milliseconds(), 10))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.end()) }()
	go on.scraped(ctx, scrape)
	for _, s := range []*side{off, on} { // not counted
		if _, err := s.load(ctx, rate, 5*time.Second); err != nil {
			return err
		}
	}
	if rounds > 0 {
		if err := pairs(ctx, off, on, rate, rounds, round); err != nil {
			return err
		}
	}
	if keep == "" {
		keep = dir
	}
	return on.profiled(ctx, rate, profile, keep)
}

// collect takes what is pushed to it, and forgets it.
func collect() (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	}()
	return l.Addr().String(), nil
}

func newSide(ctx context.Context, bin, dir, name string, records int, env ...string) (*side, error) {
	b, err := harness.New(bin, filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	b.Bucket, b.Env = "none", env
	b.Sets = []string{"num.partitions=16", "admin.pprof.enable=true"}
	if err := b.Start(ctx); err != nil {
		return nil, err
	}
	s := &side{name: name, b: b, records: records}
	for range 16 {
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.DefaultProduceTopic("work"), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
		if err != nil {
			return nil, err
		}
		s.clients = append(s.clients, cl)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.ConsumeTopics("work"), kgo.ConsumerGroup("readers"))
	if err != nil {
		return nil, err
	}
	s.clients = append(s.clients, reader)
	go func() {
		for ctx.Err() == nil && !reader.PollFetches(ctx).IsClientClosed() {
		}
	}()
	return s, nil
}

func (s *side) end() error {
	for _, cl := range s.clients {
		cl.Close()
	}
	return s.b.Stop()
}

// scraped reads the metrics again and again.
func (s *side) scraped(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if r, err := http.Get("http://" + s.b.Admin + "/metrics"); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				_ = r.Body.Close()
			}
		}
	}
}

// load produces for so long; it is the broker's processor time for a request.
func (s *side) load(ctx context.Context, rate int, d time.Duration) (perRequest time.Duration, err error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	producers := s.clients[:len(s.clients)-1]
	pause := time.Duration(len(producers)) * time.Second / time.Duration(rate)
	before, end := s.b.CPU(), time.Now().Add(d)
	var all sync.WaitGroup
	for _, cl := range producers {
		all.Go(func() {
			for next := time.Now(); next.Before(end); next = next.Add(pause) {
				time.Sleep(time.Until(next))
				var batch []*kgo.Record
				for range s.records {
					batch = append(batch, &kgo.Record{Value: make([]byte, 100)})
				}
				if err := cl.ProduceSync(ctx, batch...).FirstErr(); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	if e := failed.Load(); e != nil {
		return 0, *e
	}
	return (s.b.CPU() - before) / time.Duration(max(done.Load(), 1)), nil
}

// pairs compares the two, pair by pair: what else the machine does changes more slowly than that.
func pairs(ctx context.Context, off, on *side, rate, rounds int, round time.Duration) error {
	var without, more []float64
	for i := range rounds {
		order := []*side{off, on}
		if i%2 > 0 {
			order = []*side{on, off}
		}
		took := map[*side]float64{}
		for _, s := range order {
			d, err := s.load(ctx, rate, round)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			took[s] = float64(d.Nanoseconds()) / 1000
		}
		fmt.Printf("pair %2d: without %.1f us, with %.1f us a request\n", i+1, took[off], took[on])
		without, more = append(without, took[off]), append(more, took[on]/took[off]-1)
	}
	base, _ := mean(without)
	share, err := mean(more)
	fmt.Printf("of %d pairs: %.1f us a request without, %+.1f %% with (standard error %.1f)\n", rounds, base, share*100, err*100)
	return nil
}

// mean is a mean and its standard error.
func mean(list []float64) (m, standardError float64) {
	for _, v := range list {
		m += v / float64(len(list))
	}
	for _, v := range list {
		standardError += (v - m) * (v - m)
	}
	return m, math.Sqrt(standardError / float64(max(len(list)-1, 1)) / float64(len(list)))
}

// profiled says what share of the broker's time, and of what it allocates, is telemetry's.
func (s *side) profiled(ctx context.Context, rate int, d time.Duration, dir string) error {
	get := func(path, file string) (string, error) {
		to := filepath.Join(dir, file)
		r, err := http.Get("http://" + s.b.Admin + "/debug/pprof/" + path)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		raw, err := io.ReadAll(r.Body)
		return to, errors.Join(err, os.WriteFile(to, raw, 0o644))
	}
	before, err := get("allocs", "allocs-before")
	if err != nil {
		return err
	}
	var cpu string
	profiled := make(chan error, 1)
	go func() {
		var err error
		cpu, err = get(fmt.Sprintf("profile?seconds=%d", int(d.Seconds())), "cpu")
		profiled <- err
	}()
	if _, err := s.load(ctx, rate, d); err != nil {
		return err
	}
	if err := <-profiled; err != nil {
		return err
	}
	after, err := get("allocs", "allocs-after")
	if err != nil {
		return err
	}
	const gc = `runtime\.(gcBgMarkWorker|bgsweep|bgscavenge|gcAssistAlloc|gcStart)`
	code, err := share(ctx, "", "-focus="+telemetry, "-ignore="+gc, cpu)
	if err != nil {
		return err
	}
	collecting, err := share(ctx, "", "-focus="+gc, cpu)
	if err != nil {
		return err
	}
	allocated, err := share(ctx, "alloc_space", "-focus="+telemetry, "-base="+before, after)
	if err != nil {
		return err
	}
	fmt.Printf("by the profile: %.2f %% of the broker's time is telemetry's code; %.1f %% is garbage collection, and of what is allocated %.1f %% telemetry's: %.2f %% in all\n",
		code, collecting, allocated, code+collecting*allocated/100)
	return nil
}

var accounted = regexp.MustCompile(`accounting for [^,]+, ([0-9.]+)% of`)

// share is what `go tool pprof` says that the nodes account for, in percent.
func share(ctx context.Context, sample string, args ...string) (float64, error) {
	all := []string{"tool", "pprof", "-top", "-nodecount=100000", "-nodefraction=0", "-edgefraction=0"}
	if sample != "" {
		all = append(all, "-sample_index="+sample)
	}
	c := exec.CommandContext(ctx, "go", append(all, args...)...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	m := accounted.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("pprof says nothing of a share:\n%s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
