// Package wire is the Kafka protocol's outer shape: frames, headers, the table of APIs and versions served, guarded decoding.
package wire
