// Package datadir is the directory that a broker owns: who it belongs to,
// which format it has, and the lock that keeps a second broker out.
//
//	DIR/broker.json   format, cluster id, node id, directory id: checked at every start
//	DIR/broker.lock   held while the broker runs
//	DIR/broker.formed there were metadata here: their absence is a loss
//	DIR/broker.lives  incarnations that registered from here: an older copy of the directory shows by them
//	DIR/broker.clean  there after a stop in order, until the next start
//	DIR/metadata/     the quorum's log and snapshots
//	DIR/index/        Badger; may be deleted while the broker is stopped
//	DIR/partitions/   <topic id>/<partition>/: segments
//
// What must stay true: nothing below DIR is touched before Open has succeeded.
package datadir
