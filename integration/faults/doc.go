// Command faults puts a cluster under clients and faults, and has the checker
// judge what the clients saw.
//
//	faults run [flags]          one run: all chosen faults, drawn by seed
//	faults matrix [flags]       a run for each fault and each workload; writes a table
//	faults bugs [flags]         has deliberate bugs found, each by the faults that give it a chance
//	faults gaps [flags]         how long clients wait when the leader of their partition goes; no history, no judgement
//	faults check FILE…          judges histories that were kept
//	faults prove FILE…          tells lies about a clean history; the checker must see through each
//	faults table FILE…          the table of results of earlier runs, as Markdown
//	faults client [flags]       one franz-go client; runs start these by themselves
//
// Every run prints its seed; with the same seed, faults, nodes and time the same
// schedule is drawn again. As root it runs in namespaces of its own (package
// cluster); otherwise faults that need more are not tried, and the results say so.
//
// A run's directory keeps what is needed to judge it anew: history.gz, result.json, the nodes' logs and, when something was found,
// their data.
package main
