package config

import (
	"strconv"
	"strings"
)

// maxLong is how Kafka writes "never" and "without limit" in keys that are not negative.
const maxLong = "9223372036854775807"

// Units of the tables.
const (
	second = 1000 // in milliseconds
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
	kiB    = 1 << 10
	miB    = 1 << 20
	giB    = 1 << 30
)

// option completes a key of the tables.
type option func(*Key)

func define(name string, t Type, value, doc string, options ...option) Key {
	k := Key{Name: name, Type: t, Default: value, Doc: doc}
	for _, o := range options {
		o(&k)
	}
	return k
}

// number is a numeric default.
func number(n int64) string { return strconv.FormatInt(n, 10) }

// allow sets what is valid.
func allow(r rule) option {
	return func(k *Key) { k.Valid, k.Check = r.valid, r.check }
}

// from names the broker keys that give the value when the key itself is not set, the strongest first.
func from(names ...string) option {
	return func(k *Key) {
		for _, n := range names {
			k.Synonyms = append(k.Synonyms, Alias{Name: n, Factor: unitFactor(n)})
		}
	}
}

// unitFactor is what a coarser unit in a key's name is worth in milliseconds.
func unitFactor(name string) int64 {
	switch {
	case strings.HasSuffix(name, ".minutes"):
		return minute
	case strings.HasSuffix(name, ".hours"):
		return hour
	}
	return 1
}

// readOnly marks a key that only a restart changes.
func readOnly(k *Key) { k.ReadOnly = true }

// sensitive marks a key whose value is never shown.
func sensitive(k *Key) { k.Sensitive = true }

// inert says why a key is taken and reported, but changes nothing.
func inert(why string) option {
	return func(k *Key) { k.Accepted = why }
}

// Reasons for inert keys.
const (
	oneVolume   = "A broker keeps all its data on one volume: nothing is moved between directories."
	ownIndex    = "The index is a cache with a spacing of its own (64 KiB)."
	groupCommit = "Writes are made durable in groups before they are acknowledged (flush.mode); there is no interval to choose."
)
