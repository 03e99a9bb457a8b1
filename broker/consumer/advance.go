package consumer

import (
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// Next is when Advance wants to be called, if nothing happens before; zero: never. It may be early, never late.
func (g *Group) Next() time.Time { return g.check }

// Advance lets time pass: sessions end, and the time to give up partitions.
func (g *Group) Advance(now time.Time, out *Effects) {
	if g.check.IsZero() || now.Before(g.check) {
		return
	}
	g.check = time.Time{}
	for _, m := range slices.Clone(g.order) {
		switch {
		case !now.Before(m.deadline):
			g.remove(now, m, group.MemberFailed, "session expired", out)
		case !m.limit.IsZero() && !now.Before(m.limit):
			g.remove(now, m, group.MemberFailed, "it did not give up its partitions, or rejoin, within its rebalance timeout", out)
		default:
			g.note(m.deadline)
			if !m.limit.IsZero() {
				g.note(m.limit)
			}
		}
	}
	g.flush(out)
}
