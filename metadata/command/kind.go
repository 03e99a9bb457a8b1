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
	KindRegisterBroker:      {"RegisterBroker", 1, decode[RegisterBroker]},
	KindCreateTopic:         {"CreateTopic", 1, decode[CreateTopic]},
	KindDeleteTopic:         {"DeleteTopic", 1, decode[DeleteTopic]},
	KindAddPartitions:       {"AddPartitions", 1, decode[AddPartitions]},
	KindSetConfigs:          {"SetConfigs", 1, decode[SetConfigs]},
	KindElectLeaders:        {"ElectLeaders", 1, decode[ElectLeaders]},
	KindCommitSegment:       {"CommitSegment", 1, decode[CommitSegment]},
	KindTrimLog:             {"TrimLog", 1, decode[TrimLog]},
	KindAllocateProducerIDs: {"AllocateProducerIDs", 1, decode[AllocateProducerIDs]},
	KindCommitOffsets:       {"CommitOffsets", 1, decode[CommitOffsets]},
	KindDeleteOffsets:       {"DeleteOffsets", 1, decode[DeleteOffsets]},
	KindPutGroup:            {"PutGroup", 1, decode[PutGroup]},
	KindDeleteGroup:         {"DeleteGroup", 1, decode[DeleteGroup]},
}

// String is the command's name, for logs and metrics.
func (k Kind) String() string {
	if e, ok := kinds[k]; ok {
		return e.name
	}
	return fmt.Sprintf("kind %d", uint16(k))
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
