// Package vfs is the file system under the tiers, behind an interface small
// enough to have three faithful implementations: the operating system's
// (OS), one in memory that can lose power at any write (Crash), and a wrapper
// that injects faults (Faulty). Paths are absolute or relative as the
// operating system means them; Crash has a root of its own.
//
// What must stay true: code above this package reaches files through FS only,
// so that every storage test can cut the power between any two operations.
package vfs
