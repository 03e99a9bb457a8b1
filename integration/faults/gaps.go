package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/cluster"
)

// How long clients are kept waiting when the broker that leads their partition goes: a topic of one partition and three replicas,
// a producer with acks=all and a group of one consumer, both at their defaults, a record every millisecond. A gap is the longest time
// in which nothing was acknowledged, or consumed, from just before the fault until all has been well for a while. The clients are
// franz-go's, in this process, or those of another language, whose histories tell when what happened.

// deed is one way for a leader to go.
type deed struct {
	name  string
	lasts time.Duration // how long it is watched before it is undone
	do    func(c *cluster.Cluster, node int) error
	undo  func(c *cluster.Cluster, node int) error
}

func deeds() []deed {
	cut := func(c *cluster.Cluster, node int) error {
		if c.Network == nil {
			return errors.New("needs root, for network namespaces")
		}
		all := []cluster.Place{cluster.Clients}
		for i := range c.Nodes() {
			all = append(all, cluster.Place(i))
		}
		err := c.Network.Cut(cluster.Place(node), all...)
		for _, p := range all {
			err = errors.Join(err, c.Network.Cut(p, cluster.Place(node)))
		}
		return err
	}
	heal := func(c *cluster.Cluster, _ int) error { return c.Network.Heal() }
	return []deed{
		{"kill", 4 * time.Second, (*cluster.Cluster).Kill, (*cluster.Cluster).Start},
		{"stop", 3 * time.Second, func(c *cluster.Cluster, node int) error { return c.Stop(30*time.Second, node) }, (*cluster.Cluster).Start},
		{"pause", 10 * time.Second, (*cluster.Cluster).Pause, (*cluster.Cluster).Resume},
		{"cut", 10 * time.Second, cut, heal},
	}
}

// gaps is the verb.
func gaps(ctx context.Context, args []string) (int, error) {
	if err := settle(); err != nil {
		return 0, err
	}
	var s settings
	var kinds, client string
	var times int
	f := flag.NewFlagSet("gaps", flag.ContinueOnError)
	f.StringVar(&s.system, "system", "qanat", "system under test: qanat or kafka")
	f.StringVar(&s.qanat, "qanat", "bin/qanat", "the program")
	f.StringVar(&s.peers, "peers", "../shared/peers", "folder with kafka-cluster")
	f.StringVar(&s.dir, "dir", "bin/faults", "where runs are kept")
	f.StringVar(&s.sets, "set", "", "KEY=VALUE,… for every Qanat node")
	f.IntVar(&s.port, "port", 15400, "first port of the nodes")
	f.StringVar(&client, "client", "franz-go", "whose clients wait: franz-go, java or librdkafka")
	f.StringVar(&s.clients, "clients", "bin/clients", "where integration/scripts/faults-clients has put Java's and librdkafka's")
	f.StringVar(&kinds, "kinds", "kill,stop,pause,cut", "how leaders go")
	f.IntVar(&times, "times", 15, "how often, each")
	if err := f.Parse(args); err != nil {
		return 0, err
	}
	if err := s.resolve(); err != nil {
		return 0, err
	}
	languages, err := s.languages()
	if err != nil {
		return 0, err
	}
	l, ok := languages[client]
	if !ok {
		return 0, fmt.Errorf("no clients of %s: see integration/scripts/faults-clients", client)
	}
	return 0, (&gapRun{settings: s, language: l, out: os.Stdout}).do(ctx, strings.Split(kinds, ","), times)
}

// gapRun is one cluster whose leaders go again and again.
type gapRun struct {
	settings
	language language
	rounds   int // of clients of other languages
	out      io.Writer
	c        *cluster.Cluster
	logs     string // directory of the clients'

	acked, polled, served pulse
}

const (
	gapTopic = "gaps"
	// Clients that have looked for leaders a moment ago do not look again for a while (franz-go: 5 s), whoever is gone; and new ones look
	// twice in that time.
	settled = 11 * time.Second
	// Clients of other languages have to start.
	foreignSettled = 6 * time.Second
)

