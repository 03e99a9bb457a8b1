package config

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Scope is whose key it is. One name may be a key of two scopes
// (min.insync.replicas of a topic and, as its default, of the broker).
type Scope int8

// The scopes.
const (
	TopicScope Scope = iota
	BrokerScope
	GroupScope
	ClientMetricsScope
)

func (s Scope) String() string {
	return [...]string{"topic", "broker", "group", "client metrics subscription"}[s]
}

// Type is a key's type in the numbering of DescribeConfigs.
type Type int8

// The types (KIP-226, ConfigDef.Type).
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

func (t Type) String() string {
	return [...]string{"", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}[t]
}

// Key is one configuration key. Values are shared; they are not to be changed.
type Key struct {
	Name    string
	Scope   Scope
	Type    Type
	Default string // "" where nothing is set by default
	Doc     string
	// Valid says in words which values are allowed, for messages and docs; "" when the type says it all.
	Valid     string
	Sensitive bool
	// ReadOnly marks a broker key that only the file (or environment, or --set) sets, at the start.
	ReadOnly bool
	// Synonym is the first of Synonyms: for a topic key, the broker key that gives its default.
	Synonym string
	// Synonyms are the broker keys that give the value when this one is not set, the strongest first.
	Synonyms []Alias
	// Check tells whether a value of the right type is allowed, in words that follow "must be".
	Check func(value string) error
	// PerListener marks a broker key that each listener may set for itself, as listener.name.NAME.KEY.
	PerListener bool
	// Accepted says why the key is taken and reported but has no effect; "" for keys that act.
	Accepted string
}

// Alias is another key that gives a key's value, times Factor
// (log.retention.hours gives retention.ms, times 3,600,000). Negative values,
// which mean "without limit", are not multiplied.
type Alias struct {
	Name   string
	Factor int64 // 0 as 1
}

// registry holds the keys of each scope, sorted by name.
var registry = [...]scopeKeys{
	TopicScope:  index(TopicScope, topicKeys()),
	BrokerScope: index(BrokerScope, brokerKeys()),
	GroupScope:  index(GroupScope, groupKeys()),

	ClientMetricsScope: index(ClientMetricsScope, clientMetricsKeys()),
}

type scopeKeys struct {
	sorted []Key
	byName map[string]*Key
}

func index(s Scope, keys []Key) scopeKeys {
	x := scopeKeys{sorted: keys, byName: make(map[string]*Key, len(keys))}
	sort.Slice(keys, func(i, j int) bool { return keys[i].Name < keys[j].Name })
	for i := range keys {
		k := &keys[i]
		k.Scope = s
		if len(k.Synonyms) > 0 {
			k.Synonym = k.Synonyms[0].Name
		}
		if x.byName[k.Name] != nil {
			panic("config: key " + k.Name + " is registered twice")
		}
		x.byName[k.Name] = k
	}
	return x
}

// Keys lists a scope's keys, sorted by name.
func Keys(s Scope) []Key { return slices.Clone(registry[s].sorted) }

// Lookup finds one key.
func Lookup(s Scope, name string) (Key, bool) {
	if k := find(s, name); k != nil {
		return *k, true
	}
	return Key{}, false
}

// find is a key of the registry, or a listener's own one of it; nil for none.
func find(s Scope, name string) *Key {
	if k := registry[s].byName[name]; k != nil {
		return k
	}
	_, base, ok := cutListener(name)
	if !ok || s != BrokerScope {
		return nil
	}
	general := registry[s].byName[base]
	if general == nil || !general.PerListener {
		return nil
	}
	k := *general
	k.Name, k.Default, k.PerListener = name, "", false
	k.Synonyms, k.Synonym = []Alias{{Name: base}}, base
	return &k
}

// UnknownKeyError is in the chain of an error about a key that does not exist.
type UnknownKeyError struct {
	Scope   Scope
	Name    string
	Nearest string // "" when nothing is near
}

func (e *UnknownKeyError) Error() string {
	if e.Nearest == "" {
		return fmt.Sprintf("unknown %s configuration key %q", e.Scope, shorten(e.Name))
	}
	return fmt.Sprintf("unknown %s configuration key %q; did you mean %q?", e.Scope, shorten(e.Name), e.Nearest)
}

// Validate checks one assignment; the error names the key, the value (unless
// it is sensitive), and what is allowed.
func Validate(s Scope, name, value string) error {
	k := find(s, name)
	if k == nil {
		return &UnknownKeyError{Scope: s, Name: name, Nearest: Nearest(s, name)}
	}
	return k.validate(value)
}

func (k *Key) validate(value string) error {
	err := checkType(k.Type, value)
	if err == nil && k.Check != nil {
		err = k.Check(value)
	}
	if err == nil {
		return nil
	}
	if k.Sensitive {
		return fmt.Errorf("%s: the value given is not allowed: it must be %w", k.Name, err)
	}
	return fmt.Errorf("%s: %q is not allowed: it must be %w", k.Name, shorten(withoutUser(value)), err)
}

// withoutUser hides NAME:PASSWORD@ of a URL that someone wrote credentials into.
func withoutUser(v string) string {
	scheme, rest, ok := strings.Cut(v, "://")
	if !ok {
		return v
	}
	host, path, _ := strings.Cut(rest, "/")
	i := strings.LastIndexByte(host, '@')
	if i < 0 {
		return v
	}
	if path != "" {
		path = "/" + path
	}
	return scheme + "://…@" + host[i+1:] + path
}

// shorten keeps a message readable whatever was typed.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
