package group

import "time"

// CommitWithin decides whether offsets that are committed within a transaction are accepted (KIP-447), as Commit does for others:
// but a client that names no member may do so whoever else is in the group, as producers did before they knew of groups, and
// a group that is being rebalanced takes them, too.
func (g *Group) CommitWithin(now time.Time, who Identity) error {
	switch {
	case g.state == Dead:
		return ErrNotAvailable
	case who.Generation < 0 && (g.state == Empty || who.MemberID == "" && who.InstanceID == ""):
		return nil
	}
	if err := g.validate(who.MemberID, who.InstanceID); err != nil {
		return err
	}
	if who.Generation != g.generation {
		return ErrIllegalGeneration
	}
	if m := g.members[who.MemberID]; !m.fresh {
		g.touch(m, now, m.session)
	}
	return nil
}
