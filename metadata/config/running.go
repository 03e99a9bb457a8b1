package config

import (
	"strconv"
	"time"
)

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
	n, err := strconv.ParseInt(r.value(key), 10, 64)
	if err != nil {
		panic("config: " + key + " is not a number")
	}
	return n
}

// Float is the value of a Double key.
func (r Running) Float(key string) float64 {
	f, err := strconv.ParseFloat(r.value(key), 64)
	if err != nil {
		panic("config: " + key + " is not a number")
	}
	return f
}

// Duration is the value of a key that counts milliseconds.
func (r Running) Duration(key string) time.Duration { return milliseconds(r.Int(key)) }

func (r Running) value(key string) string {
	return r.broker.DynamicOf(key, r.dynamicBroker, r.dynamicDefault)
}
