package image

import (
	"fmt"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Tx builds the next image out of any number of commands. It is not safe for
// concurrent use; the image that it began with is not changed. A map is only
// opened for writing when a command needs it.
type Tx struct {
	index          uint64
	clusterID      string
	nextProducerID kafka.ProducerID
	level          command.Level

	topics     txMap[*Topic]
	names      txMap[*Topic]
	partitions txMap[*Partition]
	brokers    txMap[*Broker]
	configs    txMap[map[string]string]
	groups     txMap[*groupState]
	sessions   txMap[*session]

	transactions txMap[*command.Transaction]

	coordinators *coordinators

	// openGroups and openSessions are what this transaction may still change; Commit puts them into the maps.
	openGroups   map[string]*groupTx
	openSessions map[kafka.BrokerID]*session
	changes      Folder

	traced  bool // see Trace
	touches []Touch
}

// Begin starts a transaction on m.
func Begin(m *Image) *Tx {
	return &Tx{
		index:          m.index,
		clusterID:      m.clusterID,
		nextProducerID: m.nextProducerID,
		level:          m.level,
		topics:         txMap[*Topic]{tree: m.topics},
		names:          txMap[*Topic]{tree: m.names},
		partitions:     txMap[*Partition]{tree: m.partitions},
		brokers:        txMap[*Broker]{tree: m.brokers},
		configs:        txMap[map[string]string]{tree: m.configs},
		groups:         txMap[*groupState]{tree: m.groups},
		sessions:       txMap[*session]{tree: m.sessions},
		transactions:   txMap[*command.Transaction]{tree: m.transactions},
		coordinators:   m.coordinators,
	}
}

// Commit ends the transaction: the new image, and what it changed.
func (tx *Tx) Commit() (*Image, Changes) {
	tx.closeGroups()
	tx.closeSessions()
	return &Image{
		index:          tx.index,
		clusterID:      tx.clusterID,
		nextProducerID: tx.nextProducerID,
		level:          tx.level,
		topics:         tx.topics.commit(),
		names:          tx.names.commit(),
		partitions:     tx.partitions.commit(),
		brokers:        tx.brokers.commit(),
		configs:        tx.configs.commit(),
		groups:         tx.groups.commit(),
		sessions:       tx.sessions.commit(),
		transactions:   tx.transactions.commit(),
		coordinators:   tx.coordinators,
	}, tx.changes.Take()
}

// Apply applies one command to an image, as one transaction.
func Apply(m *Image, index uint64, env command.Envelope, c command.Command) (*Image, any, Changes, error) {
	tx := Begin(m)
	result, err := tx.Apply(index, env, c)
	next, changes := tx.Commit()
	return next, result, changes, err
}

// Apply applies one command of the Raft entry at index. err is a *Refusal, and
// then nothing has changed but the memory of the request. The type of result
// stands at the command; nil where none does. Commands of one entry are
// applied in their order, each seeing those before it.
func (tx *Tx) Apply(index uint64, env command.Envelope, c command.Command) (result any, err error) {
	tx.index = index
	if done, ok := tx.recall(env); ok {
		return done.result()
	}
	var refusal *Refusal
	if refusal = tx.fence(env, c); refusal == nil {
		result, refusal = tx.dispatch(index, env, c)
	}
	tx.remember(index, env, result, refusal)
	if refusal != nil {
		return nil, refusal
	}
	return result, nil
}

// fence refuses what a replaced incarnation of a broker still proposes.
func (tx *Tx) fence(env command.Envelope, c command.Command) *Refusal {
	if env.BrokerEpoch == 0 {
		return nil
	}
	if _, registering := c.(command.RegisterBroker); registering {
		return nil
	}
	k := brokerKey(env.Broker)
	b, ok := tx.brokers.get(k[:])
	if !ok {
		return refuse(ErrFenced, "broker %d is not registered", env.Broker)
	}
	if b.Epoch != env.BrokerEpoch {
		return refuse(ErrFenced, "broker %d has epoch %d, the proposer's is %d", env.Broker, b.Epoch, env.BrokerEpoch)
	}
	return nil
}

// dispatch is the list of what each command does.
func (tx *Tx) dispatch(index uint64, env command.Envelope, c command.Command) (any, *Refusal) {
	switch c := c.(type) {
	case command.FormCluster:
		return nil, tx.formCluster(c)
	case command.RegisterBroker:
		return tx.registerBroker(index, c)
	case command.CreateTopic:
		return nil, tx.createTopic(env.TimeMs, c)
	case command.DeleteTopic:
		return nil, tx.deleteTopic(c)
	case command.AddPartitions:
		return nil, tx.addPartitions(c)
	case command.SetConfigs:
		return nil, tx.setConfigs(c)
	case command.ElectLeaders:
		return tx.electLeaders(c)
	case command.CommitSegment:
		return nil, tx.commitSegment(c)
	case command.TrimLog:
		return tx.trimLog(c)
	case command.SpillSegments:
		return nil, tx.spillSegments(c)
	case command.AllocateProducerIDs:
		return tx.allocateProducerIDs(c)
	case command.CommitOffsets:
		return tx.commitOffsets(index, env.TimeMs, c)
	case command.DeleteOffsets:
		return nil, tx.deleteOffsets(c)
	case command.PutGroup:
		return nil, tx.putGroup(c)
	case command.ChangeGroup:
		return nil, tx.changeGroup(index, c)
	case command.DeleteGroup:
		return nil, tx.deleteGroup(c)
	case command.SetBrokerState:
		return nil, tx.setBrokerState(c)
	case command.DrainBroker:
		return nil, tx.drainBroker(c)
	case command.UnregisterBroker:
		return nil, tx.unregisterBroker(c)
	case command.AlterISR:
		return tx.alterISR(c)
	case command.AssignReplicas:
		return tx.assignReplicas(c)
	case command.FinishAssignments:
		return tx.finishAssignments(c)
	case command.PlaceCoordinators:
		return nil, tx.placeCoordinators(c)
	case command.PutTransaction:
		return nil, tx.putTransaction(c)
	case command.DeleteTransaction:
		return nil, tx.deleteTransaction(c)
	case command.CommitTxnOffsets:
		return tx.commitTxnOffsets(index, env.TimeMs, c)
	case command.ChangeShare:
		return tx.changeShare(index, c)
	case command.ResetShares:
		return nil, tx.resetShares(index, c)
	case command.SetLevel:
		return nil, tx.setLevel(c)
	default:
		// Decode knows every kind that the log may hold, and this switch every kind that Decode knows.
		panic(fmt.Sprintf("image: no rule for command %s (%T)", c.Kind(), c))
	}
}

// leftOut is the result of a command that leaves some partitions out: nil when it left out none.
func leftOut(ps []kafka.Partition) any {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// txMap is one map of the image within a transaction.
type txMap[V any] struct {
	tree *iradix.Tree[V]
	txn  *iradix.Txn[V] // nil until the first write
}

func (t *txMap[V]) get(k []byte) (V, bool) {
	if t.txn != nil {
		return t.txn.Get(k)
	}
	return t.tree.Get(k)
}

// put keeps k: the caller gives it away.
func (t *txMap[V]) put(k []byte, v V) {
	t.write().Insert(k, v)
}

func (t *txMap[V]) delete(k []byte) (V, bool) { return t.write().Delete(k) }

func (t *txMap[V]) deletePrefix(k []byte) { t.write().DeletePrefix(k) }

func (t *txMap[V]) root() *iradix.Node[V] {
	if t.txn != nil {
		return t.txn.Root()
	}
	return t.tree.Root()
}

func (t *txMap[V]) write() *iradix.Txn[V] {
	if t.txn == nil {
		t.txn = t.tree.Txn()
	}
	return t.txn
}

func (t *txMap[V]) commit() *iradix.Tree[V] {
	if t.txn == nil {
		return t.tree
	}
	return t.txn.CommitOnly()
}
