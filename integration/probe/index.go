package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// lookup is a question that an index answers.
type lookup struct {
	partition int32
	time      int64 // milliseconds
}

// lookups asks for the offsets at times spread over the topic's records.
func (p *probing) lookups(ctx context.Context) (map[lookup]int64, error) {
	admin, err := p.Admin()
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	const points = 60
	answers := map[lookup]int64{}
	begin, end := p.Began.UnixMilli(), time.Now().UnixMilli()
	for i := range int64(points) {
		at := begin + i*(end-begin)/points
		offsets, err := after(ctx, admin, at, p.topic)
		if err != nil {
			return nil, fmt.Errorf("look up offsets by time: %w", err)
		}
		for partition, o := range offsets {
			answers[lookup{partition, at}] = o
		}
	}
	return answers, nil
}

// after asks one question, again while partitions have no leader.
func after(ctx context.Context, admin *kadm.Client, at int64, t Topic) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		list, err := admin.ListOffsetsAfterMilli(ctx, at, t.Name)
		if err == nil {
			err = list.Error()
		}
		if err == nil && len(list[t.Name]) == int(t.Partitions) {
			all := map[int32]int64{}
			for p, o := range list[t.Name] {
				all[p] = o.Offset
			}
			return all, nil
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(err, ctx.Err())
		case <-timer.C:
		}
	}
}

// rebuilt removes the indexes of the stopped nodes, starts them, and asks again.
func (p *probing) rebuilt(ctx context.Context, before map[lookup]int64) error {
	removed := 0
	for node := range p.Nodes() {
		for _, pattern := range p.System.Files()["index"] {
			files, err := filepath.Glob(filepath.Join(p.Data(node), pattern))
			if err != nil {
				return err
			}
			for _, f := range files {
				if err := os.RemoveAll(f); err != nil {
					return err
				}
				removed++
			}
		}
		if err := p.Start(node); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := p.Ready(bounded, p.topic.Name); err != nil {
		return fmt.Errorf("without indexes: %w", err)
	}
	admin, err := p.Admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	asked := map[int64]map[int32]int64{}
	for l, want := range before {
		if asked[l.time] == nil {
			if asked[l.time], err = after(ctx, admin, l.time, p.topic); err != nil {
				return err
			}
		}
		if got := asked[l.time][l.partition]; got != want {
			p.found("index differs", "partition %d: at time %d the kept index said %d, the new one %d", l.partition, l.time, want, got)
		}
	}
	p.look("%d lookups compared after %d index files were made anew", len(before), removed)
	return nil
}
