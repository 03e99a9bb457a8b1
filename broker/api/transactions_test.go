package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/broker/txncoordinator"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Reached implements txncoordinator.Quorum: what is applied is there at once.
func (q *memoryQuorum) Reached(context.Context, uint64) error { return nil }

// transactionsTest runs f on fake time with coordinators that serve. No partition is led here as far as markers go: a transaction with a partition, once
// decided, is never complete.
func transactionsTest(t *testing.T, f func(t *testing.T, s *txns)) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		leader := &txncoordinator.Leader{Quorum: s.meta, Find: func(kafka.Partition) *partition.Partition { return nil }}
		s.Transactions = &Transactions{Leader: leader, Coordinator: txncoordinator.New(txncoordinator.Config{
			Node: 1, NewProducerID: s.NewProducerID, MaxTimeout: 15 * time.Minute, Expiry: time.Hour, Sweep: 10 * time.Second,
		}, s.meta, nil, leader, time.Now, s.Log)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Transactions.Coordinator.Run(ctx) }()
		synctest.Wait()
		f(t, &txns{s})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// txns asks the APIs of transactions. What is asked returns the code that comes back.
type txns struct{ *harness }

// who is a producer, as requests name one.
type who struct {
	id    string
	pid   int64
	epoch int16
}

func (w who) at(epoch int16) who { w.epoch = epoch; return w }

func (s *txns) init(version int16, w who, timeoutMs int32) (who, int16) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &w.id, timeoutMs, w.pid, w.epoch
	resp := trip[*kmsg.InitProducerIDResponse](s.harness, req, version)
	return who{w.id, resp.ProducerID, resp.ProducerEpoch}, resp.ErrorCode
}

// fresh is a producer whose id nobody had.
func (s *txns) fresh(id string) who {
	s.t.Helper()
	w, code := s.init(5, who{id, -1, -1}, 60_000)
	if code != 0 {
		s.t.Fatalf("init of %s: %v", id, kerr.ErrorForCode(code))
	}
	return w
}

func (s *txns) add(version int16, w who, topic string, partition int32) int16 {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	if version < 4 {
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = w.id, w.pid, w.epoch
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
		return trip[*kmsg.AddPartitionsToTxnResponse](s.harness, req, version).Topics[0].Partitions[0].ErrorCode
	}
	return s.ofMany(version, w, false, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: topic, Partitions: []int32{partition}})[0]
}

// ofMany asks as brokers do, and returns each partition's code.
func (s *txns) ofMany(version int16, w who, verify bool, topics ...kmsg.AddPartitionsToTxnRequestTransactionTopic) (codes []int16) {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: w.id, ProducerID: w.pid, ProducerEpoch: w.epoch, VerifyOnly: verify, Topics: topics}}
	for _, t := range trip[*kmsg.AddPartitionsToTxnResponse](s.harness, req, version).Transactions[0].Topics {
		for _, p := range t.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return codes
}

func (s *txns) addOffsets(version int16, w who) int16 {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = w.id, w.pid, w.epoch, "g"
	return trip[*kmsg.AddOffsetsToTxnResponse](s.harness, req, version).ErrorCode
}

func (s *txns) end(version int16, w who, commit bool) int16 {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = w.id, w.pid, w.epoch, commit
	return trip[*kmsg.EndTxnResponse](s.harness, req, version).ErrorCode
}

// of is whose offsets are committed: a member of a group, or nobody in particular.
type of struct {
	group, member, instance string
	generation              int32
}

func (s *txns) commit(version int16, w who, o of, topic string, partition int32) int16 {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = w.id, w.pid, w.epoch
	req.Group, req.MemberID, req.Generation = o.group, o.member, o.generation
	if o.instance != "" {
		req.InstanceID = &o.instance
	}
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, 1
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	return trip[*kmsg.TxnOffsetCommitResponse](s.harness, req, version).Topics[0].Partitions[0].ErrorCode
}

func (s *txns) mark(w who, topic string, partition int32) int16 {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
		ProducerID: w.pid, ProducerEpoch: w.epoch, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{partition}}},
	}}
	return trip[*kmsg.WriteTxnMarkersResponse](s.harness, req, 1).Markers[0].Topics[0].Partitions[0].ErrorCode
}

func (s *txns) describe(id string) int16 { return s.describes(id).ErrorCode }

func (s *txns) describes(id string) kmsg.DescribeTransactionsResponseTransactionState {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id, id} // with all its partitions: once
	resp := trip[*kmsg.DescribeTransactionsResponse](s.harness, req, 0)
	if len(resp.TransactionStates) != 1 {
		s.t.Errorf("a transaction that is asked for twice is answered %d times", len(resp.TransactionStates))
	}
	return resp.TransactionStates[0]
}

func (s *txns) list(pattern string) int16 {
	req := kmsg.NewPtrListTransactionsRequest()
	req.TransactionalIDPattern = &pattern
	return trip[*kmsg.ListTransactionsResponse](s.harness, req, 2).ErrorCode
}

