// Package config is the registry of every configuration key, and the
// broker's own configuration.
//
//	           registry: topicKeys, brokerKeys, groupKeys (one table each)
//	                │ name, type, default, what is valid, meaning, synonyms
//	   ┌────────────┼──────────────────┬───────────────────────┐
//	Validate*    Load                Resolve                Describe*        Markdown
//	(an admin    (file, then QANAT_*  (a topic's typed,      (DescribeConfigs, (docs/configuration.md)
//	 request)     environment, then    effective settings)    config check)
//	              --set) → *Broker
//
// Keys bear Kafka's names, types and defaults wherever the meaning is
// Kafka's. Where a default differs, the key's Doc says so and why.
//
// What must stay true:
//
//   - Nothing outside the registry knows a key's default or bounds.
//   - A *Broker that Load returned is valid: every value in it has passed its
//     key's check, so its getters cannot fail on bad input.
//   - The value of a sensitive key leaves the package only through the typed
//     getters; Describe* and error messages never carry it.
//   - *Broker and *Topic are immutable.
//
// Start reading at Key, then topic_keys.go, broker_keys.go and coordinator_keys.go, then Load.
package config

//go:generate go run ./gen
