// Package workload is what clients do while faults are made: it drives a system
// under test and writes the history that integration/checker judges.
//
// Each client is a process of its own, so that it crashes for real and lives in
// the clients' network. It plays one role:
//
//	produce    sends values to random partitions, pipelined, at a rate
//	transact   sends in transactions, of which it aborts some
//	pipe       consumes in a group, and sends in transactions, with the offsets, what it makes of it
//	streams    pipe in a streams group
//	refused    sends one at a time, some with a timestamp that brokers refuse
//	read       assigns itself every partition and follows them, seeking back at times
//	group      subscribes in a group, commits what it has been handed
//	committed  asks for the group's committed offsets
//	final      reads every partition from its beginning to its end, then asks for committed offsets
//
// The roles of the franz-go client are here; Java's (java/) and librdkafka's
// (librdkafka/) take the same flags (Spec.Args) and write the same history, so
// that one checker judges all. A role goes on until SIGTERM, which ends it in
// order (flush, leave the group), or SIGKILL, which is the crash.
//
// What the drivers must get right is written in integration/history's doc.go.
// Three points have caused false alarms elsewhere: only errors that a broker
// gives to what it can never have appended are definite (Definite); committed
// offsets are asked for with RequireStable; a final read asks for the end anew
// until it stays.
package workload
