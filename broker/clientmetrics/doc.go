// Package clientmetrics takes the metrics of clients that are subscribed to (KIP-714), so that what a producer or consumer sees of itself is watched
// without a change to it.
//
//	client ── which are wanted? ──▶ Registry: subscriptions of the image that match it ── number, prefixes, interval ──▶ client
//	client ── every interval: OTLP ──▶ checked, labelled ──▶ Sink: forwarded as the broker's own are pushed
//
// What must stay true: a client that asks or sends more often than its interval is refused; what is remembered of clients is bounded, and so is what
// a client's bytes may become; a Sink never waits.
//
// Start reading at Registry.
package clientmetrics
