package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Assignment is one key set to one value, and From, which says by whom.
type Assignment struct{ Key, Value, From string }

// maxFileBytes bounds the file: a configuration is a few kilobytes.
const maxFileBytes = 4 << 20

// Load reads a YAML file (path "" for none), environment (os.Environ form) and sets ("key=value"); the later win.
// Keys may be flat ("log.segment.bytes: 1") or nested. Unknown keys are errors
// with line and nearest key; all errors are reported together.
func Load(path string, environ, sets []string) (*Broker, error) {
	return Sources{File: path, Environ: environ, Sets: sets}.Load()
}

// Sources are where values come from; the later fields win.
type Sources struct {
	Base    []Assignment // what a command gives instead of the defaults
	File    string       // a YAML file, or ""
	Environ []string     // in os.Environ's form
	Flags   []Assignment // flags that have a key
	Sets    []string     // KEY=VALUE
}

// Load reads all of them, as the function Load does.
func (s Sources) Load() (*Broker, error) {
	l := loader{values: map[string]origin{}}
	l.assignments(s.Base)
	if s.File != "" {
		l.file(s.File)
	}
	l.environ(s.Environ)
	l.assignments(s.Flags)
	l.sets(s.Sets)
	b := &Broker{values: l.values}
	if len(l.errs) == 0 {
		l.errs = append(l.errs, b.check()...)
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return b, nil
}

// loader collects values and errors.
type loader struct {
	values map[string]origin
	errs   []error
}

func (l *loader) fail(from string, err error) {
	l.errs = append(l.errs, fmt.Errorf("%s: %w", from, err))
}

func (l *loader) assignments(list []Assignment) {
	for _, a := range list {
		l.assign(a.Key, a.Value, a.From)
	}
}

// assign sets a key. A later layer's value by one name takes the place of an
// earlier layer's by another: --set node.id wins over the file's broker.id.
func (l *loader) assign(key, value, from string) {
	if err := Validate(BrokerScope, key, value); err != nil {
		l.fail(from, err)
		return
	}
	if _, _, own := cutListener(key); own {
		l.values[key] = origin{value, from} // it goes over the general key, whoever has set that
		return
	}
	for _, a := range registry[BrokerScope].byName[key].Synonyms {
		if old, ok := l.values[a.Name]; ok && layer(old.from) != layer(from) {
			delete(l.values, a.Name)
		}
	}
	// The finer key's synonyms point at the coarser; the reverse has to be looked for.
	for name, old := range l.values {
		if _, _, own := cutListener(name); own {
			continue
		}
		for _, a := range registry[BrokerScope].byName[name].Synonyms {
			if a.Name == key && layer(old.from) != layer(from) {
				delete(l.values, name)
			}
		}
	}
	l.values[key] = origin{value, from}
}

// layer is the part of an origin that is the same for all values of one file, the environment, or --set.
func layer(from string) string {
	if word, _, ok := strings.Cut(from, " "); ok && word == "environment" {
		return word
	}
	if i := strings.LastIndexByte(from, ':'); i >= 0 {
		return from[:i]
	}
	return from
}

func (l *loader) file(path string) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFileBytes {
		err = fmt.Errorf("the file has %d bytes; a configuration has at most %d", info.Size(), maxFileBytes)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("read configuration: %w", err))
		return
	}
	l.yaml(path, text)
}

// environ reads QANAT_* variables: QANAT_LOG_SEGMENT_BYTES is log.segment.bytes.
func (l *loader) environ(environ []string) {
	sorted := slices.Clone(environ)
	slices.Sort(sorted)
	for _, pair := range sorted {
		name, value, ok := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, "QANAT_")
		if !ok || !ours || slices.Contains(clientVariables, name) {
			continue
		}
		l.assign(strings.ReplaceAll(strings.ToLower(rest), "_", "."), value, "environment "+name)
	}
}

// clientVariables belong to the command line's client half.
var clientVariables = []string{"QANAT_BROKERS", "QANAT_ADMIN", "QANAT_TLS", "QANAT_TLS_CA", "QANAT_TLS_CERT", "QANAT_TLS_KEY", "QANAT_TLS_SERVER_NAME"}

func (l *loader) sets(sets []string) {
	for _, s := range sets {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			l.fail("--set "+shorten(s), errors.New("must be KEY=VALUE"))
			continue
		}
		l.assign(strings.TrimSpace(key), strings.TrimSpace(value), "--set")
	}
}

