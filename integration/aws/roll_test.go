package aws

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// rolled changes what all three brokers are made from, and fails unless one apply replaces them one after the other, also one that is broken off and done again, under a
// producer whose acknowledged records are all there afterwards; and unless an apply that changes what they stand on as well leaves all of them as they are.
func rolled(t *testing.T, ctx context.Context, h *hypervisor, s *stack, variables map[string]any, before production, certs certificateSet) {
	t.Helper()
	p := produce(t, ctx, before, certs)

	variables["instance_type"] = "m7g.2xlarge"
	s.set(t, variables)
	would := s.plan(t, ctx, "roll.plan")
	want := map[string]string{"module.qanat.terraform_data.roll": "delete,create", "module.qanat.terraform_data.ready": "delete,create"}
	for id := range before.Brokers {
		// delete, then create: a volume and an address are at one instance at a time.
		want[fmt.Sprintf("module.qanat.aws_instance.broker[%q]", id)] = "delete,create"
	}
	same(t, "another instance type plans", would, want)
	from := len(h.events(t))
	h.apply(t, ctx, s)
	same(t, "brokers replaced by one apply", order(t, h.events(t)[from:]), []string{"1", "2", "3"})
	kept(t, ctx, s, before, "m7g.2xlarge")

	if !testing.Short() {
		brokenOff(t, ctx, h, s, variables, before)
	}
	p.allThere(t, ctx)
	entangled(t, ctx, h, s, variables, before)
}

// brokenOff is another type again, by an apply that is broken off when the first broker goes, and the next one.
func brokenOff(t *testing.T, ctx context.Context, h *hypervisor, s *stack, variables map[string]any, before production) {
	t.Helper()
	variables["instance_type"] = "m7g.4xlarge"
	s.set(t, variables)
	from := len(h.events(t))
	breaking, cancel := context.WithCancel(ctx)
	broken := s.command(breaking, "apply", "-auto-approve", "-input=false")
	broken.Cancel = func() error { return broken.Process.Signal(os.Interrupt) }
	broken.WaitDelay = 0 // it ends by itself
	stop := func(string) { cancel() }
	h.terminated.Store(&stop)
	if out, err := broken.CombinedOutput(); err == nil {
		t.Errorf("an apply that was broken off went well:\n%s", out)
	}
	h.terminated.Store(nil)
	same(t, "brokers replaced when the apply is broken off", order(t, h.events(t)[from:]), []string{"1"})
	h.apply(t, ctx, s)
	same(t, "brokers replaced by both", order(t, h.events(t)[from:]), []string{"1", "2", "3"})
	kept(t, ctx, s, before, "m7g.4xlarge")
}

// entangled is an apply that changes what brokers stand on, and them, too: Terraform would make no new instance before all old ones have gone. It fails unless that is refused
// before any goes, and the first of it alone is not.
func entangled(t *testing.T, ctx context.Context, h *hypervisor, s *stack, variables map[string]any, before production) {
	t.Helper()
	is := variables["instance_type"].(string)
	main := filepath.Join(s.dir, "main.tf")
	text, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(main, []byte(strings.ReplaceAll(string(text), `environment = "production"`, `environment = "test"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	variables["instance_type"] = "m7g.8xlarge"
	s.set(t, variables)
	from := len(h.events(t))
	if out, err := s.run(ctx, "apply", "-auto-approve", "-input=false"); err == nil || strings.Count(out, "apply that alone, then this") != 3 {
		t.Errorf("an apply that changes tags and all brokers: %v\n%s", err, out)
	}
	same(t, "brokers replaced by an apply that is refused", order(t, h.events(t)[from:]), nil)
	variables["instance_type"] = is
	s.set(t, variables)
	h.apply(t, ctx, s)
	same(t, "brokers replaced for a tag", order(t, h.events(t)[from:]), nil)
	kept(t, ctx, s, before, is)
}

// order is who was replaced, and fails unless each went from a healthy cluster, with all before it back.
func order(t *testing.T, events []string) (gone []string) {
	t.Helper()
	away, attached, healthy := "", false, false
	for _, e := range events {
		what, id, _ := strings.Cut(e, " ")
		switch {
		case what == "terminate" && id == away: // broken off as it went, it goes again
		case what == "terminate":
			if away != "" || !healthy {
				t.Errorf("broker %s goes while %q is away, the cluster known to be healthy: %v\n%s", id, away, healthy, strings.Join(events, "\n"))
			}
			gone = append(gone, id)
			away, attached, healthy = id, false, false
		case what == "attach" && id == away:
			attached = true
		case strings.HasPrefix(e, "qanat cluster health") && strings.HasSuffix(e, "= 0") && (away == "" || attached):
			away, healthy = "", true
		}
	}
	return gone
}

// kept fails unless every broker has the type, and the volume, address and name that it had.
func kept(t *testing.T, ctx context.Context, s *stack, before production, instanceType string) {
	t.Helper()
	var after production
	s.outputs(t, ctx, &after)
	a := s.region.readBack(t, ctx)
	for id, b := range after.Brokers {
		was := before.Brokers[id]
		same(t, "broker "+id+" keeps volume, address and name", []string{b.Volume, b.Address, b.Kafka}, []string{was.Volume, was.Address, was.Kafka})
		same(t, "broker "+id+": its volume is attached, its type is right", []any{a.Volumes[b.Volume].Attached, a.Instances[b.Instance].Type}, []any{[]string{b.Instance}, instanceType})
	}
}

// producer writes one record after the other to topic orders, each when the one before is acknowledged by all, until it is ended.
type producer struct {
	options []kgo.Opt
	end     context.CancelFunc
	done    sync.WaitGroup
	acked   []string // written until done
}

func produce(t *testing.T, ctx context.Context, out production, certs certificateSet) *producer {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(certs.ca)) {
		t.Fatal("no CA")
	}
	p := &producer{options: []kgo.Opt{
		kgo.SeedBrokers(strings.Split(out.Provider.Bootstrap, ",")...), kgo.DialTLSConfig(&tls.Config{RootCAs: pool}), kgo.RequiredAcks(kgo.AllISRAcks()),
	}}
	client, err := kgo.NewClient(append(p.options, kgo.DefaultProduceTopic("orders"))...)
	if err != nil {
		t.Fatal(err)
	}
	going, end := context.WithCancel(ctx)
	p.end = end
	p.done.Go(func() {
		defer client.Close()
		for i := 0; going.Err() == nil; i++ {
			value := fmt.Sprint(i)
			if err := client.ProduceSync(going, kgo.StringRecord(value)).FirstErr(); err == nil {
				p.acked = append(p.acked, value)
			}
		}
	})
	t.Cleanup(func() {
		end()
		p.done.Wait()
	})
	return p
}

// allThere ends the producer, and fails unless the topic has all that was acknowledged.
func (p *producer) allThere(t *testing.T, ctx context.Context) {
	t.Helper()
	p.end()
	p.done.Wait()
	client, err := kgo.NewClient(append(p.options, kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	missing := map[string]bool{}
	for _, v := range p.acked {
		missing[v] = true
	}
	if len(missing) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	t.Logf("%d records were acknowledged meanwhile", len(missing))
	for len(missing) > 0 {
		f := client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d acknowledged records were not read: %v", len(missing), err)
		}
		f.EachRecord(func(r *kgo.Record) { delete(missing, string(r.Value)) })
	}
}
