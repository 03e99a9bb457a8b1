// Package vfs is the file system under the tiers, behind an interface small
// enough to have three faithful implementations:
//
//	OS      the operating system's files; syncfs, pwritev and flock where it has them
//	Crash   in memory; remembers what was made durable and can lose power at any operation
//	Faulty  wraps either: refuses, delays or counts operations
//
//	  tier/hot, tier/index, …          tests
//	         │                           │
//	         ▼                           ▼
//	        FS ◄──── OS       FS ◄──── Faulty ──► Crash ──(cut at op k)──► Crash
//
// Paths are absolute or relative as the operating system means them; Crash has
// a root of its own.
//
// What must stay true:
//
//   - code above this package reaches files through FS only, so that every
//     storage test can cut the power between any two operations;
//   - nothing counts as durable in Crash that POSIX does not promise: File.Sync
//     keeps a file's bytes but not its name, SyncDir keeps names but not bytes,
//     Volume.Sync keeps both;
//   - all three pass the same contract test (contract_test.go).
//
// Start reading at FS (vfs.go), then Volume.Sync in volume_linux.go, then Crash.
package vfs
