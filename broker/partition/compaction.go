package partition

import (
	"github.com/qanat-io/qanat/broker/producer"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/compact"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Compactable is the partition's log as tier/compact sees it.
func (p *Partition) Compactable() compact.Log { return compactable{p.log, p} }

type compactable struct {
	*tierlog.Log
	p *Partition
}

func (c compactable) Policy() *compact.Policy { return compaction(c.p.settings.Load()) }

func compaction(t *config.Topic) *compact.Policy {
	if !t.Compact {
		return nil
	}
	segment := hotConfig(t).SegmentBytes
	return &compact.Policy{
		MinLag: t.MinCompactionLag, MaxLag: t.MaxCompactionLag, DirtyRatio: t.DirtyRatio, DeleteRetention: t.DeleteRetention, SegmentBytes: segment,
	}
}

// Limit implements compact.Log: what is below the last stable offset is never cut off, and decided.
func (c compactable) Limit() kafka.Offset { return c.p.LastStable() }

// Archived implements compact.Log.
func (c compactable) Archived() bool { return c.Manifest().Len() > 0 }

// Committed implements compact.Log.
func (c compactable) Committed(v batch.View) bool {
	if !v.Attributes().Transactional() {
		return true
	}
	aborted := c.p.aborted.Load()
	return aborted == nil || !producer.IsAborted(*aborted, v.ProducerID(), v.BaseOffset())
}

// LastOfProducer implements compact.Log.
func (c compactable) LastOfProducer(v batch.View) bool {
	c.p.appendMu.Lock()
	defer c.p.appendMu.Unlock()
	if p := c.p.producers.Producer(v.ProducerID()); p == nil || v.ProducerEpoch() != p.Epoch {
		return false
	}
	last := c.p.producers.LastOffset(v.ProducerID())
	return v.LastOffset() == last || v.Attributes().Control() && v.LastOffset() > last
}