func (g *gapRun) do(ctx context.Context, kinds []string, times int) (err error) {
	system, err := g.under()
	if err != nil {
		return err
	}
	dir := filepath.Join(g.dir, time.Now().Format("0102-150405")+"-gaps")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	g.logs = dir
	g.c, err = cluster.New(system, dir, cluster.Options{Nodes: 3, Port: g.port, Isolated: os.Geteuid() == 0})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.c.Close()) }()
	if err := g.begin(ctx); err != nil {
		return err
	}
	for _, d := range deeds() {
		if slices.Contains(kinds, d.name) {
			if err := g.repeat(ctx, d, times); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
	}
	return nil
}

// begin starts the nodes and makes the topic.
func (g *gapRun) begin(ctx context.Context) error {
	for i := range g.c.Nodes() {
		if err := g.c.Start(i); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := g.c.Ready(ctx, ""); err != nil {
		return err
	}
	admin, err := g.c.Admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	if _, err := admin.CreateTopic(ctx, 1, 3, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")}, gapTopic); err != nil {
		return err
	}
	return g.c.Ready(ctx, gapTopic)
}

// work starts the clients, in their place of the network.
func (g *gapRun) work(ctx context.Context, working *sync.WaitGroup) error {
	client := func(name string, opts ...kgo.Opt) (*kgo.Client, *os.File, error) {
		log, err := os.OpenFile(filepath.Join(g.logs, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, nil, err
		}
		c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(g.c.Bootstrap(), ",")...), kgo.Dialer(g.c.Dial(cluster.Clients)),
			kgo.WithLogger(kgo.BasicLogger(log, kgo.LogLevelDebug, func() string { return time.Now().Format("15:04:05.000000 ") })))...)
		if err != nil {
			return nil, nil, errors.Join(err, log.Close())
		}
		return c, log, nil
	}
	producer, sent, err := client("producer", kgo.DefaultProduceTopic(gapTopic))
	if err != nil {
		return err
	}
	consumer, read, err := client("consumer", kgo.ConsumeTopics(gapTopic), kgo.ConsumerGroup("gaps"))
	if err != nil {
		producer.Close()
		return errors.Join(err, sent.Close())
	}
	working.Go(func() {
		defer sent.Close()
		defer producer.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				producer.TryProduce(ctx, kgo.StringRecord(now.Format(time.RFC3339Nano)), func(_ *kgo.Record, err error) { g.acked.beat(err) })
			}
		}
	})
	working.Go(func() {
		defer read.Close()
		defer consumer.Close()
		for ctx.Err() == nil {
			fetches := consumer.PollFetches(ctx)
			if fetches.NumRecords() > 0 || fetches.Err() != nil && ctx.Err() == nil {
				g.polled.beat(fetches.Err())
			}
		}
	})
	return nil
}

// Probing goes on at this pace, with so many attempts under way.
const (
	probeEvery    = 100 * time.Millisecond
	probePatience = time.Second
)

// serve has one new client after another produce one record, which it gives up after a while: it shows when the partition is served again,
// however long clients that wait for an answer of a silent broker go on waiting for it (franz-go: up to 20 s). They are told of the other
// nodes only than the one that goes.
func (g *gapRun) serve(ctx context.Context, but int) {
	var seeds []string
	for i := range g.c.Nodes() {
		if i != but {
			seeds = append(seeds, g.c.Address(i))
		}
	}
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for wait(ctx, probeEvery) {
		attempts.Go(func() {
			c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.Dialer(g.c.Dial(cluster.Clients)), kgo.DefaultProduceTopic(gapTopic),
				kgo.ProducerLinger(0), kgo.DialTimeout(probePatience))
			if err != nil {
				return // the options are no good: nothing is served, and the result says so
			}
			defer c.Close()
			answered := make(chan error, 1)
			c.Produce(ctx, kgo.StringRecord("probe"), func(_ *kgo.Record, err error) { answered <- err })
			patience := time.NewTimer(probePatience) // not the context's: what is under way is not given up for that
			defer patience.Stop()
			select {
			case err := <-answered:
				if err == nil {
					g.served.beat(nil)
				}
			case <-patience.C:
			}
		})
	}
}

