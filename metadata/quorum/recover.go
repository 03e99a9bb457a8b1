package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/raftlog"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Recovery is what Recover has found and made.
type Recovery struct {
	Cluster   string
	Node      kafka.BrokerID
	Directory string
	LastIndex uint64 // the log's end: entries behind it, if the others had any, are lost
	LastTerm  uint64
	Members   []Member // as they were
	Voters    []kafka.BrokerID
}

// Inspect reads, without changing anything, what Recover would start from. The broker must be stopped.
func Inspect(dir string, log *slog.Logger) (r Recovery, err error) {
	return offline(dir, log, func(o *offlineLog) error { return nil })
}

// Recover makes the node whose metadata directory this is the only voter of its cluster, for good: for when the majority of the
// voters is lost and does not come back. All that its log holds counts as committed; what only the others had is lost. All
// other members, alive or not, are members no more: they are refused until they come with empty directories. The broker must be stopped.
func Recover(dir string, log *slog.Logger) (Recovery, error) {
	return offline(dir, log, func(o *offlineLog) error {
		floor := o.last + 1
		who := o.who
		who.Floor, who.Admission, who.Founders, who.Joined = floor, floor, nil, true
		self := place{node: who.Node, address: o.address, directory: who.Directory, admission: floor}
		f := newFSM(func(error) {}, defaultSnapshotEntries)
		conf := raft.DefaultConfig()
		conf.LocalID, conf.Logger = serverID(who.Node), raftLogger(log)
		_, transport := raft.NewInmemTransport(raft.ServerAddress(self.String()))
		err := raft.RecoverCluster(conf, f, o.store, o.store, o.snapshots, transport, raft.Configuration{Servers: []raft.Server{self.server(raft.Voter)}})
		if err == nil {
			err = f.halted
		}
		if err != nil {
			return fmt.Errorf("recover metadata in %s: %w", dir, err)
		}
		return writeIdentity(dir, who)
	})
}

// offlineLog is a stopped node's log.
type offlineLog struct {
	who       Identity
	address   string // its own, as its configuration has it
	store     *raftlog.Log
	snapshots raft.SnapshotStore
	last      uint64
}

func offline(dir string, log *slog.Logger, then func(*offlineLog) error) (r Recovery, err error) {
	if _, err := os.Stat(filepath.Join(dir, logDir)); errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%w: %s holds no metadata log", ErrLost, dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	who, ok, err := ReadIdentity(dir)
	if err != nil {
		return r, err
	}
	if !ok {
		return r, fmt.Errorf("%w: %s names no cluster", ErrLost, dir)
	}
	logger := raftLogger(log)
	store, err := raftlog.Open(filepath.Join(dir, logDir), logger)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, logger)
	if err != nil {
		return r, fmt.Errorf("open metadata snapshots in %s: %w", dir, err)
	}
	o := &offlineLog{who: who, store: store, snapshots: usableSnapshots{SnapshotStore: files, logs: store}}
	r = Recovery{Cluster: who.Cluster, Node: who.Node, Directory: dir}
	servers, err := o.read(&r)
	if err != nil {
		return r, err
	}
	for _, s := range servers {
		p := placeOf(s)
		r.Members = append(r.Members, Member{ID: p.node, Addr: p.address, Directory: p.directory})
		if s.Suffrage == raft.Voter {
			r.Voters = append(r.Voters, p.node)
		}
		if p.node == who.Node {
			o.address = p.address
		}
	}
	if o.address == "" {
		return r, fmt.Errorf("%w: the log in %s does not name broker %d among the members: recover another one", ErrRefused, dir, who.Node)
	}
	return r, then(o)
}

// read finds the log's end and its newest configuration.
func (o *offlineLog) read(r *Recovery) (servers []raft.Server, err error) {
	list, err := o.snapshots.List()
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		servers = list[0].Configuration.Servers
		r.LastIndex, r.LastTerm = list[0].Index, list[0].Term
	}
	first, err := o.store.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := o.store.LastIndex()
	if err != nil {
		return nil, err
	}
	for i := max(first, 1); i <= last; i++ {
		var l raft.Log
		if err := o.store.GetLog(i, &l); err != nil {
			return nil, fmt.Errorf("read metadata log at %d: %w", i, err)
		}
		if l.Type == raft.LogConfiguration {
			servers = raft.DecodeConfiguration(l.Data).Servers
		}
		r.LastIndex, r.LastTerm = l.Index, l.Term
	}
	o.last = r.LastIndex
	return servers, nil
}
