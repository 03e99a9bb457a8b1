package image

import (
	"fmt"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Shares of share groups (KIP-932): what has become of a partition's records in a group.
//
//	done ◀── Start ──▶ [Acknowledged ×3][         ][Available, given out twice] …          fresh
//	                                     given out, or fresh: it is the same here
//
// What must stay true: only share groups have shares, and only of partitions that exist. Start never goes back, but by ResetShares. Runs are in
// order, do not overlap, none is below Start; what is fresh is in none of them, and neighbours are not alike.

// ShareGroup marks groups in the image that have shares, with Kafka's name.
const ShareGroup = "share"

// Share is a group's share of a partition. Not to be changed by its readers.
type Share struct {
	Partition kafka.Partition
	Version   uint64 // no two states of a share have the same
	Start     kafka.Offset
	Runs      []command.ShareRun
}

// Share finds a group's share of a partition.
func (m *Image) Share(group string, p kafka.Partition) (*Share, bool) {
	g, ok := m.groups.Get([]byte(group))
	if !ok {
		return nil, false
	}
	k := partitionKey(p)
	return g.shares.Get(k[:])
}

// Shares calls f for a group's shares, by topic id and partition, until it returns false.
func (m *Image) Shares(group string, f func(*Share) bool) {
	if g, ok := m.groups.Get([]byte(group)); ok {
		walk(g.shares, f)
	}
}

// noShares is the state of groups that have none.
var noShares = iradix.New[*Share]()

// shareGroup opens a share group for change.
func (tx *Tx) shareGroup(name string) (*groupTx, *Refusal) {
	if g := tx.group(name, false); g != nil && g.Type == ShareGroup {
		return g, nil
	}
	return nil, refuse(ErrUnknownGroup, "%q is no share group", name)
}

// putShare replaces a share. Within one entry versions grow too.
func (g *groupTx) putShare(index uint64, old *Share, next Share) *Share {
	next.Version = index
	if old != nil {
		next.Version = max(index, old.Version+1)
	}
	k := partitionKey(next.Partition)
	g.shares.put(k[:], &next)
	return &next
}

func (tx *Tx) changeShare(index uint64, c command.ChangeShare) (any, *Refusal) {
	g, refusal := tx.shareGroup(c.Group)
	if refusal != nil {
		return nil, refusal
	}
	k := partitionKey(c.Partition)
	p, ok := tx.partitions.get(k[:])
	if !ok {
		return nil, refuse(ErrUnknownPartition, "%s", c.Partition)
	}
	if c.LeaderEpoch != p.LeaderEpoch {
		return nil, refuse(ErrStaleEpoch, "%s is at leader epoch %d, the proposer's is %d", c.Partition, p.LeaderEpoch, c.LeaderEpoch)
	}
	version, start := uint64(0), kafka.Offset(0)
	var runs []command.ShareRun
	old, _ := g.shares.get(k[:])
	if old != nil {
		version, start, runs = old.Version, old.Start, old.Runs
	}
	if version != c.Base {
		return nil, refuse(ErrShareChanged, "of %s in group %q: it is at version %d, this was decided on %d", c.Partition, c.Group, version, c.Base)
	}
	if err := checkRuns(c.Start, c.Put); err != nil || c.Start < start {
		return nil, refuse(ErrInvalid, "share of %s in group %q: start %d after %d, runs: %v", c.Partition, c.Group, c.Start, start, err)
	}
	runs = overlay(runs, c.Start, c.Put)
	if len(runs) > command.MaxShareRuns {
		return nil, refuse(ErrInvalid, "share of %s in group %q would have %d runs", c.Partition, c.Group, len(runs))
	}
	return g.putShare(index, old, Share{Partition: c.Partition, Start: c.Start, Runs: runs}).Version, nil
}

// resetShares leaves out partitions that do not exist: whoever asked was told so, or they have gone since.
func (tx *Tx) resetShares(index uint64, c command.ResetShares) *Refusal {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return refusal
	}
	g, refusal := tx.shareGroup(c.Group)
	if refusal != nil {
		return refusal
	}
	for _, s := range c.Starts {
		if s.Start < 0 {
			return refuse(ErrInvalid, "start %d of %s", s.Start, s.Partition)
		}
	}
	for _, s := range c.Starts {
		k := partitionKey(s.Partition)
		if _, ok := tx.partitions.get(k[:]); ok {
			old, _ := g.shares.get(k[:])
			g.putShare(index, old, Share{Partition: s.Partition, Start: s.Start})
		}
	}
	for _, id := range c.Forget {
		g.shares.deletePrefix(id[:])
	}
	tx.changes.groups.add(c.Group)
	return nil
}

// checkRuns tells what is wrong with runs from start on.
func checkRuns(start kafka.Offset, runs []command.ShareRun) error {
	at := start
	for _, r := range runs {
		if r.First < at || r.Next <= r.First || r.Deliveries < 0 || r.State != command.ShareAvailable && !r.State.Done() {
			return fmt.Errorf("[%d, %d) in state %d after %d deliveries, behind %d", r.First, r.Next, r.State, r.Deliveries, at)
		}
		at = r.Next
	}
	if start < 0 || len(runs) > command.MaxShareRuns {
		return fmt.Errorf("%d of them, from %d on", len(runs), start)
	}
	return nil
}

// overlay is old without what put says anew of and what lies below start, and put. Both are in order.
func overlay(old []command.ShareRun, start kafka.Offset, put []command.ShareRun) []command.ShareRun {
	out := make([]command.ShareRun, 0, len(old)+len(put))
	old = slices.Clone(old) // what is cut is changed
	add := func(r command.ShareRun) {
		if r.First = max(r.First, start); r.First >= r.Next || r.State == command.ShareAvailable && r.Deliveries == 0 {
			return
		}
		if n := len(out); n > 0 && out[n-1].Next == r.First && out[n-1].State == r.State && out[n-1].Deliveries == r.Deliveries {
			out[n-1].Next = r.Next
			return
		}
		out = append(out, r)
	}
	for _, p := range put {
		for len(old) > 0 && old[0].First < p.First {
			r := old[0]
			if r.Next > p.First { // cut in two; what lies behind comes again
				old[0].First, r.Next = p.First, p.First
			} else {
				old = old[1:]
			}
			add(r)
		}
		for len(old) > 0 && old[0].Next <= p.Next {
			old = old[1:]
		}
		if len(old) > 0 && old[0].First < p.Next {
			old[0].First = p.Next
		}
		add(p)
	}
	for _, r := range old {
		add(r)
	}
	return slices.Clip(out)
}
