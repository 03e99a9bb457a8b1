// Command qanat is the broker and the tool to work with it.
//
//	qanat dev, serve     flags → config.Broker → broker.Open, Run
//	topic, group,        flags → a Kafka client (kgo, kadm) → a table, JSON or YAML
//	produce, consume
//	topic storage, tier  flags → the admin port's JSON → the same
//	log dump, tier       a file → the same
//	inspect, config
//
// What must stay true:
//
//   - Nothing here decides anything about data: commands call packages or the broker.
//   - Standard output carries what was asked for and nothing else; notices,
//     progress and errors go to standard error.
//   - Every failure states its cause and, where there is one, its remedy, and
//     ends with a code of exit.go.
//
// Start reading at main.go, then root.go; one file per command group.
package main
