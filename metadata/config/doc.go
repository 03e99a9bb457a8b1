// Package config is the registry of every configuration key: Kafka's topic, broker and group keys and Qanat's own, each with
// type, default, bounds, meaning, and whether it may change while running; and the broker's configuration file.
package config
