package config

import (
	"fmt"
	"strconv"
	"time"
)

// CheckGroup tells whether a group may have the overrides in all, of which those in changed are new. New ones are within this broker's
// bounds; older ones, which other bounds may have admitted, count as the nearest that is, as they do for members.
func (b *Broker) CheckGroup(changed, all map[string]string) error {
	for _, protocol := range []string{"consumer", "share", "streams"} {
		session, err := b.ofGroup(protocol, "session.timeout.ms", changed, all)
		if err != nil {
			return err
		}
		beat, err := b.ofGroup(protocol, "heartbeat.interval.ms", changed, all)
		if err != nil {
			return err
		}
		if beat >= session {
			return fmt.Errorf("%s.heartbeat.interval.ms would be %d, which leaves no time for a heartbeat in %s.session.timeout.ms, which would be %d", protocol, beat, protocol, session)
		}
	}
	for _, what := range []string{lockKey, deliveriesKey, locksKey} {
		if _, err := b.ofGroup("share", what, changed, all); err != nil {
			return err
		}
	}
	if _, err := b.ofGroup("streams", "assignment.interval.ms", changed, all); err != nil {
		return err
	}
	most := b.Int("group.streams.max.standby.replicas")
	if s, set := changed["streams.num.standby.replicas"]; set {
		if n, err := strconv.ParseInt(s, 10, 64); err != nil || n > most {
			return fmt.Errorf("streams.num.standby.replicas is %.20q: it must be at most %d, which is the broker's group.streams.max.standby.replicas", s, most)
		}
	}
	return nil
}

// What share groups may set beyond what groups of consumers may.
const (
	lockKey       = "record.lock.duration.ms"
	deliveriesKey = "delivery.count.limit"
	locksKey      = "partition.max.record.locks"
)

// ofGroup is the value that a group of a protocol would have.
func (b *Broker) ofGroup(protocol, what string, changed, all map[string]string) (int64, error) {
	name, low, high := protocol+"."+what, "group."+protocol+".min."+what, "group."+protocol+".max."+what
	value, set := all[name]
	if !set {
		return b.Int("group." + protocol + "." + what), nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is %q: it must be a whole number", name, value)
	}
	bounded := min(max(n, b.Int(low)), b.Int(high))
	if _, given := changed[name]; given && n != bounded {
		return 0, fmt.Errorf("%s is %d: it must be between %d and %d, which are the broker's %s and %s", name, n, b.Int(low), b.Int(high), low, high)
	}
	return bounded, nil
}

// Share are the settings of a share group's shares.
type Share struct {
	Lock       time.Duration
	Deliveries int
	Locks      int
	Committed  bool // it is not given what is not committed
	Renews     bool
	Reset      Reset
}

// Reset is where a group begins: at the latest offset, at the earliest, or Ago.
type Reset struct {
	Earliest bool
	Ago      time.Duration // 0: none
}

// ShareSettings makes a function of a group's overrides, out of the broker's defaults and bounds as they are now; they are read-only. It allocates
// nothing.
func (b *Broker) ShareSettings() func(overrides map[string]string) Share {
	bounded := func(what string) func(map[string]string) int {
		of, low, high := b.Int("group.share."+what), b.Int("group.share.min."+what), b.Int("group.share.max."+what)
		key := "share." + what
		return func(overrides map[string]string) int {
			n := of
			if s, ok := overrides[key]; ok {
				if set, err := strconv.ParseInt(s, 10, 64); err == nil {
					n = set
				}
			}
			return int(min(max(n, low), high))
		}
	}
	lock, deliveries, locks := bounded(lockKey), bounded(deliveriesKey), bounded(locksKey)
	return func(overrides map[string]string) Share {
		return Share{
			Lock: time.Duration(lock(overrides)) * time.Millisecond, Deliveries: deliveries(overrides), Locks: locks(overrides),
			Committed: overrides["share.isolation.level"] == "read_committed", Renews: overrides["share.renew.acknowledge.enable"] != "false",
			Reset: parseReset(overrides["share.auto.offset.reset"]),
		}
	}
}

// parseReset reads what offsetReset lets pass; "" is the default.
func parseReset(s string) Reset {
	m := isoDuration.FindStringSubmatch(trimDuration(s))
	if m == nil {
		return Reset{Earliest: s == "earliest"}
	}
	var r Reset
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if n, err := strconv.ParseFloat(m[i+1], 64); err == nil {
			r.Ago += time.Duration(n * float64(unit))
		}
	}
	return r
}
