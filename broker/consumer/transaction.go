package consumer

import (
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// CommitWithin is Commit for offsets within a transaction (KIP-447): a producer that names no member may, and one whose member has
// moved on is told in the classic protocol's words, which are all that this request knows.
func (g *Group) CommitWithin(now time.Time, who group.Identity) error {
	if who.Generation < 0 && who.MemberID == "" && who.InstanceID == "" && !g.dead {
		return nil
	}
	err := g.Commit(now, who)
	if errors.Is(err, ErrStaleEpoch) {
		return fmt.Errorf("%w: %w", group.ErrIllegalGeneration, err)
	}
	return err
}
