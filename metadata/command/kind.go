package command

import (
	"fmt"
)

// Kind is a command's number in the log. Numbers are never used again.
type Kind uint16

const (
	KindFormCluster         Kind = 1
	KindRegisterBroker      Kind = 2
	KindCreateTopic         Kind = 3
	KindDeleteTopic         Kind = 4
	KindAddPartitions       Kind = 5
	KindSetConfigs          Kind = 6
	KindElectLeaders        Kind = 7
	KindCommitSegment       Kind = 8
	KindTrimLog             Kind = 9
	KindAllocateProducerIDs Kind = 10
	KindCommitOffsets       Kind = 11
	KindDeleteOffsets       Kind = 12
	KindPutGroup            Kind = 13
	KindDeleteGroup         Kind = 14
	KindSetBrokerState      Kind = 15
	KindDrainBroker         Kind = 16
	KindUnregisterBroker    Kind = 17
	KindAlterISR            Kind = 18
	KindAssignReplicas      Kind = 19
	KindFinishAssignments   Kind = 20
	KindPlaceCoordinators   Kind = 21
	KindSpillSegments       Kind = 22
	KindSetLevel            Kind = 23
	KindChangeGroup         Kind = 24
	KindPutTransaction      Kind = 25
	KindDeleteTransaction   Kind = 26
	KindCommitTxnOffsets    Kind = 27
	KindChangeShare         Kind = 28
	KindResetShares         Kind = 29
)

// kind is one line of the registry.
type kind struct {
	name    string
	version uint8 // the newest, which is written; all from 1 on are read
	decode  func(body []byte) (Command, error)
}

// kinds is the registry: every command there is.
var kinds = map[Kind]kind{
	KindFormCluster:         {"FormCluster", 1, decode[FormCluster]},
	KindRegisterBroker:      {"RegisterBroker", 2, decode[RegisterBroker]},
	KindCreateTopic:         {"CreateTopic", 1, decode[CreateTopic]},
	KindDeleteTopic:         {"DeleteTopic", 1, decode[DeleteTopic]},
	KindAddPartitions:       {"AddPartitions", 1, decode[AddPartitions]},
	KindSetConfigs:          {"SetConfigs", 1, decode[SetConfigs]},
	KindElectLeaders:        {"ElectLeaders", 2, decode[ElectLeaders]},
	KindCommitSegment:       {"CommitSegment", 1, decode[CommitSegment]},
	KindTrimLog:             {"TrimLog", 1, decode[TrimLog]},
	KindAllocateProducerIDs: {"AllocateProducerIDs", 1, decode[AllocateProducerIDs]},
	KindCommitOffsets:       {"CommitOffsets", 2, decodeCommit},
	KindDeleteOffsets:       {"DeleteOffsets", 2, decode[DeleteOffsets]},
	KindPutGroup:            {"PutGroup", 2, decode[PutGroup]},
	KindDeleteGroup:         {"DeleteGroup", 2, decode[DeleteGroup]},
	KindSetBrokerState:      {"SetBrokerState", 1, decode[SetBrokerState]},
	KindDrainBroker:         {"DrainBroker", 1, decode[DrainBroker]},
	KindUnregisterBroker:    {"UnregisterBroker", 1, decode[UnregisterBroker]},
	KindAlterISR:            {"AlterISR", 1, decode[AlterISR]},
	KindAssignReplicas:      {"AssignReplicas", 1, decode[AssignReplicas]},
	KindFinishAssignments:   {"FinishAssignments", 1, decode[FinishAssignments]},
	KindPlaceCoordinators:   {"PlaceCoordinators", 1, decode[PlaceCoordinators]},
	KindSpillSegments:       {"SpillSegments", 1, decode[SpillSegments]},
	KindSetLevel:            {"SetLevel", 1, decodeLevel},
	KindChangeGroup:         {"ChangeGroup", 1, decode[ChangeGroup]},
	KindPutTransaction:      {"PutTransaction", 1, decodeTransaction},
	KindDeleteTransaction:   {"DeleteTransaction", 1, decode[DeleteTransaction]},
	KindCommitTxnOffsets:    {"CommitTxnOffsets", 1, decodeTxnCommit},
	KindChangeShare:         {"ChangeShare", 1, decode[ChangeShare]},
	KindResetShares:         {"ResetShares", 1, decode[ResetShares]},
}

// since are the kinds that are proposed only from a level on; the others always were there. SetLevel is none of them: it is
// proposed when every broker knows it, which is what makes level 1.
var since = map[Kind]Level{
	KindChangeGroup: 2,

	KindPutTransaction: 3, KindDeleteTransaction: 3, KindCommitTxnOffsets: 3,

	KindChangeShare: 4, KindResetShares: 4,
}

// String is the command's name, for logs and metrics.
func (k Kind) String() string {
	if e, ok := kinds[k]; ok {
		return e.name
	}
	return fmt.Sprintf("kind %d", uint16(k))
}

// Knows tells whether every broker of a cluster at the level knows commands of the kind, in their newest version.
func (l Level) Knows(k Kind) error { return l.reaches(since[k], k.String()) }

// Since is the level from which on the kind is proposed.
func (k Kind) Since() Level { return since[k] }

func (FormCluster) Kind() Kind         { return KindFormCluster }
func (RegisterBroker) Kind() Kind      { return KindRegisterBroker }
func (CreateTopic) Kind() Kind         { return KindCreateTopic }
func (DeleteTopic) Kind() Kind         { return KindDeleteTopic }
func (AddPartitions) Kind() Kind       { return KindAddPartitions }
func (SetConfigs) Kind() Kind          { return KindSetConfigs }
func (ElectLeaders) Kind() Kind        { return KindElectLeaders }
func (CommitSegment) Kind() Kind       { return KindCommitSegment }
func (TrimLog) Kind() Kind             { return KindTrimLog }
func (AllocateProducerIDs) Kind() Kind { return KindAllocateProducerIDs }
func (CommitOffsets) Kind() Kind       { return KindCommitOffsets }
func (DeleteOffsets) Kind() Kind       { return KindDeleteOffsets }
func (PutGroup) Kind() Kind            { return KindPutGroup }
func (DeleteGroup) Kind() Kind         { return KindDeleteGroup }
func (SetBrokerState) Kind() Kind      { return KindSetBrokerState }
func (DrainBroker) Kind() Kind         { return KindDrainBroker }
func (UnregisterBroker) Kind() Kind    { return KindUnregisterBroker }
func (AlterISR) Kind() Kind            { return KindAlterISR }
func (AssignReplicas) Kind() Kind      { return KindAssignReplicas }
func (FinishAssignments) Kind() Kind   { return KindFinishAssignments }
func (PlaceCoordinators) Kind() Kind   { return KindPlaceCoordinators }
func (SetLevel) Kind() Kind            { return KindSetLevel }
