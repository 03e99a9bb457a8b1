package partition

import "sync/atomic"

// Traffic counts what goes through a topic's partitions on this broker since it started, which outlives each of them: one that
// moves away takes nothing back. Its bytes are of batches, as stored.
type Traffic struct {
	Produced   atomic.Int64 // bytes
	Records    atomic.Int64
	Hot, Cold  atomic.Int64 // bytes that consumers read, from the local disk and from the bucket
	Replicated atomic.Int64 // bytes that followers read
}

// Served counts n bytes that are on their way to a consumer, or to a replica.
func (p *Partition) Served(n int, cold, replica bool) {
	switch t := p.traffic; {
	case replica:
		t.Replicated.Add(int64(n))
	case cold:
		t.Cold.Add(int64(n))
	default:
		t.Hot.Add(int64(n))
	}
}
