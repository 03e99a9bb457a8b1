package quorum

import (
	"context"
	"fmt"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Propose: an entry for the leader to append. The question is the entry as it stands in the log (metadata/command); the
// answer, given when it is applied on the leader, says where. What became of its commands the proposer sees for itself when it
// applies the entry. Asked again after a failure, with the same bytes: a second copy is recognized by its request numbers.

type proposeAnswer struct {
	Index uint64 `cbor:"1,keyasint"` // of the newest command when the entry was applied: its own or a later one
}

// send has another node append an entry.
func (q *Quorum) send(ctx context.Context, leader kafka.BrokerID, entry []byte) error {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.StallTimeout)
	defer cancel()
	b, err := q.cfg.Peers.Do(ctx, leader, CallPropose, entry)
	if err != nil {
		return err
	}
	_, err = decodeMessage[proposeAnswer](b)
	return err
}

// servePropose appends another node's entry. What this node could not apply it does not take: once in the log it would halt them all.
func (q *Quorum) servePropose(ctx context.Context, from wire.Peer, entry []byte) ([]byte, error) {
	now, changed := q.lead.get()
	if now.ID == q.cfg.ID || q.LeaderID() == q.cfg.ID {
		for !now.Ready && q.LeaderID() == q.cfg.ID { // elected, and about to be ready
			select {
			case <-changed:
			case <-q.lead.ended:
				return nil, ErrClosed
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			now, changed = q.lead.get()
		}
	}
	if !now.Ready {
		return nil, ErrNotLeader
	}
	proposals, err := command.Decode(entry)
	if err != nil {
		return nil, fmt.Errorf("entry of broker %d: %w", from.Node, err)
	}
	for _, p := range proposals {
		if p.Envelope.Broker != from.Node {
			return nil, fmt.Errorf("%w: broker %d proposes as broker %d", errMalformed, from.Node, p.Envelope.Broker)
		}
	}
	if _, err := q.watched(len(entry), func() ([]answer, error) { return q.apply(entry) }); err != nil {
		return nil, notReady(err)
	}
	return cbor.MustMarshal(proposeAnswer{Index: q.Image().Index()}), nil
}