// check compares keys that must agree with each other.
func (b *Broker) check() []error {
	var errs []error
	fail := func(key, format string, args ...any) {
		from := b.From(key)
		if from != "" {
			from += ": "
		}
		errs = append(errs, fmt.Errorf("%s%s: %s", from, key, fmt.Sprintf(format, args...)))
	}
	b.checkGroups(fail)
	b.checkTiers(fail)
	b.checkListeners(fail)
	return append(errs, b.checkTopics()...)
}

// failure notes what is wrong with a key, and where its value comes from.
type failure func(key, format string, args ...any)

func (b *Broker) checkTiers(fail failure) {
	if o, ok := b.values["log.remote.storage.enable"]; ok && o.value == "true" && !b.HasBucket() {
		fail("log.remote.storage.enable", "there is no bucket to keep segments in; set bucket.url")
	}
	if low, high := b.Int("tier.readahead.min.bytes"), b.Int("tier.readahead.max.bytes"); low > high {
		fail("tier.readahead.min.bytes", "%d exceeds tier.readahead.max.bytes, which is %d", low, high)
	}
	if low, high := b.Int("tier.fetch.range.bytes"), b.Int("tier.fetch.inflight.bytes"); low > high {
		fail("tier.fetch.range.bytes", "%d exceeds tier.fetch.inflight.bytes, which is %d", low, high)
	}
}

func (b *Broker) checkGroups(fail failure) {
	if low, high := b.Int("group.min.session.timeout.ms"), b.Int("group.max.session.timeout.ms"); low > high {
		fail("group.min.session.timeout.ms", "%d exceeds group.max.session.timeout.ms, which is %d", low, high)
	}
	for _, what := range []string{"consumer.session.timeout", "consumer.heartbeat.interval", "streams.session.timeout", "streams.heartbeat.interval", "streams.assignment.interval"} {
		protocol, what, _ := strings.Cut(what, ".")
		key := func(bound string) string { return "group." + protocol + "." + bound + what + ".ms" }
		if low, at, high := b.Int(key("min.")), b.Int(key("")), b.Int(key("max.")); at < low || at > high {
			fail(key(""), "%d is not between %s, which is %d, and %s, which is %d", at, key("min."), low, key("max."), high)
		}
	}
	for _, protocol := range []string{"consumer", "streams"} {
		beats, sessions := "group."+protocol+".heartbeat.interval.ms", "group."+protocol+".session.timeout.ms"
		if beat, session := b.Int(beats), b.Int(sessions); beat >= session {
			fail(beats, "%d leaves no time for a heartbeat in %s, which is %d", beat, sessions, session)
		}
	}
	if n, most := b.Int("group.streams.num.standby.replicas"), b.Int("group.streams.max.standby.replicas"); n > most {
		fail("group.streams.num.standby.replicas", "%d exceeds group.streams.max.standby.replicas, which is %d", n, most)
	}
}

func (b *Broker) checkListeners(fail failure) {
	names := map[string]bool{}
	listeners, err := parseListeners(b.String("listeners"))
	if err != nil {
		panic("config: listeners were checked before: " + err.Error())
	}
	for _, l := range listeners {
		names[l.Name] = true
		if _, err := b.security(l.Name); err != nil {
			fail("listeners", "%v", err)
		}
	}
	for key := range b.values {
		if name, base, ok := cutListener(key); ok && !names[name] && name != ClusterListener && name != AdminListener {
			fail(key, "there is no listener %s; listeners has %s, and cluster and admin are the names of cluster.listener and admin.listener for %s", name, b.String("listeners"), base)
		}
	}
	advertised, err := parseListeners(b.String("advertised.listeners"))
	if err != nil {
		panic("config: advertised.listeners were checked before: " + err.Error())
	}
	for _, l := range advertised {
		if !names[l.Name] {
			fail("advertised.listeners", "%s is no listener; listeners has %s", l.Name, b.String("listeners"))
		}
	}
}

// checkTopics checks the defaults that the broker has for topics. That tiering needs a bucket is checkTiers' to say.
func (b *Broker) checkTopics() []error {
	var set []string
	for name := range b.values {
		if name != "log.remote.storage.enable" {
			set = append(set, name)
		}
	}
	if err := b.ValidateDefaults(set, nil, nil); err != nil {
		return []error{err}
	}
	return nil
}
