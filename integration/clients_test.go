package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// client is somebody else's client. It writes lines to a topic, a record each, and reads them back, all with its defaults.
type client struct {
	name    string
	missing func() error // why it cannot run on this machine
	produce func(ctx context.Context, broker, topic string, lines []string) error
	consume func(ctx context.Context, broker, topic string, n int) ([]string, error)
}

// clients are told where integration/scripts/clients-install puts them.
func clients() []client {
	installed := os.Getenv("INTEROP_CLIENTS")
	if installed == "" {
		installed = filepath.Join("..", "bin", "clients")
	}
	python, lines := filepath.Join(installed, "kafka-python", "bin", "python"), filepath.Join("interop", "kafka-python", "lines.py")
	java := filepath.Join(installed, "java", "kafka")
	return []client{
		{
			name:    "franz-go",
			missing: func() error { return nil },
			produce: func(ctx context.Context, broker, topic string, lines []string) error {
				return franzProduce(ctx, broker, topic, lines)
			},
			consume: func(ctx context.Context, broker, topic string, n int) ([]string, error) {
				return franzConsume(ctx, broker, topic, n)
			},
		},
		program("kcat", "kcat",
			func(broker, topic string) []string { return []string{"-P", "-b", broker, "-t", topic} },
			func(broker, topic string, n int) []string {
				return []string{"-C", "-q", "-b", broker, "-t", topic, "-o", "beginning", "-c", strconv.Itoa(n)}
			}),
		program("kafka-python", python,
			func(broker, topic string) []string { return []string{lines, "produce", broker, topic} },
			func(broker, topic string, n int) []string {
				return []string{lines, "consume", broker, topic, strconv.Itoa(n)}
			}),
		program("Java console tools", java,
			func(broker, topic string) []string {
				return []string{"org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", broker, "--topic", topic}
			},
			func(broker, topic string, n int) []string {
				return []string{"org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", broker, "--topic", topic,
					"--from-beginning", "--max-messages", strconv.Itoa(n)}
			}),
	}
}

// program is a client that is a program: lines go in by its standard input and come out by its standard output.
func program(name, path string, produce func(broker, topic string) []string, consume func(broker, topic string, n int) []string) client {
	run := func(ctx context.Context, input string, args []string) (string, error) {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%s %s: %w: %s", name, args[0], err, exit.Stderr)
		}
		return string(out), errors.Join(err, context.Cause(ctx))
	}
	return client{
		name:    name,
		missing: func() error { _, err := exec.LookPath(path); return err },
		produce: func(ctx context.Context, broker, topic string, lines []string) error {
			_, err := run(ctx, strings.Join(lines, "\n")+"\n", produce(broker, topic))
			return err
		},
		consume: func(ctx context.Context, broker, topic string, n int) ([]string, error) {
			out, err := run(ctx, "", consume(broker, topic, n))
			return strings.Split(strings.TrimSuffix(out, "\n"), "\n"), err
		},
	}
}

func franzProduce(ctx context.Context, broker, topic string, lines []string, more ...kgo.Opt) error {
	cl, err := kgo.NewClient(append(more, kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	records := make([]*kgo.Record, len(lines))
	for i, l := range lines {
		records[i] = kgo.StringRecord(l)
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

func franzConsume(ctx context.Context, broker, topic string, n int, more ...kgo.Opt) ([]string, error) {
	group := fmt.Sprintf("lines-%s-%s", topic, broker)
	cl, err := kgo.NewClient(append(more, kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var lines []string
	for len(lines) < n {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), context.Cause(ctx)); err != nil {
			return lines, err
		}
		fetches.EachRecord(func(r *kgo.Record) { lines = append(lines, string(r.Value)) })
	}
	return lines, nil
}

// present are the clients that this machine has; QANAT_TEST_CLIENTS=all makes a missing one a failure.
func present(t *testing.T) []client {
	t.Helper()
	return slices.DeleteFunc(clients(), func(c client) bool {
		err := c.missing()
		if err != nil && os.Getenv("QANAT_TEST_CLIENTS") == "all" {
			t.Fatalf("%s is missing, and QANAT_TEST_CLIENTS=all: %v", c.name, err)
		}
		if err != nil {
			t.Run(c.name, func(t *testing.T) {
				t.Skipf("NOT TESTED: %s is not installed (%v); integration/scripts/clients-install installs it", c.name, err)
			})
		}
		return err != nil
	})
}

// A client with its defaults could not write to a new broker, or could not read what itself or another client wrote.
func TestClientsReadEachOther(t *testing.T) {
	b := startBroker(t)
	all := present(t)
	const n = 500
	wrote := map[string][]string{}
	for i, writer := range all {
		topic := fmt.Sprintf("written-%d", i)
		for j := range n {
			wrote[topic] = append(wrote[topic], fmt.Sprintf("line %d, as %s wrote it: %s", j, writer.name, strings.Repeat("ü", j%50)))
		}
		if err := writer.produce(within(t, time.Minute), b.Listen, topic, wrote[topic]); err != nil {
			t.Errorf("%s does not produce: %v", writer.name, err)
			delete(wrote, topic)
		}
	}
	for i, writer := range all {
		topic := fmt.Sprintf("written-%d", i)
		if wrote[topic] == nil {
			continue // would be waited for in vain
		}
		for _, reader := range all {
			t.Run(reader.name+" reads "+writer.name, func(t *testing.T) {
				got, err := reader.consume(within(t, time.Minute), b.Listen, topic, n)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, wrote[topic]) {
					t.Fatalf("%d lines of %d; the first: %q", len(got), n, got[:min(len(got), 3)])
				}
			})
		}
	}
}
