package txncoordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Leader writes markers where this broker leads, and tells what may be written there.
type Leader struct {
	Quorum Quorum
	// Find returns nil when this broker does not host a partition.
	Find func(kafka.Partition) *partition.Partition
}

// reachTimeout bounds the wait for an image: brokers follow the quorum within milliseconds.
const reachTimeout = 2 * time.Second

// Mark serves the private request; see markRequest.
func (l *Leader) Mark(ctx context.Context, body []byte) ([]byte, error) {
	var r markRequest
	if err := decoding.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	written, err := l.write(ctx, r)
	if err != nil {
		return nil, err
	}
	return cbor.Marshal(markAnswer{written})
}

// write writes markers and waits until they are below their partitions' high watermarks, or cannot be.
func (l *Leader) write(ctx context.Context, r markRequest) ([]bool, error) {
	wait, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err := l.Quorum.Reached(wait, r.Index); err != nil {
		return nil, err
	}
	w := &marks{written: make([]bool, len(r.Marks))}
	w.left.Add(len(r.Marks))
	for i, m := range r.Marks {
		p := l.Find(m.Partition)
		if p == nil {
			w.left.Done()
			continue
		}
		p.AppendMarker(partition.End{
			Producer: m.Producer, Epoch: m.Epoch, Marker: batch.Marker{Commit: m.Commit, Coordinator: m.Coordinator},
			Verify: func() error { return l.decided(m) },
		}, durableTimeout, w, i)
	}
	w.left.Wait()
	return w.written, nil
}

// decided tells whether this broker's image shows the decision that a marker is of.
func (l *Leader) decided(m mark) error {
	if bugTorn {
		return nil
	}
	r, _ := l.Quorum.Image().Transaction(m.ID)
	return txn.VerifyMarker(r, txn.Identity{Producer: m.Producer, Epoch: m.Epoch}, m.Commit)
}

// Verify tells whether this broker's image shows a transaction under way that has a partition.
func (l *Leader) Verify(id string, who txn.Identity, p kafka.Partition) error {
	r, _ := l.Quorum.Image().Transaction(id)
	return txn.Verify(r, who, p)
}

// marks implements partition.Waiter.
type marks struct {
	written []bool
	left    sync.WaitGroup
}

// Produced implements partition.Waiter.
func (m *marks) Produced(slot int, r partition.Produced) {
	// A producer whose newer epoch is known here has no transaction of an older one here.
	m.written[slot] = r.Err == nil || errors.Is(r.Err, partition.ErrProducerFenced)
	m.left.Done()
}
