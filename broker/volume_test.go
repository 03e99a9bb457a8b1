package broker

import (
	"log/slog"
	"testing"
)

// A volume is full while there is room for records, or takes the room that the metadata log needs to make more.
func TestVolumeKeepsAReserve(t *testing.T) {
	const miB = 1 << 20
	v := &volume{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		total, free int64
		full        bool
	}{
		{100 << 30, 1 << 30, false}, {100 << 30, 63 * miB, true}, {100 << 30, 64 * miB, false}, // of a large one: 64 MiB
		{80 * miB, 9 * miB, true}, {80 * miB, 10 * miB, false}, // of a small one: an eighth
	} {
		if v.note(c.total, c.free); v.full.Load() != c.full {
			t.Errorf("%d MiB free of %d: full is %v", c.free/miB, c.total/miB, !c.full)
		}
	}
	if total, free, err := v.space(); err != nil || total <= 0 || free < 0 || free > total {
		t.Errorf("space of a directory that there is: %d of %d, %v", free, total, err)
	}
}
