// Package raftlog is the log that Raft's entries are in: hashicorp/raft-wal, with what it leaves to chance seen to before it
// is opened.
//
//	DIR/wal-meta.db    which files there are, and where the sealed ones end
//	DIR/*.wal          entries; all but the last are sealed
//
// What must stay true:
//
//   - What the page cache has, and the disk may not, is forgotten before it is read.
//   - Every file is read through: what was stored is there, or the log is refused. A node must not vote on what it has forgotten.
//   - Behind the last commit of the file that is written to there are zeros, and a full file has a next one.
//
// Start reading at Open, then settle; frames.go reads the files.
package raftlog
