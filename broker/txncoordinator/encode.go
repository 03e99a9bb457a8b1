package txncoordinator

import (
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The private requests between brokers, in CBOR.

// markRequest has a leader write markers. Index is how new the sender's image is: the leader waits for it.
type markRequest struct {
	Index uint64 `cbor:"1,keyasint"`
	Marks []mark `cbor:"2,keyasint"`
}

type mark struct {
	ID          string                 `cbor:"1,keyasint"`
	Producer    kafka.ProducerID       `cbor:"2,keyasint"`
	Epoch       kafka.ProducerEpoch    `cbor:"3,keyasint"`
	Commit      bool                   `cbor:"4,keyasint"`
	Coordinator kafka.CoordinatorEpoch `cbor:"5,keyasint"`
	Partition   kafka.Partition        `cbor:"6,keyasint"`
}

// markAnswer tells of each mark whether it is written, and below the high watermark.
type markAnswer struct {
	Written []bool `cbor:"1,keyasint"`
}

// enlistRequest adds to a transaction, or only asks whether it has what is named.
type enlistRequest struct {
	ID         string              `cbor:"1,keyasint"`
	Producer   kafka.ProducerID    `cbor:"2,keyasint"`
	Epoch      kafka.ProducerEpoch `cbor:"3,keyasint"`
	Partitions []kafka.Partition   `cbor:"4,keyasint,omitempty"`
	Groups     []string            `cbor:"5,keyasint,omitempty"`
	Version    uint8               `cbor:"6,keyasint"`
	Verify     bool                `cbor:"7,keyasint,omitempty"`
}

// enlistAnswer is how new an image shows what was answered, and the decision: see verdicts.
type enlistAnswer struct {
	Index   uint64 `cbor:"1,keyasint"`
	Verdict uint8  `cbor:"2,keyasint,omitempty"`
}

// decoding passes over fields of a later release.
var decoding = cbor.Limits{Depth: 8, Elements: 1 << 18, Pairs: 64, AnyText: true, Newer: true}.Decoding()
