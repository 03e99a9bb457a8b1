package config

import "time"

// Running is a broker's configuration as it is at one moment: what was set while it runs comes before its file. See Broker for the accessors.
type Running struct {
	broker                        *Broker
	dynamicBroker, dynamicDefault map[string]string
}

// Running is the configuration with the dynamic values of this broker, and of all.
func (b *Broker) Running(dynamicBroker, dynamicDefault map[string]string) Running {
	return Running{b, dynamicBroker, dynamicDefault}
}

// Int is the value of a numeric key.
func (r Running) Int(key string) int64 {
	return whole(key, r.value(key))
}

// Float is the value of a Double key.
func (r Running) Float(key string) float64 {
	return fractional(key, r.value(key))
}

// Duration is the value of a key that counts milliseconds.
func (r Running) Duration(key string) time.Duration { return milliseconds(r.Int(key)) }

func (r Running) value(key string) string {
	return r.broker.DynamicOf(key, r.dynamicBroker, r.dynamicDefault)
}
