// Command consumergroups measures what consumer groups (KIP-848) cost a broker: how long many members that come together take to have their
// partitions, and what heartbeats cost. Its members speak the protocol without consuming anything: a heartbeat, and partitions given up at once.
//
//	consumergroups -bootstrap 127.0.0.1:9092 -groups 1000 -members 10 -pid PID -for 30s
//	consumergroups -bootstrap 127.0.0.1:9092 -groups 1 -members 500 -partitions 1000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type settings struct {
	bootstrap                   string
	groups, members, partitions int
	connections, pid            int
	length, interval            time.Duration
}

// member is one of a group. Only its own goroutine uses it.
type member struct {
	group, id string
	epoch     int32
	owned     []kmsg.ConsumerGroupHeartbeatRequestTopic
	say       bool // the next heartbeat says what it owns
}

func main() {
	var s settings
	flag.StringVar(&s.bootstrap, "bootstrap", "127.0.0.1:9092", "the broker")
	flag.IntVar(&s.groups, "groups", 1, "groups")
	flag.IntVar(&s.members, "members", 500, "members of each")
	flag.IntVar(&s.partitions, "partitions", 1000, "of the topic that all subscribe to")
	flag.IntVar(&s.connections, "connections", 20, "that the members share")
	flag.IntVar(&s.pid, "pid", 0, "the broker's process: its CPU time is told")
	flag.DurationVar(&s.length, "for", 20*time.Second, "how long members heartbeat once they have their partitions")
	flag.DurationVar(&s.interval, "interval", 5*time.Second, "between heartbeats of a member that has nothing to do")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "consumergroups:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	const topic = "consumergroups"
	clients := make([]*kgo.Client, s.connections)
	for i := range clients {
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap))
		if err != nil {
			return err
		}
		defer cl.Close()
		clients[i] = cl
	}
	if _, err := kadm.NewClient(clients[0]).CreateTopic(ctx, int32(s.partitions), 1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	var settled, beats atomic.Int64
	var took latencies
	var failed atomic.Pointer[error]
	ending, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	began, before := time.Now(), cpu(s.pid)
	total := int64(s.groups * s.members)
	name := strconv.FormatInt(began.UnixNano(), 36)
	all := make(chan struct{})
	for i := range s.groups * s.members {
		m := &member{group: fmt.Sprintf("%s-%d", name, i/s.members), id: fmt.Sprintf("m%d", i)}
		wg.Add(1)
		go func() {
			defer wg.Done()
			had := false
			for ending.Err() == nil {
				sent := time.Now()
				changed, err := m.beat(ctx, clients[i%len(clients)], topic)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				beats.Add(1)
				took.add(time.Since(sent))
				if now := len(m.owned) > 0; now && !had {
					had = true
					if settled.Add(1) == min(total, int64(s.groups*min(s.members, s.partitions))) {
						close(all)
					}
				}
				wait := s.interval
				if changed { // what it owns has changed: it says so at once, as clients do
					continue
				}
				select {
				case <-time.After(wait):
				case <-ending.Done():
				}
			}
		}()
	}
	select {
	case <-all:
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("%d of %d members have partitions after two minutes; %v", settled.Load(), total, failed.Load())
	}
	fmt.Printf("%d groups of %d members: all have partitions after %.2f s, %d heartbeats, %.2f s CPU of the broker\n",
		s.groups, s.members, time.Since(began).Seconds(), beats.Load(), cpu(s.pid)-before)
	time.Sleep(2 * s.interval) // until all are where they shall be
	began, before = time.Now(), cpu(s.pid)
	first := beats.Load()
	took.take()
	time.Sleep(s.length)
	length, n, answered := time.Since(began).Seconds(), beats.Load()-first, took.take()
	fmt.Printf("%.0f heartbeats/s: %.2f %% of a CPU, %.0f µs each", float64(n)/length, 100*(cpu(s.pid)-before)/length, 1e6*(cpu(s.pid)-before)/float64(n))
	if len(answered) > 0 {
		fmt.Printf("; answered in %.2f ms (p50), %.2f ms (p99)", answered[len(answered)/2].Seconds()*1e3, answered[len(answered)*99/100].Seconds()*1e3)
	}
	fmt.Println()
	end()
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// latencies are how long heartbeats were on their way, as their members saw it.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

// take gives what came since the last time, sorted.
func (l *latencies) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	slices.Sort(all)
	return all
}

// beat sends a heartbeat and follows its answer. It tells whether there is something to say at once.
func (m *member) beat(ctx context.Context, cl *kgo.Client, topic string) (changed bool, err error) {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = m.group, m.id, m.epoch
	if m.epoch == 0 {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, []string{topic}
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	} else if m.say {
		req.Topics = m.owned
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return false, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return false, err
	}
	m.epoch, m.say = resp.MemberEpoch, false
	if resp.Assignment == nil {
		return false, nil
	}
	less := false
	owned := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, t := range resp.Assignment.Topics {
		owned = append(owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
	}
	for _, was := range m.owned {
		for _, p := range was.Partitions {
			less = less || !slices.ContainsFunc(owned, func(t kmsg.ConsumerGroupHeartbeatRequestTopic) bool { return slices.Contains(t.Partitions, p) })
		}
	}
	m.owned, m.say = owned, true
	return less, nil
}

// cpu is the seconds of CPU that a process has used.
func cpu(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const utime, stime, hertz = 11, 12, 100
	u, _ := strconv.ParseFloat(fields[utime], 64) //nolint:errcheck // the kernel's numbers
	k, _ := strconv.ParseFloat(fields[stime], 64) //nolint:errcheck // the kernel's numbers
	return (u + k) / hertz
}
