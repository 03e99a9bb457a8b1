package config

import "testing"

// A value that a client may set would break whoever uses it: it has passed the check of its key.
func FuzzValidate(f *testing.F) {
	scopes := []Scope{TopicScope, BrokerScope, GroupScope, ClientMetricsScope}
	for _, seed := range []struct {
		scope      uint8
		key, value string
	}{
		{0, "cleanup.policy", "compact,delete"}, {0, "leader.replication.throttled.replicas", "0:1,*,7:-3"}, {0, "retention.ms", "-9223372036854775808"},
		{0, "compression.zstd.level", "22"}, {0, "min.cleanable.dirty.ratio", "NaN"}, {0, "min.cleanable.dirty.ratio", "1e400"}, {0, "segment.bytes", "0x10"},
		{1, "listeners", "A://[::1]:0,B://:1"}, {1, "listener.security.protocol.map", "A:SSL,,"}, {1, "ssl.principal.mapping.rules", `RULE:^CN=(.*?)$/$1/L,DEFAULT`},
		{2, "share.auto.offset.reset", "by_duration:P1DT-1H"}, {2, "share.auto.offset.reset", "by_duration:P99999999999999D"},
		{3, "match", "client_id=a)|(b"}, {3, "match", "client_id=(,client_id=x"}, {3, "interval.ms", "99"},
	} {
		f.Add(seed.scope, seed.key, seed.value)
	}
	b, err := Sources{}.Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, scope uint8, key, value string) {
		s := scopes[int(scope)%len(scopes)]
		if err := Validate(s, key, value); err != nil {
			if err.Error() == "" {
				t.Error("a refusal without words")
			}
			return
		}
		set := map[string]string{key: value}
		switch s {
		case TopicScope:
			if b.ValidateTopic([]string{key}, set, nil, nil) == nil {
				topic := b.Resolve(set, nil, nil)
				if topic.MinISR < 1 {
					t.Errorf("%s=%q: %d replicas in sync are enough", key, value, topic.MinISR)
				}
			}
			ParseThrottledReplicas(value)
		case BrokerScope:
			_ = b.ValidateDefaults([]string{key}, set, nil)
			_ = b.ValidateDefaults([]string{key}, nil, set)
		case GroupScope:
			if b.CheckGroup(set, set) == nil {
				b.ShareSettings()(set)
			}
		case ClientMetricsScope:
			if key != "match" {
				return
			}
			if _, err := ParseClientMatch(value); err != nil {
				t.Errorf("%q was allowed, and cannot be read: %v", value, err)
			}
		}
	})
}
