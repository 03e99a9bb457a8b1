package config

import (
	"testing"
	"time"
)

// A share group would have settings beyond the broker's bounds, begin elsewhere than it says, or be refused what it may have.
func TestShareSettings(t *testing.T) {
	b, err := Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	of := b.ShareSettings()
	if got, want := of(nil), (Share{Lock: 30 * time.Second, Deliveries: 5, Locks: 2000, Renews: true}); got != want {
		t.Errorf("defaults: %+v", got)
	}
	got := of(map[string]string{
		"share.record.lock.duration.ms": "1000", "share.delivery.count.limit": "99", "share.partition.max.record.locks": "300",
		"share.isolation.level": "read_committed", "share.renew.acknowledge.enable": "false", "share.auto.offset.reset": "earliest",
	})
	if want := (Share{Lock: 15 * time.Second, Deliveries: 10, Locks: 300, Committed: true, Reset: Reset{Earliest: true}}); got != want {
		t.Errorf("set: %+v", got)
	}
	for s, ago := range map[string]time.Duration{"latest": 0, "by_duration:P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond, "by_duration:PT90S": 90 * time.Second} {
		if got := parseReset(s); got.Ago != ago || got.Earliest {
			t.Errorf("%s: %+v", s, got)
		}
	}
	for name, c := range map[string]struct {
		key, value string
		ok         bool
	}{
		"lock":        {"share.record.lock.duration.ms", "15000", true},
		"short lock":  {"share.record.lock.duration.ms", "14999", false},
		"deliveries":  {"share.delivery.count.limit", "10", true},
		"many":        {"share.delivery.count.limit", "11", false},
		"few locks":   {"share.partition.max.record.locks", "99", false},
		"session":     {"share.session.timeout.ms", "50000", true},
		"long beat":   {"share.heartbeat.interval.ms", "15001", false},
		"of consumer": {"consumer.heartbeat.interval.ms", "15001", false},
		"of streams":  {"streams.session.timeout.ms", "60001", false},
		"interval":    {"streams.assignment.interval.ms", "15000", true},
		"rarely":      {"streams.assignment.interval.ms", "15001", false},
		"standbys":    {"streams.num.standby.replicas", "2", true},
		"too many":    {"streams.num.standby.replicas", "3", false},
		"delay":       {"streams.initial.rebalance.delay.ms", "600000", true},
	} {
		set := map[string]string{c.key: c.value}
		if err := b.CheckGroup(set, set); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
