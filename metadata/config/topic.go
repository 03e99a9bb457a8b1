package config

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Topic is a topic's effective settings, resolved and typed. Immutable; resolved once per change, not per request.
type Topic struct {
	SegmentBytes                    int64
	SegmentAge                      time.Duration
	SegmentJitter                   time.Duration
	RetentionAge                    time.Duration // < 0: for ever
	RetentionBytes                  int64         // < 0: without limit
	LocalRetentionAge               time.Duration // -2 resolved to RetentionAge, and never above it
	LocalRetentionBytes             int64         // -2 resolved to RetentionBytes, and never above it
	RemoteStorage                   bool          // false for every topic of a broker without a bucket
	RemoteCopyDisable               bool
	MaxMessageBytes                 int32
	Compression                     string         // producer, uncompressed, gzip, snappy, lz4, zstd
	CompressionLevel                map[string]int // of gzip, lz4 and zstd; not to be changed
	LogAppendTime                   bool
	TimestampBefore, TimestampAfter time.Duration // bounds; math.MaxInt64 for none
	MinISR                          int
	UncleanElection                 bool
	Async                           bool // flush.mode=async (Qanat's own key)
	FlushMessages                   int64
	FlushInterval                   time.Duration
	DeleteDelay                     time.Duration
	Preallocate                     bool
	Compact                         bool          // the last record of each key is kept; such a topic is not tiered
	Delete                          bool          // retention counts; without it RetentionAge and RetentionBytes are < 0
	MinCompactionLag                time.Duration // a record is not compacted before
	MaxCompactionLag                time.Duration // and at the latest then; math.MaxInt64: never for that alone
	DirtyRatio                      float64
	DeleteRetention                 time.Duration // of tombstones
}

// Resolve computes a topic's settings: topic override, dynamic broker config
// (per broker, then cluster default), static broker config, default. A stored
// value that this version does not allow is passed over, as if it were not set.
func (b *Broker) Resolve(overrides, dynamicBroker, dynamicDefault map[string]string) *Topic {
	r := resolver{b, overrides, dynamicBroker, dynamicDefault}
	t := &Topic{
		SegmentBytes:    r.int("segment.bytes"),
		SegmentAge:      r.duration("segment.ms"),
		SegmentJitter:   r.duration("segment.jitter.ms"),
		RetentionAge:    r.duration("retention.ms"),
		RetentionBytes:  r.int("retention.bytes"),
		RemoteStorage:   r.bool("remote.storage.enable") && b.HasBucket(),
		MaxMessageBytes: int32(r.int("max.message.bytes")),
		Compression:     r.value("compression.type"),
		CompressionLevel: map[string]int{
			"gzip": int(r.int("compression.gzip.level")),
			"lz4":  int(r.int("compression.lz4.level")),
			"zstd": int(r.int("compression.zstd.level")),
		},
		RemoteCopyDisable: r.bool("remote.log.copy.disable"),
		LogAppendTime:     r.value("message.timestamp.type") == "LogAppendTime",
		TimestampBefore:   r.duration("message.timestamp.before.max.ms"),
		TimestampAfter:    r.duration("message.timestamp.after.max.ms"),
		MinISR:            int(r.int("min.insync.replicas")),
		UncleanElection:   r.bool("unclean.leader.election.enable"),
		Async:             r.value("flush.mode") == "async",
		FlushMessages:     r.int("flush.messages"),
		FlushInterval:     r.duration("flush.ms"),
		DeleteDelay:       r.duration("file.delete.delay.ms"),
		Preallocate:       r.bool("preallocate"),
		Compact:           slices.Contains(SplitList(r.value("cleanup.policy")), policyCompact),
		Delete:            slices.Contains(SplitList(r.value("cleanup.policy")), policyDelete),
		MinCompactionLag:  r.duration("min.compaction.lag.ms"),
		MaxCompactionLag:  r.duration("max.compaction.lag.ms"),
		DirtyRatio:        r.float("min.cleanable.dirty.ratio"),
		DeleteRetention:   r.duration("delete.retention.ms"),
	}
	if t.Compact {
		// What is in the bucket is never rewritten: only on the local disk is there one record for each key.
		t.RemoteStorage = false
		t.SegmentAge = min(t.SegmentAge, t.MaxCompactionLag)
	}
	if !t.Delete {
		t.RetentionAge, t.RetentionBytes = -1, -1
	}
	t.LocalRetentionAge = time.Duration(localLimit(int64(r.duration("local.retention.ms")), int64(t.RetentionAge), int64(milliseconds(-2))))
	t.LocalRetentionBytes = localLimit(r.int("local.retention.bytes"), t.RetentionBytes, -2)
	if !t.RemoteStorage {
		// The disk is the only place, so nothing may leave it before its time.
		t.LocalRetentionAge, t.LocalRetentionBytes = t.RetentionAge, t.RetentionBytes
	}
	return t
}

// Durability is what of a topic's settings decides who may lead, as Resolve would give it. What a single broker overrides
// for itself does not count: who may lead is the same wherever it is decided.
func (b *Broker) Durability(overrides, dynamicDefault map[string]string) (minISR int, unclean, async bool) {
	r := resolver{b, overrides, nil, dynamicDefault}
	return int(r.int("min.insync.replicas")), r.bool("unclean.leader.election.enable"), r.value("flush.mode") == "async"
}

// Dynamic is a broker key's value for all brokers together: the cluster's dynamic one, then the file's, then the default.
func (b *Broker) Dynamic(name string, dynamicDefault map[string]string) string {
	return b.DynamicOf(name, nil, dynamicDefault)
}

