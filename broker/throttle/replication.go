package throttle

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Replication is one broker's quotas and for whom they hold. A nil one bounds nothing. Safe for concurrent use.
type Replication struct {
	node     kafka.BrokerID
	settings *config.Broker
	image    func() *image.Image

	leader, follower           *Quota // Kafka's
	movesLeader, movesFollower *Quota

	mu    sync.Mutex // held by Follow
	rules atomic.Pointer[rules]
}

// rules are what the configuration says. Immutable.
type rules struct {
	any, moves        bool // a rate is set at all; the one for moves is
	leading, fetching map[string]config.ThrottledReplicas
}

// New returns quotas that follow the configuration from the first Follow on.
func New(node kafka.BrokerID, settings *config.Broker, image func() *image.Image, clock func() time.Time) *Replication {
	r := &Replication{node: node, settings: settings, image: image}
	for _, q := range []**Quota{&r.leader, &r.follower, &r.movesLeader, &r.movesFollower} {
		*q = NewQuota(clock, window)
	}
	r.rules.Store(&rules{})
	return r
}

// Follow takes in the newest image, when its configurations or topics differ.
func (r *Replication) Follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.image()
	own, defaults := m.Configs(command.Broker, strconv.Itoa(int(r.node))), m.Configs(command.Broker, "")
	next := &rules{}
	rate := func(key string, of ...*Quota) (bounded bool) {
		n, err := strconv.ParseInt(r.settings.DynamicOf(key, own, defaults), 10, 64)
		if bounded = err == nil && n != math.MaxInt64; !bounded {
			n = 0
		} else {
			n = max(n, 1)
		}
		for _, q := range of {
			q.Set(float64(n))
		}
		next.any = next.any || bounded
		return bounded
	}
	next.moves = rate("cluster.moves.max.bytes.per.second", r.movesLeader, r.movesFollower)
	if rate("leader.replication.throttled.rate", r.leader) {
		next.leading = listed(m, "leader.replication.throttled.replicas")
	}
	if rate("follower.replication.throttled.rate", r.follower) {
		next.fetching = listed(m, "follower.replication.throttled.replicas")
	}
	r.rules.Store(next)
}

// listed are the topics that have such a list.
func listed(m *image.Image, key string) map[string]config.ThrottledReplicas {
	found := map[string]config.ThrottledReplicas{}
	m.Topics(func(t *image.Topic) bool {
		if v := m.Configs(command.Topic, t.Name)[key]; v != "" {
			found[t.Name] = config.ParseThrottledReplicas(v)
		}
		return true
	})
	return found
}

// Leading is what bounds what this broker, a partition's leader, sends to a replica.
func (r *Replication) Leading(id kafka.Partition, to kafka.BrokerID) Limit {
	if r == nil {
		return Limit{}
	}
	rules := r.rules.Load()
	return r.limit(rules, id, to, rules.leading, r.leader, r.movesLeader)
}

// Following is what bounds what this broker, a replica, fetches of a partition.
func (r *Replication) Following(id kafka.Partition) Limit {
	if r == nil {
		return Limit{}
	}
	rules := r.rules.Load()
	return r.limit(rules, id, r.node, rules.fetching, r.follower, r.movesFollower)
}

// limit is for the copy that goes to a replica. Kafka's lists name this broker, on whichever side it is.
func (r *Replication) limit(rules *rules, id kafka.Partition, to kafka.BrokerID, listed map[string]config.ThrottledReplicas, own, moves *Quota) (l Limit) {
	if !rules.any {
		return l
	}
	m := r.image()
	p, ok := m.Partition(id)
	if !ok || slices.Contains(p.ISR, to) {
		return l
	}
	if rules.moves && slices.Contains(p.Adding, to) {
		l.quotas[0] = moves
	}
	if t, ok := m.TopicByID(id.Topic); ok && listed[t.Name].Has(id.Index, int32(r.node)) {
		l.quotas[1] = own
	}
	return l
}
