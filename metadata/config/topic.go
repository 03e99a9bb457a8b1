package config

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
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
	n, err := strconv.ParseInt(r.value(name), 10, 64)
	if err != nil {
		panic("config: topic key " + name + " is not a number")
	}
	return n
}

func (r resolver) float(name string) float64 {
	f, err := strconv.ParseFloat(r.value(name), 64)
	if err != nil {
		panic("config: topic key " + name + " is not a number")
	}
	return f
}

func (r resolver) bool(name string) bool { return r.value(name) == "true" }

func (r resolver) duration(name string) time.Duration { return milliseconds(r.int(name)) }

// ValidateTopic checks the whole of a topic's overrides: each key and value,
// and those that must agree with each other. All errors are reported together.
func ValidateTopic(overrides map[string]string) error {
	var errs []error
	for _, name := range sortedKeys(overrides) {
		if err := Validate(TopicScope, name, overrides[name]); err != nil {
			errs = append(errs, err)
		}
	}
	if errs == nil {
		errs = checkTogether(func(name string) (string, bool) {
			v, ok := overrides[name]
			return v, ok
		})
	}
	return errors.Join(errs...)
}

// ValidateTopic checks overrides as the function of this name does, and
// against what this broker gives to what they leave out.
func (b *Broker) ValidateTopic(overrides, dynamicBroker, dynamicDefault map[string]string) error {
	if err := ValidateTopic(overrides); err != nil {
		return err
	}
	if overrides["remote.storage.enable"] == "true" && !b.HasBucket() {
		return errors.New("remote.storage.enable: this broker has no bucket to keep segments in (bucket.url)")
	}
	r := resolver{b, overrides, dynamicBroker, dynamicDefault}
	return errors.Join(checkTogether(func(name string) (string, bool) {
		// A local bound is only held against the total when the topic asks for it: the default gives way by itself.
		v, own := overrides[name]
		if own || name == "retention.ms" || name == "retention.bytes" || name == "max.compaction.lag.ms" {
			return r.value(name), true
		}
		return v, false
	})...)
}

// checkTogether compares keys that bound each other. get tells a value and whether it is there.
func checkTogether(get func(string) (string, bool)) []error {
	var errs []error
	less := func(small, large string, unlimited int64) {
		s, ok1 := get(small)
		l, ok2 := get(large)
		if !ok1 || !ok2 {
			return
		}
		a, err1 := strconv.ParseInt(s, 10, 64)
		z, err2 := strconv.ParseInt(l, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			panic("config: checked before: " + err.Error())
		}
		if z == unlimited || a == -2 || a >= 0 && a <= z {
			return
		}
		errs = append(errs, fmt.Errorf("%s: %d is not allowed: it must not exceed %s, which is %d", small, a, large, z))
	}
	if policy, ok := get("cleanup.policy"); ok && slices.Contains(SplitList(policy), policyCompact) {
		if remote, ok := get("remote.storage.enable"); ok && remote == "true" {
			errs = append(errs, errors.New("remote.storage.enable: true is not allowed for a compacted topic, which stays on the local disk; leave it out or set false"))
		}
	}
	less("local.retention.ms", "retention.ms", -1)
	less("local.retention.bytes", "retention.bytes", -1)
	less("min.compaction.lag.ms", "max.compaction.lag.ms", -1)
	return errs
}

func sortedKeys(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return slices.Clip(names)
}