// DynamicOf is a broker key's value for one broker: its own dynamic one before those of Dynamic.
func (b *Broker) DynamicOf(name string, dynamicBroker, dynamicDefault map[string]string) string {
	k := registry[BrokerScope].byName[name]
	if k == nil {
		panic("config: " + name + " is not a broker key")
	}
	return resolver{b, nil, dynamicBroker, dynamicDefault}.chain(k)[0].Value
}

// localLimit is what may stay local: same stands for the total's limit,
// negatives for no limit of its own, and the total's limit always holds.
func localLimit(local, total, same int64) int64 {
	if local == same || local < 0 {
		return total
	}
	if total >= 0 {
		return min(local, total)
	}
	return local
}

// resolver looks a topic key up through all that may set it.
type resolver struct {
	b                                        *Broker
	overrides, dynamicBroker, dynamicDefault map[string]string
}

func (r resolver) value(name string) string {
	k := registry[TopicScope].byName[name]
	if k == nil {
		panic("config: " + name + " is not a topic key")
	}
	return r.chain(k)[0].Value
}

func (r resolver) int(name string) int64 {
	return whole(name, r.value(name))
}

func (r resolver) float(name string) float64 {
	return fractional(name, r.value(name))
}

func (r resolver) bool(name string) bool { return r.value(name) == "true" }

func (r resolver) duration(name string) time.Duration { return milliseconds(r.int(name)) }

// ValidateTopic checks the overrides that a topic shall have, of which those of the changed keys are new, or are taken away: each
// new value, and with it those that must agree, as they are or as this broker gives them. What stood before is in the way of no
// other change: this broker's values may have been others then, or another broker's. All errors are reported together.
//
// As in Kafka (LogConfig.validateTopicLogConfigValues), bounds of what stays local count only where the topic goes to a bucket.
func (b *Broker) ValidateTopic(changed []string, overrides, dynamicBroker, dynamicDefault map[string]string) error {
	var errs []error
	for _, name := range slices.Sorted(slices.Values(changed)) {
		if value, set := overrides[name]; set {
			if err := Validate(TopicScope, name, value); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if errs == nil {
		errs = together{
			resolver: resolver{b, overrides, dynamicBroker, dynamicDefault},
			changed:  func(k *Key) bool { return slices.Contains(changed, k.Name) },
			given:    func(s Source) bool { return s == DynamicTopic },
			tiered:   true,
		}.check()
	}
	return errors.Join(errs...)
}

// ValidateDefaults is ValidateTopic for what brokers give to topics: dynamicBroker and dynamicDefault are as they shall be, the changed
// keys are brokers'. As in Kafka (DynamicLogConfig), bounds of what stays local count whether or not there is a bucket.
func (b *Broker) ValidateDefaults(changed []string, dynamicBroker, dynamicDefault map[string]string) error {
	errs := together{
		resolver: resolver{b, nil, dynamicBroker, dynamicDefault},
		changed: func(k *Key) bool {
			return slices.ContainsFunc(k.Synonyms, func(a Alias) bool { return slices.Contains(changed, a.Name) })
		},
		given: func(s Source) bool { return s != Default },
	}.check()
	for i := range errs {
		errs[i] = fmt.Errorf("defaults of topics: %w", errs[i])
	}
	return errors.Join(errs...)
}

// together holds keys that bound each other against each other.
type together struct {
	resolver
	changed func(*Key) bool   // only what one of these is part of is checked
	given   func(Source) bool // a value of such a source is somebody's will; others give way by themselves
	tiered  bool              // bounds of what stays local count only where there is a bucket
}

func (t together) check() (errs []error) {
	const remote, policy = "remote.storage.enable", "cleanup.policy"
	wanted := t.isGiven(remote) && t.bool(remote)
	compact := slices.Contains(SplitList(t.value(policy)), policyCompact)
	if wanted && !t.b.HasBucket() && t.touched(remote) {
		errs = append(errs, errors.New("remote.storage.enable: true is not allowed: this broker has no bucket to keep segments in; give it one (bucket.url), or leave the key out: where there is a bucket, true is the default"))
	}
	// By default a compacted topic stays local by itself.
	if wanted && compact && t.touched(remote, policy) {
		errs = append(errs, errCompactedRemote)
	}
	if !t.tiered || t.bool(remote) && t.b.HasBucket() && !compact {
		errs = t.local(errs, "local.retention.ms", "retention.ms", remote, policy)
		errs = t.local(errs, "local.retention.bytes", "retention.bytes", remote, policy)
	}
	if small, large := "min.compaction.lag.ms", "max.compaction.lag.ms"; t.touched(small, large) {
		errs = within(errs, small, t.int(small), large, t.int(large))
	}
	return errs
}

// local holds what may stay local against the total: where it is given, and any of the two or of what they hang on has changed.
func (t together) local(errs []error, small, large string, on ...string) []error {
	if !t.isGiven(small) || !t.touched(append(on, small, large)...) {
		return errs
	}
	return within(errs, small, t.int(small), large, t.int(large))
}

func (t together) isGiven(name string) bool {
	return t.given(t.chain(registry[TopicScope].byName[name])[0].Source)
}

func (t together) touched(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return t.changed(registry[TopicScope].byName[name]) })
}

var errCompactedRemote = errors.New("remote.storage.enable: true is not allowed for a compacted topic, which stays on the local disk; leave it out or set false")

// within adds an error where a is beyond z. As a, -2 is as much as z; as z, -1 is without limit.
func within(errs []error, small string, a int64, large string, z int64) []error {
	if z == -1 || a == -2 || a >= 0 && a <= z {
		return errs
	}
	return append(errs, fmt.Errorf("%s: %d is not allowed: it must not exceed %s, which is %d", small, a, large, z))
}