// A client that asks for what it may not have of a transaction is told another code than Kafka 4.3's.
func TestTransactionRefusals(t *testing.T) {
	transactionsTest(t, func(t *testing.T, s *txns) {
		s.topic("x", 1)
		empty, open, ending, offsets := s.fresh("empty"), s.fresh("open"), s.fresh("ending"), s.fresh("offsets")
		stranger := who{"stranger", 1 << 40, 0}
		nobody := of{group: "g", generation: -1}
		for _, c := range []int16{s.add(3, open, "x", 0), s.add(3, ending, "x", 0), s.end(4, ending, true), s.addOffsets(3, offsets)} {
			if c != 0 {
				t.Fatalf("setting out: %v", kerr.ErrorForCode(c))
			}
		}
		init := func(version int16, w who, timeoutMs int32) int16 {
			_, code := s.init(version, w, timeoutMs)
			return code
		}
		several := func(verify bool) []int16 {
			return s.ofMany(5, open, verify, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "x", Partitions: []int32{0, 7}})
		}
		for _, c := range []struct {
			what string
			got  int16
			want *kerr.Error
		}{
			{"init: no transactional id", init(5, who{"", -1, -1}, 60_000), kerr.InvalidRequest},
			{"init: a producer id without epoch", init(5, who{"a", 7, -1}, 60_000), kerr.InvalidRequest},
			{"init: an epoch without producer id", init(5, who{"a", -1, 7}, 60_000), kerr.InvalidRequest},
			{"init: longer than transaction.max.timeout.ms", init(5, who{"a", -1, -1}, 15*60_000+1), kerr.InvalidTransactionTimeout},
			{"init: no time at all", init(5, who{"a", -1, -1}, 0), kerr.InvalidTransactionTimeout},
			{"init: as long as it may be", init(5, who{"b", -1, -1}, 15*60_000), nil},
			{"init: going on as another producer", init(5, who{"empty", 1 << 40, 0}, 60_000), kerr.ProducerFenced},
			{"init: the same of old", init(3, who{"empty", 1 << 40, 0}, 60_000), kerr.InvalidProducerEpoch},
			{"init: going on with an epoch to come", init(5, empty.at(9), 60_000), kerr.ProducerFenced},
			{"init: while the transaction before is ended", init(5, who{"ending", -1, -1}, 60_000), kerr.ConcurrentTransactions},

			{"add: an unknown id", s.add(3, stranger, "x", 0), kerr.InvalidProducerIDMapping},
			{"add: another producer's", s.add(3, who{"open", stranger.pid, 0}, "x", 0), kerr.InvalidProducerIDMapping},
			{"add: a newer epoch", s.add(3, open.at(1), "x", 0), kerr.ProducerFenced},
			{"add: the same of old", s.add(1, open.at(1), "x", 0), kerr.InvalidProducerEpoch},
			{"add: no such topic", s.add(3, open, "y", 0), kerr.UnknownTopicOrPartition},
			{"add: no such partition", s.add(3, open, "x", 7), kerr.UnknownTopicOrPartition},
			{"add: a topic of the broker's own", s.add(3, open, "__consumer_offsets", 0), kerr.TopicAuthorizationFailed},
			{"add: one with an unknown one", several(false)[0], kerr.OperationNotAttempted},
			{"add: the unknown one", several(false)[1], kerr.UnknownTopicOrPartition},
			{"add: while the transaction before is ended", s.add(3, ending, "x", 0), kerr.ConcurrentTransactions},
			{"add: once more", s.add(3, open, "x", 0), nil},
			{"verify: what was added", s.ofMany(5, open, true, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "x", Partitions: []int32{0}})[0], nil},
			{"verify: what was not", s.ofMany(5, empty, true, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "x", Partitions: []int32{0}})[0], kerr.TransactionAbortable},

			{"add offsets: an unknown id", s.addOffsets(3, stranger), kerr.InvalidProducerIDMapping},
			{"add offsets: an older epoch", s.addOffsets(3, open.at(-1)), kerr.ProducerFenced},
			{"add offsets: the same of old", s.addOffsets(1, open.at(-1)), kerr.InvalidProducerEpoch},
			{"add offsets: while the transaction before is ended", s.addOffsets(3, ending), kerr.ConcurrentTransactions},

			{"offsets: of no transaction", s.commit(4, empty, nobody, "x", 0), kerr.TransactionAbortable},
			{"offsets: of no transaction, of old", s.commit(3, empty, nobody, "x", 0), kerr.InvalidTxnState},
			{"offsets: of no group", s.commit(3, offsets, of{generation: -1}, "x", 0), kerr.InvalidGroupID},
			{"offsets: of no group, v5", s.commit(5, offsets, of{generation: -1}, "x", 0), kerr.InvalidGroupID},
			{"offsets: an unknown id", s.commit(5, stranger, nobody, "x", 0), kerr.InvalidProducerIDMapping},
			{"offsets: another epoch", s.commit(5, offsets.at(3), nobody, "x", 0), kerr.InvalidProducerEpoch},
			{"offsets: no such partition", s.commit(5, offsets, nobody, "x", 7), kerr.UnknownTopicOrPartition},
			{"offsets: a generation of no group", s.commit(5, offsets, of{"g", "m", "", 3}, "x", 0), kerr.IllegalGeneration},
			{"offsets: of nobody in particular", s.commit(5, offsets, nobody, "x", 0), nil},

			{"end: an unknown id", s.end(4, stranger, true), kerr.InvalidProducerIDMapping},
			{"end: an unknown id, v5", s.end(5, stranger, true), kerr.InvalidProducerIDMapping},
			{"end: a newer epoch", s.end(4, open.at(1), true), kerr.ProducerFenced},
			{"end: the same of old", s.end(1, open.at(1), true), kerr.InvalidProducerEpoch},
			{"end: a newer epoch, v5", s.end(5, open.at(1), true), kerr.ProducerFenced},
			{"end: nothing to commit", s.end(4, empty, true), kerr.InvalidTxnState},
			{"end: nothing to commit, v5", s.end(5, empty, true), kerr.InvalidTxnState},
			{"end: the other way than it was decided", s.end(4, ending, false), kerr.InvalidTxnState},
			{"end: what is being ended", s.end(4, ending, true), kerr.ConcurrentTransactions},

			{"marker: of no producer", s.mark(who{"", -1, 0}, "x", 0), kerr.InvalidProducerIDMapping},
			{"marker: of no epoch", s.mark(open.at(-1), "x", 0), kerr.InvalidProducerEpoch},
			{"marker: no such topic", s.mark(open, "y", 0), kerr.UnknownTopicOrPartition},
			{"marker: no such partition", s.mark(open, "x", 7), kerr.UnknownTopicOrPartition},
			{"marker: not led here", s.mark(open, "x", 0), kerr.NotLeaderForPartition},

			{"describe: an unknown id", s.describe("stranger"), kerr.TransactionalIDNotFound},
			{"describe: no id", s.describe(""), kerr.InvalidRequest},
			{"describe: an id", s.describe("open"), nil},

			{"list: a pattern", s.list("op.*"), nil},
			{"list: a pattern that is none", s.list("a)|(?:b"), kerr.InvalidRegularExpression},
			{"list: one that would take minutes", s.list(strings.Repeat(".{0,999}", 500)), kerr.InvalidRegularExpression},
		} {
			if got := kerr.TypedErrorForCode(c.got); got != c.want {
				t.Errorf("%s: %v, want %v", c.what, got, c.want)
			}
		}
		// A group's offsets show as where Kafka keeps them.
		if got := s.describes("offsets").Topics; len(got) != 1 || got[0].Topic != "__consumer_offsets" || !slices.Equal(got[0].Partitions, []int32{statelog.PartitionOf("g")}) {
			t.Errorf("a transaction with a group's offsets shows %+v", got)
		}
		// Nothing of what was refused has left anything behind.
		for _, id := range []string{"", "a", "stranger"} {
			if _, ok := s.quorum.Image().Transaction(id); ok {
				t.Errorf("%q is in the image", id)
			}
		}
		if r, _ := s.quorum.Image().Transaction("open"); len(r.Partitions) != 1 || len(r.Groups) != 0 {
			t.Errorf("open has %v and %v", r.Partitions, r.Groups)
		}
	})
}

