// Package sources answers what telemetry asks at each collection of metrics (telemetry.Sources), out of a broker's parts.
//
//	telemetry ──▶ Sources: connections, logs, bucket, quorum, cluster, TLS, process
//	                 │ what parts count themselves is read where it is
//	                 ├── Connections   what the server tells of connections and requests
//	                 ├── Counters      traffic by topic, elections, ISR changes
//	                 └── lagAges       how old the oldest record is that a group has not committed
//
// What must stay true: a collection waits for no disk and no network, and counters never go back while the broker runs.
//
// Start reading at Parts.
package sources
