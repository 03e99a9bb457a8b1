package config

import "time"

// Scope is whose key it is.
type Scope int8

const (
	TopicScope Scope = iota
	BrokerScope
	GroupScope
)

// Type is a key's type in Kafka's DescribeConfigs numbering (1 BOOLEAN, 2 STRING, 3 INT, 4 SHORT, 5 LONG, 6 DOUBLE, 7 LIST, 8 CLASS, 9 PASSWORD).
type Type int8

// Key is one configuration key.
type Key struct {
	Name      string
	Scope     Scope
	Type      Type
	Default   string
	Doc       string
	Sensitive bool
	ReadOnly  bool   // broker keys that only the file sets
	Synonym   string // topic keys: the broker key that gives the default (log.retention.ms …)
	Check     func(value string) error
}

// Keys lists a scope's keys, sorted by name. Lookup finds one.
func Keys(s Scope) []Key                      { panic("skeleton") }
func Lookup(s Scope, name string) (Key, bool) { panic("skeleton") }

// Nearest is the known key most like name, for error messages.
func Nearest(s Scope, name string) string { panic("skeleton") }

// Validate checks one assignment; the error names the key, the value, and what is allowed.
func Validate(s Scope, name, value string) error { panic("skeleton") }

// ValidateTopic checks the whole of a topic's overrides together (e.g. local.retention.ms <= retention.ms; cleanup.policy=compact refused until it exists).
func ValidateTopic(overrides map[string]string) error { panic("skeleton") }

// Topic is a topic's effective settings, resolved and typed. Immutable; resolved once per change, not per request.
type Topic struct {
	SegmentBytes                    int64
	SegmentAge                      time.Duration
	SegmentJitter                   time.Duration
	RetentionAge                    time.Duration // < 0: for ever
	RetentionBytes                  int64         // < 0: without limit
	LocalRetentionAge               time.Duration // -2 resolved to RetentionAge
	LocalRetentionBytes             int64
	RemoteStorage                   bool
	RemoteCopyDisable               bool
	MaxMessageBytes                 int32
	Compression                     string // producer, uncompressed, gzip, snappy, lz4, zstd
	CompressionLevel                map[string]int
	LogAppendTime                   bool
	TimestampBefore, TimestampAfter time.Duration // bounds; math.MaxInt64 for none
	MinISR                          int
	UncleanElection                 bool
	Async                           bool // flush.mode=async (Qanat's own key)
	FlushMessages                   int64
	FlushInterval                   time.Duration
	DeleteDelay                     time.Duration
	Preallocate                     bool
	// … owner adds what is missing
}

// Resolve computes a topic's settings: topic override, dynamic broker config (per broker, then cluster default), static broker config, default.
func (b *Broker) Resolve(overrides, dynamicBroker, dynamicDefault map[string]string) *Topic {
	panic("skeleton")
}

// Entry is one key as DescribeConfigs and `config check --explain` report it.
type Entry struct {
	Key      Key
	Value    string
	Source   Source
	Synonyms []Synonym
}
type Source int8 // Kafka's: 1 DYNAMIC_TOPIC, 2 DYNAMIC_BROKER, 3 DYNAMIC_DEFAULT_BROKER, 4 STATIC_BROKER, 5 DEFAULT, 7 CLIENT_METRICS, 8 GROUP
type Synonym struct {
	Name, Value string
	Source      Source
}

// DescribeTopic, DescribeBroker, DescribeGroup list every key of the scope with value, source and synonyms.
func (b *Broker) DescribeTopic(overrides, dynamicBroker, dynamicDefault map[string]string) []Entry {
	panic("skeleton")
}
func (b *Broker) DescribeBroker(dynamicBroker, dynamicDefault map[string]string) []Entry {
	panic("skeleton")
}
func (b *Broker) DescribeGroup(overrides map[string]string) []Entry { panic("skeleton") }

// Broker is the static configuration of one broker: file, then QANAT_* environment, then --set, each key with where it came from.
type Broker struct {
	values map[string]origin
}

// origin: value and "FILE:LINE", "environment QANAT_…", "--set", or "" for the default.
type origin struct{ value, from string }

// Load reads a YAML file (path "" for none), environment (os.Environ form) and sets ("key=value").
// Keys may be flat ("log.segment.bytes: 1") or nested. Unknown keys are errors with line and nearest key; all errors are reported together.
func Load(path string, environ, sets []string) (*Broker, error) { panic("skeleton") }

// Typed getters for registered keys; they panic on a key that is not registered (a bug).
func (b *Broker) String(key string) string          { panic("skeleton") }
func (b *Broker) Int(key string) int64              { panic("skeleton") }
func (b *Broker) Bool(key string) bool              { panic("skeleton") }
func (b *Broker) Duration(key string) time.Duration { panic("skeleton") } // keys in ms
