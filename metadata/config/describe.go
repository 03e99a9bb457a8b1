package config

import (
	"slices"
	"strings"
)

// Source is where a value came from, in the numbering of DescribeConfigs.
type Source int8

// The sources (KIP-226, KIP-714, KIP-848).
const (
	DynamicTopic         Source = 1
	DynamicBroker        Source = 2
	DynamicDefaultBroker Source = 3
	StaticBroker         Source = 4
	Default              Source = 5
	ClientMetrics        Source = 7
	DynamicGroup         Source = 8
)

func (s Source) String() string {
	switch s {
	case DynamicTopic:
		return "topic"
	case DynamicBroker:
		return "broker (dynamic)"
	case DynamicDefaultBroker:
		return "all brokers (dynamic)"
	case StaticBroker:
		return "broker (static)"
	case Default:
		return "default"
	case ClientMetrics:
		return "client metrics"
	case DynamicGroup:
		return "group"
	}
	return "unknown"
}

// Entry is one key as DescribeConfigs and `config check --explain` report it.
type Entry struct {
	Key      Key
	Value    string // "" when Key.Sensitive
	Source   Source
	Synonyms []Synonym // the value's first, then what would hold if it were taken away
	// Null tells that nothing gives a value and none is by default.
	Null bool
	// From is "FILE:LINE", "environment QANAT_…" or "--set" for a static value; for people.
	From string
}

// Synonym is one place that gives a value.
type Synonym struct {
	Name, Value string
	Source      Source
}

// DescribeTopic lists every topic key with value, source and synonyms, sorted by name.
func (b *Broker) DescribeTopic(overrides, dynamicBroker, dynamicDefault map[string]string) []Entry {
	return b.describe(TopicScope, overrides, dynamicBroker, dynamicDefault)
}

// DescribeBroker is DescribeTopic for the broker's own keys.
func (b *Broker) DescribeBroker(dynamicBroker, dynamicDefault map[string]string) []Entry {
	return b.describe(BrokerScope, nil, dynamicBroker, dynamicDefault)
}

// DescribeGroup is DescribeTopic for a group's keys.
func (b *Broker) DescribeGroup(overrides map[string]string) []Entry {
	return b.describe(GroupScope, overrides, nil, nil)
}

// DescribeClientMetrics is DescribeTopic for the keys of a client metrics subscription.
func (b *Broker) DescribeClientMetrics(overrides map[string]string) []Entry {
	return b.describe(ClientMetricsScope, overrides, nil, nil)
}

func (b *Broker) describe(s Scope, overrides, dynamicBroker, dynamicDefault map[string]string) []Entry {
	r := resolver{b, overrides, dynamicBroker, dynamicDefault}
	entries := make([]Entry, 0, len(registry[s].sorted))
	for i := range registry[s].sorted {
		k := &registry[s].sorted[i]
		chain := r.chain(k)
		e := Entry{Key: *k, Value: chain[0].Value, Source: chain[0].Source, Synonyms: chain}
		e.Null = e.Source == Default && e.Value == "" && k.Type != List
		if e.Source == StaticBroker {
			e.From = b.values[chain[0].Name].from
		}
		if k.Sensitive {
			e.Value = ""
			for i := range e.Synonyms {
				e.Synonyms[i].Value = ""
			}
		}
		entries = append(entries, e)
	}
	if s == BrokerScope {
		entries = b.describeListeners(entries)
	}
	return entries
}

// describeListeners adds what listeners have set for themselves, by name.
func (b *Broker) describeListeners(entries []Entry) []Entry {
	for name, o := range b.values {
		if _, _, ok := cutListener(name); !ok {
			continue
		}
		k := find(BrokerScope, name)
		e := Entry{Key: *k, Value: o.value, Source: StaticBroker, From: o.from, Synonyms: []Synonym{{name, o.value, StaticBroker}}}
		if k.Sensitive {
			e.Value, e.Synonyms[0].Value = "", ""
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key.Name, b.Key.Name) })
	return entries
}

// chain is everything that gives k a value, the strongest first; never empty,
// since the default ends it. Values are in k's unit. Stored values that this
// version does not allow are left out.
func (r resolver) chain(k *Key) []Synonym {
	var list []Synonym
	add := func(from map[string]string, name string, factor int64, source Source) {
		v, ok := from[name]
		if !ok {
			return
		}
		if factor > 1 {
			if checkType(Long, v) != nil {
				return
			}
			v = Alias{Factor: factor}.convert(v)
		}
		if k.validate(v) == nil {
			list = append(list, Synonym{name, v, source})
		}
	}
	if k.Scope != BrokerScope {
		add(r.overrides, k.Name, 1, map[Scope]Source{TopicScope: DynamicTopic, GroupScope: DynamicGroup, ClientMetricsScope: ClientMetrics}[k.Scope])
	}
	brokers := k.Synonyms
	if k.Scope == BrokerScope {
		brokers = append([]Alias{{Name: k.Name}}, k.Synonyms...)
	}
	for _, a := range brokers {
		add(r.dynamicBroker, a.Name, a.Factor, DynamicBroker)
	}
	for _, a := range brokers {
		add(r.dynamicDefault, a.Name, a.Factor, DynamicDefaultBroker)
	}
	for _, a := range brokers {
		if o, ok := r.b.values[a.Name]; ok {
			list = append(list, Synonym{a.Name, a.convert(o.value), StaticBroker})
		}
	}
	name, value := k.Name, k.Default
	if len(brokers) > 0 {
		name = brokers[0].Name
		value = r.b.defaultOf(r.b.key(name))
	}
	return append(list, Synonym{name, value, Default})
}
