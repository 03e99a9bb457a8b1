package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Broker is the static configuration of one broker: file, then QANAT_*
// environment, then --set, each value with where it came from. Immutable and valid.
type Broker struct {
	values map[string]origin
}

// origin is a value, and "FILE:LINE", "environment QANAT_…", "--set" or another
// word for where it came from.
type origin struct{ value, from string }

// Typed getters for registered keys; they panic on a key that is not registered, or is of another type (a bug).

// String is the key's value: its own, its synonyms', or the default.
func (b *Broker) String(key string) string {
	k := b.key(key)
	if o, ok := b.static(k); ok {
		return o.value
	}
	return b.defaultOf(k)
}

// Int is the value of a numeric key. It panics where the value is empty by default.
func (b *Broker) Int(key string) int64 {
	return whole(key, b.String(key))
}

// Float is the value of a Double key.
func (b *Broker) Float(key string) float64 {
	return fractional(key, b.String(key))
}

// whole and fractional read the value of a key, which was checked when it was set.
func whole(key, value string) int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		panic("config: " + key + " is not a number")
	}
	return n
}

func fractional(key, value string) float64 {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		panic("config: " + key + " is not a number")
	}
	return f
}

// Bool is the value of a boolean key.
func (b *Broker) Bool(key string) bool {
	if k := b.key(key); k.Type != Boolean {
		panic("config: " + key + " is not boolean")
	}
	return b.String(key) == "true"
}

// Duration is the value of a key in milliseconds (or, by its name, minutes or
// hours). Values beyond what a Duration can hold, "never" in Kafka, are its maximum.
func (b *Broker) Duration(key string) time.Duration {
	return milliseconds(clampMul(b.Int(key), unitFactor(key)))
}

// Strings is the value of a list key.
func (b *Broker) Strings(key string) []string { return SplitList(b.String(key)) }

// From says where the key's value came from: "FILE:LINE", "environment
// QANAT_…", "--set", or "" for the default.
func (b *Broker) From(key string) string {
	o, _ := b.static(b.key(key))
	return o.from
}

// DataDir is the directory that holds everything local, under whichever of its names it was set.
func (b *Broker) DataDir() string { return b.String("data.dir") }

func (b *Broker) key(name string) *Key {
	k := find(BrokerScope, name)
	if k == nil {
		panic("config: " + name + " is not a broker key")
	}
	return k
}

// static is what file, environment or --set say of k: by its own name, or by a synonym's.
func (b *Broker) static(k *Key) (origin, bool) {
	if o, ok := b.values[k.Name]; ok {
		return o, true
	}
	for _, alias := range k.Synonyms {
		if o, ok := b.values[alias.Name]; ok {
			o.value = alias.convert(o.value)
			return o, true
		}
	}
	return origin{}, false
}

// defaultOf is k's value when nobody set it: the registry's, but for what depends on other keys.
func (b *Broker) defaultOf(k *Key) string {
	switch {
	case k.Name == "log.remote.storage.enable" && !b.HasBucket():
		return "false"
	case k.Default == "" && len(k.Synonyms) > 0:
		// log.dirs is what data.dir says, broker.id what node.id says.
		return b.key(k.Synonyms[len(k.Synonyms)-1].Name).Default
	}
	return k.Default
}

// HasBucket tells whether there is anywhere for closed segments to go.
func (b *Broker) HasBucket() bool { return b.values["bucket.url"].value != "" }

// convert turns the value of a synonym into the key's unit.
func (a Alias) convert(v string) string {
	if a.Factor <= 1 {
		return v
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("config: %s=%q was checked at load", a.Name, v))
	}
	return strconv.FormatInt(clampMul(n, a.Factor), 10)
}

// clampMul multiplies, but leaves negatives (without limit) alone and stops at the largest number.
func clampMul(n, factor int64) int64 {
	switch {
	case n < 0 || factor <= 1:
		return n
	case n > math.MaxInt64/factor:
		return math.MaxInt64
	}
	return n * factor
}

// milliseconds is ms as a duration; what does not fit is the longest one.
func milliseconds(ms int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Millisecond)
	switch {
	case ms > most:
		return math.MaxInt64
	case ms < -most:
		return math.MinInt64
	}
	return time.Duration(ms) * time.Millisecond
}