// Offsets in a transaction of whoever is not the group's member are taken, or refused with another code than Kafka's (KIP-447).
func TestTransactionOffsetsOfMembers(t *testing.T) {
	transactionsTest(t, func(t *testing.T, s *txns) {
		s.topic("x", 1)
		w := s.fresh("t")
		member, generation := s.joined("g")
		for _, c := range []struct {
			what string
			of   of
			want *kerr.Error
		}{
			{"the member", of{"g", member, "", generation}, nil},
			{"nobody in particular", of{"g", "", "", -1}, nil},
			{"another generation", of{"g", member, "", generation + 1}, kerr.IllegalGeneration},
			{"another member", of{"g", "other", "", generation}, kerr.UnknownMemberID},
			{"an instance that nobody is", of{"g", member, "i", generation}, kerr.UnknownMemberID},
		} {
			if got := kerr.TypedErrorForCode(s.commit(5, w, c.of, "x", 0)); got != c.want {
				t.Errorf("%s: %v, want %v", c.what, got, c.want)
			}
		}
	})
}

// joined makes a group with one member.
func (s *txns) joined(group string) (member string, generation int32) {
	s.t.Helper()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = group, "consumer", 30_000, 30_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	joined := trip[*kmsg.JoinGroupResponse](s.harness, req, 3)
	if joined.ErrorCode != 0 {
		s.t.Fatalf("join: %v", kerr.ErrorForCode(joined.ErrorCode))
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = group, joined.MemberID, joined.Generation
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID}}
	if code := trip[*kmsg.SyncGroupResponse](s.harness, sync, 3).ErrorCode; code != 0 {
		s.t.Fatalf("sync: %v", kerr.ErrorForCode(code))
	}
	return joined.MemberID, joined.Generation
}

var _ txncoordinator.Quorum = (*memoryQuorum)(nil)
