package quorum

import (
	"context"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Admin: change the membership. Asked of the leader by a member whose own client has asked for it.

type adminQuestion struct {
	Operation Operation      `cbor:"1,keyasint"`
	Node      kafka.BrokerID `cbor:"2,keyasint"`
}

type adminAnswer struct{}

func (q *Quorum) serveAdmin(ctx context.Context, body []byte) ([]byte, error) {
	question, err := decodeMessage[adminQuestion](body)
	if err != nil {
		return nil, err
	}
	if now, _ := q.lead.get(); !now.Ready {
		return nil, ErrNotLeader
	}
	if err := q.obey(ctx, question.Operation, question.Node); err != nil {
		return nil, err
	}
	return cbor.MustMarshal(adminAnswer{}), nil
}
