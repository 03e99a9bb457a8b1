// Demo runs the product's main job large, with progress bars and a closing summary.
//
//	make demo                        with a directory as the bucket
//	make demo GIB=8 BUCKET=minio     with that driver against an S3 server on this machine; or BUCKET=s3
//	go run ./integration/demo -qanat bin/qanat -gib 4 -bucket 's3://demo?endpoint=http://127.0.0.1:7070'
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/qanat-io/qanat/integration/harness"
	"github.com/qanat-io/qanat/integration/journey"
)

func main() {
	bin := flag.String("qanat", "bin/qanat", "the program")
	dir := flag.String("dir", ".demo", "where the broker keeps its data; removed first")
	bucket := flag.String("bucket", "", "bucket URL: dir:PATH, s3://NAME?endpoint=…, minio://NAME?endpoint=…; s3 or minio alone: the server that integration/scripts/s3 has started (default: a directory)")
	gib := flag.Float64("gib", 3, "GiB to produce")
	kills := flag.Int("kills", 3, "how often the broker is killed on the way")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "decides the generated records")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demo(ctx, *bin, *dir, *bucket, *gib, *kills, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, bin, dir, bucket string, gib float64, kills int, seed uint64) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	data, err := filepath.Abs(filepath.Join(dir, "broker"))
	if err != nil {
		return err
	}
	b, err := harness.New(bin, data)
	if err != nil {
		return err
	}
	if b.Bucket, err = bucketURL(bucket); err != nil {
		return err
	}
	fmt.Printf("seed %d; data and log under %s\n", seed, dir)
	s, err := journey.Run(ctx, journey.Plan{
		Broker: b, Bytes: int64(gib * (1 << 30)), Partitions: 16, SegmentBytes: 16 << 20, LocalBytes: 48 << 20,
		Kills: kills, Seed: seed, Progress: bars(),
	})
	if err != nil {
		return err
	}
	if err := b.Stop(); err != nil {
		return fmt.Errorf("stop the broker: %w", err)
	}
	report(s)
	return nil
}

// bucketURL is bucket, or for the bare name of a driver a bucket of the S3 server that integration/scripts/s3 runs.
func bucketURL(bucket string) (string, error) {
	if bucket != "s3" && bucket != "minio" {
		return bucket, nil
	}
	endpoint, name := os.Getenv("QANAT_TEST_S3"), os.Getenv("QANAT_TEST_S3_BUCKET")
	if endpoint == "" || name == "" {
		return "", fmt.Errorf("-bucket %s: run it by integration/scripts/s3, which starts a server, or give the whole URL", bucket)
	}
	return fmt.Sprintf("%s://%s/demo-%s?endpoint=%s", bucket, name, bucket, endpoint), nil
}

// bars draws one progress bar for each step, on a terminal only.
func bars() func(string, int64, int64) {
	var current string
	var bar *progressbar.ProgressBar
	tty := term.IsTerminal(int(os.Stderr.Fd()))
	return func(step string, done, total int64) {
		if step != current {
			if bar != nil {
				_ = bar.Finish()
				fmt.Fprintln(os.Stderr)
			}
			current = step
			if !tty {
				fmt.Fprintln(os.Stderr, step)
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetDescription(fmt.Sprintf("%-42s", step)),
				progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetVisibility(tty), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set64(done)
	}
}

func report(s journey.Summary) {
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	fmt.Printf(`
every acknowledged record was read back from offset 0, byte for byte, in order, once:
  as it was, after SIGKILL without the index, and after SIGKILL without the archived local segments

records acknowledged  %d (%d more whose fate the client did not learn)
bytes                 %.0f MiB
hot, local disk       %.0f MiB (peak %.0f MiB)
cold, in the bucket   %.0f MiB
requests to the bucket  %.0f PUT, %.0f GET
produced at           %.1f MB/s (kills included)
replayed at           %.1f MB/s
broker CPU            %.2f s per GiB produced, archived and read three times
kills survived        %d, back within %s
`, s.Records, s.Unknown, mib(s.Bytes), mib(s.HotBytes), mib(s.PeakHotBytes), mib(s.ColdBytes), s.Puts, s.Gets,
		float64(s.Bytes)/1e6/s.Produce.Seconds(), float64(s.Bytes)/1e6/s.Replay.Seconds(),
		s.CPU.Seconds()/(float64(s.Bytes)/(1<<30)), s.Kills, s.Restart.Round(time.Millisecond))
}
