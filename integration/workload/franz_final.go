package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// final reads every partition from its beginning to its end, which it asks for until it stays the same, then the
// group's offsets. All other clients have ended before.
func (c *client) final(ctx context.Context) error {
	cl, err := c.assigned()
	if err != nil {
		return err
	}
	defer cl.Close()
	next := make([]int64, c.Partitions)
	var ends []int64
	for settled := 0; settled < 3; {
		now, err := c.ends(ctx, kadm.NewClient(cl))
		if err != nil {
			return err
		}
		same := ends != nil
		for p, end := range now {
			same = same && ends[p] == end
			for next[p] < end {
				if ctx.Err() != nil {
					return fmt.Errorf("partition %d was read up to %d of %d: %w", p, next[p], end, ctx.Err())
				}
				c.polled(cl.PollRecords(ctx, 5000), next)
			}
		}
		if ends = now; same {
			settled++
		} else {
			settled = 0
		}
		// What a poll finds past the end that was told counts all the same.
		wait, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		c.polled(cl.PollRecords(wait, 5000), next)
		cancel()
	}
	for p := range int32(c.Partitions) {
		c.Final(p, next[p])
	}
	if c.Spec.Group == "" {
		return nil
	}
	for {
		err := c.ask(ctx, cl)
		if err == nil {
			return nil
		}
		wait(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("committed offsets: %w", err)
		}
	}
}

// ends are the partitions' high watermarks, all of them.
func (c *client) ends(ctx context.Context, admin *kadm.Client) ([]int64, error) {
	for {
		list, err := admin.ListEndOffsets(ctx, c.Spec.Topic)
		if err == nil {
			err = list.Error()
		}
		if err == nil && len(list[c.Spec.Topic]) == c.Partitions {
			ends := make([]int64, c.Partitions)
			for p, o := range list[c.Spec.Topic] {
				ends[p] = o.Offset
			}
			return ends, nil
		}
		wait(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("end offsets of %d partitions: %w, %w", c.Partitions, err, ctx.Err())
		}
	}
}

// wait lets a moment pass between two questions to a cluster that may not be able to answer yet.
func wait(ctx context.Context) {
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
