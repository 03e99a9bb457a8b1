// Command tlscost measures what TLS costs a broker: processor time for each GiB that is fetched, and produced, on a plain
// listener and on a TLS listener of the same broker, in turns.
//
//	go run ./integration/tlscost -qanat bin/qanat
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/integration/harness"
)

func main() {
	bin := flag.String("qanat", "bin/qanat", "the program")
	mib := flag.Int("mib", 1024, "how much is written and read, in MiB")
	rounds := flag.Int("rounds", 3, "rounds that count, after one that does not")
	profile := flag.String("profile", "", "write a CPU profile of the broker's last fetch over TLS here")
	flag.Parse()
	if err := run(*bin, *mib, *rounds, *profile); err != nil {
		log.Fatal(err)
	}
}

// way is one of the two listeners.
type way struct {
	name, addr string
	options    []kgo.Opt
	fetch      []float64 // CPU seconds of the broker for a GiB
	speed      []float64 // MiB/s
}

func run(bin string, mib, rounds int, profile string) (err error) {
	dir, err := os.MkdirTemp("", "tlscost-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	config, sets, err := certificates(dir)
	if err != nil {
		return err
	}
	b, err := harness.New(bin, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	secured, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	b.Bucket = "none"
	b.Sets = append(sets, "listeners=PLAINTEXT://"+b.Listen+",SSL://"+secured)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := b.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	ways := []*way{{name: "plain", addr: b.Listen}, {name: "TLS", addr: secured, options: []kgo.Opt{kgo.DialTLSConfig(config)}}}
	cost := func(f func() error) (float64, time.Duration, error) {
		began, before := time.Now(), b.CPU()
		err := f()
		return (b.CPU() - before).Seconds() / (float64(mib) / 1024), time.Since(began), err
	}
	for _, w := range ways {
		perGiB, took, err := cost(func() error { return produce(ctx, w, mib) })
		if err != nil {
			return fmt.Errorf("produce, %s: %w", w.name, err)
		}
		fmt.Printf("produce %-5s  %.2f CPU-s/GiB  %.0f MiB/s\n", w.name, perGiB, float64(mib)/took.Seconds())
	}
	for round := range rounds + 1 {
		for _, w := range ways {
			var profiled chan error
			if profile != "" && round == rounds && len(w.options) > 0 {
				profiled = make(chan error, 1)
				go func() { profiled <- download("http://"+b.Admin+"/debug/pprof/profile?seconds=3", profile) }()
			}
			perGiB, took, err := cost(func() error { return consume(ctx, w, mib) })
			if profiled != nil {
				err = errors.Join(err, <-profiled)
			}
			if err != nil {
				return fmt.Errorf("fetch, %s: %w", w.name, err)
			}
			fmt.Printf("fetch   %-5s  %.2f CPU-s/GiB  %.0f MiB/s\n", w.name, perGiB, float64(mib)/took.Seconds())
			if round > 0 {
				w.fetch, w.speed = append(w.fetch, perGiB), append(w.speed, float64(mib)/took.Seconds())
			}
		}
	}
	plain, encrypted := median(ways[0].fetch), median(ways[1].fetch)
	fmt.Printf("fetch, medians: plain %.2f, TLS %.2f CPU-s/GiB: %.2f ×; %.0f and %.0f MiB/s\n", plain, encrypted, encrypted/plain, median(ways[0].speed), median(ways[1].speed))
	return nil
}

func download(url, path string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// certificates makes a CA, and gives what client and broker need of it.
func certificates(dir string) (*tls.Config, []string, error) {
	ca, err := issue.NewAuthority("tlscost", time.Hour, time.Now)
	if err != nil {
		return nil, nil, err
	}
	pair, err := ca.Issue(issue.Request{Name: "broker", Hosts: []string{"127.0.0.1"}, Role: &secure.Role{Node: secure.AnyNode}})
	if err != nil {
		return nil, nil, err
	}
	if err := pair.Write(dir, "broker"); err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	return &tls.Config{RootCAs: roots}, []string{
		"ssl.keystore.certificate.chain=" + filepath.Join(dir, "broker.pem"), "ssl.keystore.key=" + filepath.Join(dir, "broker-key.pem"),
		"num.partitions=16", "admin.pprof.enable=true",
	}, nil
}

// produce writes records of 1 KiB that do not compress to a topic of the way's name.
func produce(ctx context.Context, w *way, mib int) error {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.addr), kgo.DefaultProduceTopic(w.name), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(64 << 10),
	}, w.options...)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	failed := make(chan error, 1)
	for i := range mib << 10 {
		at := i << 10 & (len(noise) - 1)
		cl.Produce(ctx, &kgo.Record{Value: noise[at : at+1000]}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// consume reads the plain way's topic whole, by either way.
func consume(ctx context.Context, w *way, mib int) error {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.addr), kgo.ConsumeTopics("plain"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, w.options...)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for n := 0; n < mib<<10; {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			return err
		}
		n += fetches.NumRecords()
	}
	return nil
}
