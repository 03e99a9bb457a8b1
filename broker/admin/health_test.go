package admin

import (
	"slices"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// cluster is an image of brokers, active, and of a topic "a" whose partitions have these replicas, the first of which leads.
func cluster(t *testing.T, brokers int, replicas ...[]kafka.BrokerID) *image.Image {
	t.Helper()
	m := image.Empty()
	for i := 1; i <= brokers; i++ {
		m = apply(t, m, command.RegisterBroker{ID: kafka.BrokerID(i), Incarnation: [16]byte{byte(i)}, Directory: [16]byte{byte(i)}})
	}
	return apply(t, m, command.CreateTopic{ID: kafka.TopicID{1}, Name: "a", Partitions: replicas})
}

func apply(t *testing.T, m *image.Image, c command.Command) *image.Image {
	t.Helper()
	next, _, _, err := image.Apply(m, m.Index()+1, command.Envelope{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// Who has no bucket would be told to set what makes no room without one.
func TestFullProblem(t *testing.T) {
	for bucket, want := range map[bool]string{true: "--set local.retention.bytes=", false: "--set retention.bytes="} {
		if got := fullProblem(1, bucket); !strings.Contains(got, want) {
			t.Errorf("%s: want %q", got, want)
		}
	}
}

// A partition's ailment is told as a milder one than it is, or a replica that a reassignment is about to bring is missed.
func TestAilment(t *testing.T) {
	ids := func(n ...kafka.BrokerID) []kafka.BrokerID { return n }
	rules := controller.Rules{MinISR: 2}
	for _, c := range []struct {
		name string
		p    image.Partition
		want string
	}{
		{"whole", image.Partition{Leader: 1, Replicas: ids(1, 2, 3), ISR: ids(1, 2, 3)}, ""},
		{"one behind", image.Partition{Leader: 1, Replicas: ids(1, 2, 3), ISR: ids(1, 3)}, "under-replicated"},
		{"two behind", image.Partition{Leader: 1, Replicas: ids(1, 2, 3), ISR: ids(1)}, "below min.insync.replicas"},
		{"nobody leads", image.Partition{Leader: kafka.NoBroker, Replicas: ids(1, 2, 3), ISR: ids(3)}, "nobody leads"},
		{"an eligible one is left", image.Partition{Leader: kafka.NoBroker, Replicas: ids(1, 2), ELR: ids(2)}, "nobody leads"},
		{"nobody has it", image.Partition{Leader: kafka.NoBroker, Replicas: ids(1, 2)}, "lost: no replica is known to have its data"},
		{"one replica is all there is", image.Partition{Leader: 1, Replicas: ids(1), ISR: ids(1)}, ""},
		{"on its way", image.Partition{Leader: 1, Replicas: ids(1, 2, 4), ISR: ids(1, 2), Adding: ids(4)}, ""},
	} {
		got := ""
		if i := ailment(&c.p, rules); i >= 0 {
			got = ailments[i]
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// The cluster's counts, its problems in words, or the list of the worst partitions leave something out, or grow without bound.
func TestPartitionHealth(t *testing.T) {
	replicas := make([][]kafka.BrokerID, worstPartitions+7)
	for i := range replicas {
		replicas[i] = []kafka.BrokerID{1, 2, 3}
	}
	m := cluster(t, 3, replicas...)
	for i := range replicas { // the last one lacks one replica, the others two
		isr := []kafka.BrokerID{1}
		if i == len(replicas)-1 {
			isr = append(isr, 2)
		}
		m = shrink(t, m, int32(i), isr)
	}
	var c console.Cluster
	partitionHealth(&c, m, func(string) controller.Rules { return controller.Rules{MinISR: 2} })
	if c.UnderMinISR != len(replicas)-1 || c.UnderReplicated != len(replicas) || c.Leaderless != 0 {
		t.Errorf("%d below min.insync.replicas, %d under-replicated, %d without a leader", c.UnderMinISR, c.UnderReplicated, c.Leaderless)
	}
	if len(c.Worst) != worstPartitions {
		t.Errorf("the list of the worst has %d partitions, want %d", len(c.Worst), worstPartitions)
	}
	if want := []string{"106 partitions: below min.insync.replicas", "1 partition: under-replicated"}; !slices.Equal(c.Problems, want) {
		t.Errorf("problems are %q, want %q", c.Problems, want)
	}
}

func shrink(t *testing.T, m *image.Image, index int32, isr []kafka.BrokerID) *image.Image {
	t.Helper()
	p, _ := m.Partition(kafka.Partition{Topic: kafka.TopicID{1}, Index: index})
	change := command.ISRChange{Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch}
	for _, id := range isr {
		b, _ := m.Broker(id)
		change.ISR = append(change.ISR, command.ISRMember{ID: id, Epoch: b.Epoch})
	}
	return apply(t, m, command.AlterISR{Changes: []command.ISRChange{change}})
}

// A broker that is stopping or fenced is counted as active, or not told of.
func TestBrokerHealth(t *testing.T) {
	m := cluster(t, 3, []kafka.BrokerID{1})
	for id, state := range map[kafka.BrokerID]command.BrokerState{2: command.Stopping, 3: command.Fenced} {
		b, _ := m.Broker(id)
		m = apply(t, m, command.SetBrokerState{ID: id, Epoch: b.Epoch, State: state})
	}
	var c console.Cluster
	brokerHealth(&c, m)
	if c.Brokers != 3 || c.Active != 1 {
		t.Errorf("%d of %d brokers are active, want 1 of 3", c.Active, c.Brokers)
	}
	want := []string{"broker 2 is stopping", "broker 3 is fenced: it is not there, or has not caught up"}
	if !slices.Equal(c.Problems, want) {
		t.Errorf("problems are %q, want %q", c.Problems, want)
	}
}

// An address that other brokers told of themselves is shown as the wrong kind: the admin port among clients' listeners, or a listener as the port.
func TestEndpoints(t *testing.T) {
	r := &image.Broker{}
	r.Endpoints = []command.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092}, {Listener: Endpoint, Host: "::1", Port: 9644}}
	if got := adminOf(r); got != "[::1]:9644" {
		t.Errorf("the admin port is at %q", got)
	}
	if got := listenersOf(r); len(got) != 1 || got[0].Name != "PLAINTEXT" || got[0].Advertised != "h:9092" {
		t.Errorf("listeners are %+v", got)
	}
	if got := adminOf(&image.Broker{}); got != "" {
		t.Errorf("a broker without an admin port has it at %q", got)
	}
}

// While a broker that was replaced does not vote yet, the cluster is called healthy, and the next one is taken away: the majority is gone. Or it is
// called ill for ever where nobody is left who could vote, or by one that never wanted more.
func TestVoterHealth(t *testing.T) {
	members := func(n int) []quorum.Member { return make([]quorum.Member, n) }
	for _, c := range []struct {
		voters, others, wanted int
		problems, warnings     int
	}{{3, 0, 3, 0, 0}, {3, 2, 3, 0, 0}, {2, 1, 3, 1, 0}, {1, 2, 3, 1, 0}, {2, 0, 3, 0, 1}, {1, 0, 0, 0, 0}, {1, 1, 1, 0, 0}, {0, 1, 3, 0, 0}} {
		var h console.Cluster
		voterHealth(&h, quorum.Status{LeaderID: 1, Voters: members(c.voters), NonVoters: members(c.others)}, c.wanted)
		if len(h.Problems) != c.problems || len(h.Warnings) != c.warnings {
			t.Errorf("%+v: %q, %q", c, h.Problems, h.Warnings)
		}
	}
}
