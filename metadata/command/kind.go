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
)

// kind is one line of the registry.
type kind struct {
	name    string
	version uint8 // the newest, which is written; all from 1 on are read
	decode  func(body []byte) (Command, error)
	since   Level // the cluster's, at least, before it is proposed
}

// kinds is the registry: every command there is.
var kinds = map[Kind]kind{
	KindFormCluster:         {"FormCluster", 1, decode[FormCluster], 0},
	KindRegisterBroker:      {"RegisterBroker", 2, decode[RegisterBroker], 0},
	KindCreateTopic:         {"CreateTopic", 1, decode[CreateTopic], 0},
	KindDeleteTopic:         {"DeleteTopic", 1, decode[DeleteTopic], 0},
	KindAddPartitions:       {"AddPartitions", 1, decode[AddPartitions], 0},
	KindSetConfigs:          {"SetConfigs", 1, decode[SetConfigs], 0},
	KindElectLeaders:        {"ElectLeaders", 2, decode[ElectLeaders], 0},
	KindCommitSegment:       {"CommitSegment", 1, decode[CommitSegment], 0},
	KindTrimLog:             {"TrimLog", 1, decode[TrimLog], 0},
	KindAllocateProducerIDs: {"AllocateProducerIDs", 1, decode[AllocateProducerIDs], 0},
	KindCommitOffsets:       {"CommitOffsets", 2, decode[CommitOffsets], 0},
	KindDeleteOffsets:       {"DeleteOffsets", 2, decode[DeleteOffsets], 0},
	KindPutGroup:            {"PutGroup", 2, decode[PutGroup], 0},
	KindDeleteGroup:         {"DeleteGroup", 2, decode[DeleteGroup], 0},
	KindSetBrokerState:      {"SetBrokerState", 1, decode[SetBrokerState], 0},
	KindDrainBroker:         {"DrainBroker", 1, decode[DrainBroker], 0},
	KindUnregisterBroker:    {"UnregisterBroker", 1, decode[UnregisterBroker], 0},
	KindAlterISR:            {"AlterISR", 1, decode[AlterISR], 0},
	KindAssignReplicas:      {"AssignReplicas", 1, decode[AssignReplicas], 0},
	KindFinishAssignments:   {"FinishAssignments", 1, decode[FinishAssignments], 0},
	KindPlaceCoordinators:   {"PlaceCoordinators", 1, decode[PlaceCoordinators], 0},
	KindSpillSegments:       {"SpillSegments", 1, decode[SpillSegments], 0},
	KindSetLevel:            {"SetLevel", 1, decodeLevel, 0}, // proposed when all know it, which is what makes level 1
}

// String is the command's name, for logs and metrics.
func (k Kind) String() string {
	if e, ok := kinds[k]; ok {
		return e.name
	}
	return fmt.Sprintf("kind %d", uint16(k))
}

// Knows tells whether every broker of a cluster at the level knows commands of the kind, in their newest version.
func (l Level) Knows(k Kind) error {
	if since := kinds[k].since; since > l {
		return fmt.Errorf("%w: %s needs %d, the cluster works at %d until every registered broker runs this release", ErrLevel, k, since, l)
	}
	return nil
}

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