// repeat has leaders go times times and prints what that cost.
func (g *gapRun) repeat(ctx context.Context, d deed, times int) error {
	var acked, polled, served []time.Duration
	failed := 0
	for range times {
		o, err := g.once(ctx, d)
		if err != nil {
			return err
		}
		acked, polled, served, failed = append(acked, o.acked), append(polled, o.polled), append(served, o.served), failed+o.failed
	}
	for _, x := range []struct {
		what string
		all  []time.Duration
	}{{"a producer", acked}, {"a consumer", polled}, {"new producers", served}} {
		fmt.Fprintf(g.out, "| %s | %s | %d | %s |\n", d.name, x.what, times, spread(x.all))
	}
	fmt.Fprintf(g.out, "%d errors reached the clients' callers\n", failed)
	return nil
}

// outcome is what one leader's going cost.
type outcome struct {
	acked, polled, served time.Duration
	failed                int
}

// once has the leader go once. The clients are new each time: those that have seen brokers come and go find out about connections that
// are dead only when they use them.
func (g *gapRun) once(ctx context.Context, d deed) (o outcome, err error) {
	bounded, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := g.c.Ready(bounded, gapTopic); err != nil {
		return o, err
	}
	leader, controller, err := g.leader(ctx)
	if err != nil {
		return o, err
	}
	clients, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	began, ready, heard := time.Now(), settled, func() error { return nil }
	if g.language.name == "franz-go" {
		err = g.work(clients, &working)
	} else {
		ready = foreignSettled
		heard, err = g.foreign(clients, &working, &began)
	}
	if err != nil {
		return o, err
	}
	if !wait(ctx, ready) {
		return o, ctx.Err()
	}
	working.Go(func() { g.serve(clients, leader) })
	if !wait(ctx, time.Second) {
		return o, ctx.Err()
	}
	g.acked.reset()
	g.polled.reset()
	g.served.reset()
	began = time.Now()
	if err := d.do(g.c, leader); err != nil {
		return o, err
	}
	wait(ctx, d.lasts-time.Since(began))
	ended := time.Now()
	if err := heard(); err != nil {
		return o, err
	}
	var sent, read int
	o.acked, sent = g.acked.longest(ended)
	o.polled, read = g.polled.longest(ended)
	o.served, _ = g.served.longest(ended)
	o.failed = sent + read
	note := ""
	if controller == leader {
		note = " (led the metadata, too)"
	}
	fmt.Fprintf(g.out, "%s %s of node %d%s: produce %v, consume %v, served %v, errors %d\n",
		began.Format("15:04:05.000"), d.name, leader+1, note, round(o.acked), round(o.polled), round(o.served), o.failed)
	return o, errors.Join(ctx.Err(), d.undo(g.c, leader))
}

// leader is the node that leads the partition, and the one that leads the metadata, from 0.
func (g *gapRun) leader(ctx context.Context) (leader, controller int, err error) {
	admin, err := g.c.Admin()
	if err != nil {
		return 0, 0, err
	}
	defer admin.Close()
	m, err := admin.Metadata(ctx, gapTopic)
	if err != nil {
		return 0, 0, err
	}
	return int(m.Topics[gapTopic].Partitions[0].Leader) - 1, int(m.Controller) - 1, nil
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// spread is a distribution in a few cells.
func spread(all []time.Duration) string {
	all = slices.Sorted(slices.Values(all))
	at := func(q float64) time.Duration { return round(all[min(len(all)-1, int(q*float64(len(all))))]) }
	return fmt.Sprintf("%v | %v | %v | %v", at(0), at(0.5), at(0.9), round(all[len(all)-1]))
}

// pulse keeps the longest time between two beats.
type pulse struct {
	mu     sync.Mutex
	last   time.Time
	most   time.Duration
	failed int
}

func (p *pulse) beat(err error) { p.beatAt(time.Now(), err) }

func (p *pulse) beatAt(now time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed++
		return
	}
	p.most = max(p.most, now.Sub(p.last))
	p.last = now
}

func (p *pulse) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.most, p.failed = time.Now(), 0, 0
}

// longest counts the time from the last beat until now, too.
func (p *pulse) longest(now time.Time) (time.Duration, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.most, now.Sub(p.last)), p.failed
}
