package image

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/cbor"
)

// Decode reads a snapshot to its end. Its error wraps ErrCorrupt or
// ErrVersion, or is r's. Memory is in proportion to the bytes read.
func Decode(r io.Reader) (*Image, error) {
	src := &failing{r: r}
	d := &decoder{in: snapshotDecoding.NewDecoder(src), tx: Begin(Empty())}
	m, err := d.image()
	if src.err != nil {
		return nil, fmt.Errorf("read metadata snapshot: %w", src.err)
	}
	return m, err
}

// failing remembers a reader's own error, to tell a bad disk from bad bytes.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

type decoder struct {
	in    *cbor.Decoder
	crc   uint32
	count uint64
	last  recordType
	tx    *Tx
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

func (d *decoder) image() (*Image, error) {
	if err := d.header(); err != nil {
		return nil, err
	}
	for {
		raw, err := d.next()
		if err != nil {
			return nil, err
		}
		t, body, err := split(raw)
		if err != nil {
			return nil, err
		}
		if t == recordEnd {
			if err := d.trailer(raw); err != nil {
				return nil, err
			}
			break
		}
		if t < d.last {
			return nil, corrupt("record of type %d after one of type %d", t, d.last)
		}
		d.last = t
		d.crc = crc32.Update(d.crc, castagnoli, raw)
		d.count++
		if err := d.record(t, body); err != nil {
			return nil, err
		}
	}
	return d.complete()
}

// next reads one item of the sequence.
func (d *decoder) next() (cbor.RawMessage, error) {
	var raw cbor.RawMessage
	if err := d.in.Decode(&raw); err != nil {
		return nil, corrupt("after %d records: %w", d.count, err)
	}
	return raw, nil
}

func (d *decoder) header() error {
	raw, err := d.next()
	if err != nil {
		return err
	}
	var parts []cbor.RawMessage
	var magic string
	var version uint64
	if snapshotDecoding.Unmarshal(raw, &parts) != nil || len(parts) < 2 ||
		snapshotDecoding.Unmarshal(parts[0], &magic) != nil || magic != snapshotMagic ||
		snapshotDecoding.Unmarshal(parts[1], &version) != nil {
		return corrupt("no header")
	}
	if version < 1 || version > snapshotVersion {
		return fmt.Errorf("%w: version %d, at most %d", ErrVersion, version, snapshotVersion)
	}
	d.crc = crc32.Update(0, castagnoli, raw)
	if version <= levelless {
		var h header
		if err := snapshotDecoding.Unmarshal(raw, &h); err != nil {
			return corrupt("header: %w", err)
		}
		d.tx.clusterID, d.tx.index, d.tx.nextProducerID = h.ClusterID, h.Index, h.NextProducerID
		return nil
	}
	var h leveled
	if err := snapshotDecoding.Unmarshal(raw, &h); err != nil {
		return corrupt("header: %w", err)
	}
	if h.Level == 0 {
		return corrupt("version %d at level 0", version)
	}
	if h.Level > command.NewestLevel {
		return fmt.Errorf("%w: metadata level %d, at most %d", ErrVersion, h.Level, command.NewestLevel)
	}
	d.tx.clusterID, d.tx.index, d.tx.nextProducerID, d.tx.level = h.ClusterID, h.Index, h.NextProducerID, h.Level
	return nil
}

// split takes an item's type off it.
func split(raw cbor.RawMessage) (recordType, cbor.RawMessage, error) {
	var parts []cbor.RawMessage
	var t recordType
	if err := snapshotDecoding.Unmarshal(raw, &parts); err != nil || len(parts) < 2 {
		return 0, nil, corrupt("item that is no record")
	}
	if err := snapshotDecoding.Unmarshal(parts[0], &t); err != nil {
		return 0, nil, corrupt("record's type: %w", err)
	}
	if t != recordEnd && len(parts) != 2 {
		return 0, nil, corrupt("record of %d parts", len(parts))
	}
	return t, parts[1], nil
}

func (d *decoder) trailer(raw cbor.RawMessage) error {
	var t trailer
	if err := snapshotDecoding.Unmarshal(raw, &t); err != nil {
		return corrupt("trailer: %w", err)
	}
	if t.Count != d.count {
		return corrupt("%d records, the trailer counts %d", d.count, t.Count)
	}
	if t.CRC != d.crc {
		return corrupt("checksum is %08x, the trailer says %08x", d.crc, t.CRC)
	}
	var more cbor.RawMessage
	if err := d.in.Decode(&more); !errors.Is(err, io.EOF) {
		return corrupt("bytes after the trailer")
	}
	return nil
}

func (d *decoder) record(t recordType, body cbor.RawMessage) error {
	switch t {
	case recordTopic:
		return read(body, d.topic)
	case recordPartition:
		return read(body, d.partition)
	case recordBroker:
		return read(body, d.broker)
	case recordConfigs:
		return read(body, d.configs)
	case recordGroup:
		return read(body, d.group)
	case recordOffsets:
		return read(body, d.offsets)
	case recordSession:
		return read(body, d.session)
	case recordShard:
		return read(body, d.shard)
	case recordParts:
		return read(body, d.parts)
	case recordTxn:
		return read(body, d.transaction)
	case recordPending:
		return read(body, d.pending)
	case recordShare:
		return read(body, d.share)
	default:
		return corrupt("record of unknown type %d", t)
	}
}

// read decodes a record's body and hands it on.
func read[R any](body cbor.RawMessage, put func(R) error) error {
	var r R
	if err := snapshotDecoding.Unmarshal(body, &r); err != nil {
		return corrupt("%T: %w", r, err)
	}
	return put(r)
}

func (d *decoder) topic(r topicRecord) error {
	_, named := d.tx.names.get([]byte(r.Name))
	_, known := d.tx.topics.get(r.ID[:])
	if named || known || r.ID.IsZero() || r.Name == "" || r.Partitions < 1 || r.Partitions > MaxPartitions {
		return corrupt("topic %q with id %s and %d partitions", r.Name, r.ID, r.Partitions)
	}
	d.tx.putTopic(&Topic{ID: r.ID, Name: r.Name, Partitions: r.Partitions, Created: r.Created})
	return nil
}

func (d *decoder) partition(r partitionRecord) error {
	t, ok := d.tx.topics.get(r.Partition.Topic[:])
	k := partitionKey(r.Partition)
	_, twice := d.tx.partitions.get(k[:])
	if !ok || twice || r.Partition.Index < 0 || r.Partition.Index >= t.Partitions || !isSet(r.Replicas) || len(r.ISR) > 0 && !isSet(r.ISR) ||
		!subset(r.ISR, r.Replicas) || !subset(r.ELR, r.Replicas) || !subset(r.Adding, r.Replicas) || !subset(r.Removing, r.Replicas) {
		return corrupt("partition %s", r.Partition)
	}
	d.tx.putPartition(&Partition{
		Partition: r.Partition, Replicas: r.Replicas, ISR: r.ISR, Leader: r.Leader,
		LeaderEpoch: r.LeaderEpoch, PartitionEpoch: r.PartitionEpoch, LogStart: r.LogStart, Remote: r.Remote,
		ELR: r.ELR, Adding: r.Adding, Removing: r.Removing,
	})
	return nil
}

func (d *decoder) broker(r brokerRecord) error {
	k := brokerKey(r.Registration.ID)
	if _, twice := d.tx.brokers.get(k[:]); twice || r.State > command.Stopping {
		return corrupt("broker %d", r.Registration.ID)
	}
	d.tx.brokers.put(k[:], &Broker{RegisterBroker: r.Registration, Epoch: r.Epoch, State: r.State, Drain: r.Drain})
	return nil
}

func (d *decoder) configs(r configsRecord) error {
	k := configKey(r.Type, r.Name)
	if _, twice := d.tx.configs.get(k); twice || len(r.Overrides) == 0 {
		return corrupt("configs of %q", r.Name)
	}
	d.tx.configs.put(k, r.Overrides)
	return nil
}

func (d *decoder) group(r groupRecord) error {
	if d.tx.group(r.Name, false) != nil || d.tx.openGroups[r.Name] != nil {
		return corrupt("group %q twice", r.Name)
	}
	d.tx.group(r.Name, true).Group = Group(r)
	return nil
}

func (d *decoder) offsets(r offsetsRecord) error {
	g, ok := d.tx.openGroups[r.Group]
	if !ok {
		return corrupt("offsets of unknown group %q", r.Group)
	}
	for _, o := range r.Offsets {
		k := partitionKey(o.Commit.Partition)
		if _, twice := g.offsets.write().Insert(k[:], &Offset{OffsetCommit: o.Commit, CommittedMs: o.CommittedMs}); twice {
			return corrupt("two offsets of group %q for %s", r.Group, o.Commit.Partition)
		}
		g.count++
	}
	return nil
}

func (d *decoder) parts(r partsRecord) error {
	g, ok := d.tx.openGroups[r.Group]
	if !ok || g.Version == 0 {
		return corrupt("parts of group %q, which has none", r.Group)
	}
	for _, p := range r.Parts {
		if _, twice := g.parts.write().Insert([]byte(p.Key), p.Value); twice {
			return corrupt("two parts %q of group %q", p.Key, r.Group)
		}
		g.partCount++
	}
	return nil
}

func (d *decoder) transaction(t command.Transaction) error {
	_, twice := d.tx.transactions.get([]byte(t.ID))
	if twice || t.ID == "" || len(t.ID) > maxTxnID || t.Revision == 0 || t.State > command.TxnCompleteAbort {
		return corrupt("transactional id of %d bytes at revision %d in state %d", len(t.ID), t.Revision, t.State)
	}
	d.tx.transactions.put([]byte(t.ID), &t)
	return nil
}

func (d *decoder) pending(r pendingRecord) error {
	g, ok := d.tx.openGroups[r.Group]
	if !ok {
		return corrupt("offsets within transactions of unknown group %q", r.Group)
	}
	for _, o := range r.Offsets {
		if t, _ := d.tx.transactions.get([]byte(o.ID)); t == nil || t.State != command.TxnOngoing {
			return corrupt("offsets of group %q in transaction %q, which is not under way", r.Group, o.ID)
		}
		p := &pendingOffset{Offset: Offset{OffsetCommit: o.Commit, CommittedMs: o.CommittedMs}, id: o.ID, index: o.Index}
		if _, twice := g.pending.write().Insert(pendingKey(o.ID, o.Commit.Partition), p); twice {
			return corrupt("two offsets of group %q in transaction %q for %s", r.Group, o.ID, o.Commit.Partition)
		}
		g.pendingCount++
	}
	return nil
}

func (d *decoder) share(r shareRecord) error {
	g, ok := d.tx.openGroups[r.Group]
	k := partitionKey(r.Partition)
	_, exists := d.tx.partitions.get(k[:])
	if !ok || !exists || g.Type != ShareGroup || r.Version == 0 || r.Start < 0 || checkRuns(r.Start, r.Runs) != nil {
		return corrupt("share of group %q of %s", r.Group, r.Partition)
	}
	if _, twice := g.shares.write().Insert(k[:], &Share{Partition: r.Partition, Version: r.Version, Start: r.Start, Runs: r.Runs}); twice {
		return corrupt("two shares of group %q of %s", r.Group, r.Partition)
	}
	return nil
}

func (d *decoder) session(r sessionRecord) error {
	if _, twice := d.tx.openSessions[r.Broker]; twice || r.First > r.Last || r.First == 0 {
		return corrupt("session of broker %d", r.Broker)
	}
	s := &session{broker: r.Broker, id: r.ID, index: r.Index, first: r.First, last: r.Last}
	for _, o := range r.Outcomes {
		if n := len(s.outcomes); o.Request < r.First || o.Request > r.Last || n > 0 && o.Request <= s.outcomes[n-1].request || o.Kind > resultVersion {
			return corrupt("outcome of request %d of broker %d", o.Request, r.Broker)
		}
		if o.Refusal != 0 && refusals[o.Refusal] == nil {
			return corrupt("refusal %d", o.Refusal)
		}
		s.outcomes = append(s.outcomes, outcome{request: o.Request, refusal: o.Refusal, kind: o.Kind, number: o.Number, partitions: o.Partitions})
	}
	d.tx.openSession(s)
	return nil
}

func (d *decoder) shard(r shardRecord) error {
	if r.Shard < 0 || r.Shard >= CoordinatorShards || r.Epoch < 1 || d.tx.coordinators[r.Shard].Epoch != 0 {
		return corrupt("shard %d of the groups", r.Shard)
	}
	next := *d.tx.coordinators
	next[r.Shard] = Coordinator{Broker: r.Broker, Epoch: r.Epoch}
	d.tx.coordinators = &next
	return nil
}

// complete checks what only the whole can show.
func (d *decoder) complete() (*Image, error) {
	for name, g := range d.tx.openGroups {
		if g.gone() {
			return nil, corrupt("group %q has neither state nor offsets", name)
		}
		if (g.Version != 0) != (g.partCount > 0) || g.Version != 0 && g.State != nil {
			return nil, corrupt("group %q is at version %d with %d parts", name, g.Version, g.partCount)
		}
	}
	m, _ := d.tx.Commit()
	counted := make(map[*Topic]int32, m.topics.Len())
	walk(m.partitions, func(p *Partition) bool {
		t, _ := m.TopicByID(p.Topic)
		counted[t]++
		return true
	})
	var err error
	walk(m.names, func(t *Topic) bool {
		if counted[t] != t.Partitions {
			err = corrupt("topic %q has %d of its %d partitions", t.Name, counted[t], t.Partitions)
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}
