package quorum

import (
	"sync"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Who begins to watch while commits are applied would miss one between the image that it begins with and what it is told.
func TestWatch(t *testing.T) {
	q := start(t, Config{Dir: t.TempDir()})
	orders := topic("orders")
	propose(t, q, orders)
	commit := func(offset int) {
		propose(t, q, command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: orders.ID}, Offset: kafka.Offset(offset)}}})
	}
	const commits = 100
	var proposers sync.WaitGroup
	proposers.Go(func() {
		for i := range commits {
			commit(i)
		}
	})
	for range 20 {
		var mu sync.Mutex
		var told []image.Touch
		m, stop := q.Watch(func(_ *image.Image, touches []image.Touch, restored bool) {
			mu.Lock()
			defer mu.Unlock()
			if restored {
				t.Error("a snapshot has come")
			}
			told = append(told, touches...)
		})
		commit(0)
		stop()
		last := q.Image().Index()
		mu.Lock()
		next := m.Index() + 1
		for _, touch := range told {
			if touch.Kind != image.TouchOffset || touch.Name != "g" || touch.Topic != "orders" {
				t.Errorf("%+v", touch)
			}
			if touch.Index != next && touch.Index != next-1 { // entries hold one commit, or two
				t.Errorf("entry %d follows on %d", touch.Index, next-1)
			}
			next = touch.Index + 1
		}
		if len(told) == 0 || next > last+1 {
			t.Errorf("told %d commits, up to entry %d of %d", len(told), next-1, last)
		}
		mu.Unlock()
	}
	proposers.Wait()
}
