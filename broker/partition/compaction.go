package partition

import (
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

// Limit implements compact.Log: what is below the high watermark is never cut off.
func (c compactable) Limit() kafka.Offset { return c.p.HighWatermark() }

// Archived implements compact.Log.
func (c compactable) Archived() bool { return c.Manifest().Len() > 0 }

// Committed implements compact.Log: there are no transactions.
func (c compactable) Committed(batch.View) bool { return true }

// LastOfProducer implements compact.Log.
func (c compactable) LastOfProducer(v batch.View) bool {
	c.p.appendMu.Lock()
	defer c.p.appendMu.Unlock()
	return c.p.producers.LastOffset(v.ProducerID()) == v.LastOffset()
}
