package image

import "github.com/qanat-io/qanat/metadata/command"

func (tx *Tx) setLevel(c command.SetLevel) *Refusal {
	if c.Level <= tx.level {
		return nil
	}
	var refusal *Refusal
	tx.brokers.root().Walk(func(_ []byte, b *Broker) bool {
		if release, supported := command.SplitLevel(b.Version); supported < c.Level {
			refusal = refuse(ErrLevel, "broker %d runs release %q, which supports up to %d, not %d: upgrade it, or unregister it when it is gone", b.ID, release, supported, c.Level)
		}
		return refusal != nil
	})
	if refusal == nil {
		tx.level = c.Level
	}
	return refusal
}

// Supported is the highest level that this release and every registered broker support; 0 before there are any.
func (m *Image) Supported() command.Level {
	lowest, registered := command.NewestLevel, false
	m.Brokers(func(b *Broker) bool {
		_, supported := command.SplitLevel(b.Version)
		lowest, registered = min(lowest, supported), true
		return true
	})
	if !registered {
		return 0
	}
	return lowest
}
