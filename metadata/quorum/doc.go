// Package quorum runs hashicorp/raft under the image: log store, snapshots, transport, proposals.
package quorum
