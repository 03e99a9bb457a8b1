package control

import (
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// heartbeat is what a broker tells the controller. Messages are CBOR maps with integer keys; a field that is new is ignored
// by those who do not know it.
type heartbeat struct {
	Epoch kafka.BrokerEpoch `cbor:"1,keyasint"`
	Index uint64            `cbor:"2,keyasint"` // of the newest command that its image holds
	Sizes []size            `cbor:"3,keyasint,omitempty"`
	Clock int64             `cbor:"4,keyasint,omitempty"` // the machine's wall clock, in Unix milliseconds; 0 from older releases
	// Ailments are what is wrong with the broker's partitions.
	Ailments []Ailment `cbor:"5,keyasint,omitempty"`
}

// size is what a partition that the broker leads takes on its disk.
type size struct {
	Partition kafka.Partition `cbor:"1,keyasint"`
	Bytes     int64           `cbor:"2,keyasint"`
}

// verdict is the answer.
type verdict struct {
	// Replaced: another incarnation has registered under the broker's id.
	Replaced bool `cbor:"1,keyasint,omitempty"`
	// MayActivate: the controller hears the broker and has nothing against it.
	MayActivate bool `cbor:"2,keyasint,omitempty"`
	// Index is of the controller's image: who is active has seen that much.
	Index uint64 `cbor:"3,keyasint"`
	// WantSizes: the next heartbeat shall have sizes.
	WantSizes bool `cbor:"4,keyasint,omitempty"`
	// Time is what most brokers' clocks say, in Unix milliseconds; 0: not known.
	Time int64 `cbor:"5,keyasint,omitempty"`
	// Skews are the brokers whose clocks are far from that.
	Skews []Skew `cbor:"6,keyasint,omitempty"`
	// Ailments are those of all brokers that are there.
	Ailments []Ailment `cbor:"7,keyasint,omitempty"`
	// Voters is how many voters the controller wants; 0 from older releases.
	Voters int `cbor:"8,keyasint,omitempty"`
}

const (
	maxMessageBytes = 16 << 20
	maxSizes        = 200_000
)

var decoding = cbor.Limits{Depth: 6, Elements: maxSizes, Pairs: 64, Newer: true}.Decoding()

var errMalformed = errors.New("heartbeat is malformed")

func decode[T any](b []byte) (v T, err error) {
	if len(b) > maxMessageBytes {
		return v, fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	if err := decoding.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return v, nil
}
