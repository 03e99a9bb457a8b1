package config

import (
	"fmt"
	"strconv"
)

// CheckGroup tells whether a group may have the overrides in all, of which those in changed are new. New ones are within this broker's
// bounds; older ones, which other bounds may have admitted, count as the nearest that is, as they do for members.
func (b *Broker) CheckGroup(changed, all map[string]string) error {
	session, err := b.ofGroup("session.timeout.ms", changed, all)
	if err != nil {
		return err
	}
	beat, err := b.ofGroup("heartbeat.interval.ms", changed, all)
	if err != nil {
		return err
	}
	if beat >= session {
		return fmt.Errorf("consumer.heartbeat.interval.ms would be %d, which leaves no time for a heartbeat in consumer.session.timeout.ms, which would be %d", beat, session)
	}
	return nil
}

// ofGroup is the value that a group of the consumer protocol would have.
func (b *Broker) ofGroup(what string, changed, all map[string]string) (int64, error) {
	name, low, high := "consumer."+what, "group.consumer.min."+what, "group.consumer.max."+what
	value, set := all[name]
	if !set {
		return b.Int("group.consumer." + what), nil
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
