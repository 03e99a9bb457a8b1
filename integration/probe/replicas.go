package probe

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// replicas compares what the stopped nodes hold of each partition, batch by batch: the same bytes at the same offsets
// wherever two of them hold an offset, and the same end. Starts may differ: what is in the bucket may be released at
// different times.
func (p *probing) replicas() error {
	compared := 0
	for partition := range p.topic.Partitions {
		var first []batch
		from := -1
		for node := range p.Nodes() {
			dir := p.System.Records(p.Cluster, node, p.topic.Name, p.topic.ID, partition)
			all, err := replica(dir)
			if err != nil {
				p.found("replica damaged", "node %d partition %d: %v", node+1, partition, err)
				continue
			}
			if all == nil {
				continue
			}
			if from < 0 {
				first, from = all, node
				continue
			}
			n, difference := compare(first, all)
			compared += n
			if difference != "" {
				p.found("replicas differ", "partition %d, nodes %d and %d: %s", partition, from+1, node+1, difference)
			}
		}
		if from < 0 && p.Nodes() > 0 {
			return fmt.Errorf("no node holds partition %d", partition)
		}
	}
	p.look("%d batches of replicas compared", compared)
	return nil
}

// replica is all batches of a directory's segments; nil when there is none.
func replica(dir string) ([]batch, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	sort.Strings(files) // 20 digits each
	all := []batch{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		some, err := batches(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(f), err)
		}
		all = append(all, some...)
	}
	for i := 1; i < len(all); i++ {
		if all[i].base < all[i-1].next {
			return nil, fmt.Errorf("offset %d comes after %d", all[i].base, all[i-1].next-1)
		}
	}
	return all, nil
}

// compare counts the batches that both hold, and tells the first difference.
func compare(a, b []batch) (both int, difference string) {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i].base < b[j].base && j == 0:
			i++
		case b[j].base < a[i].base && i == 0:
			j++
		case a[i].base != b[j].base || a[i].next != b[j].next:
			return both, fmt.Sprintf("batches [%d, %d) and [%d, %d)", a[i].base, a[i].next, b[j].base, b[j].next)
		case !bytes.Equal(a[i].bytes, b[j].bytes):
			return both, fmt.Sprintf("the bytes of batch [%d, %d)", a[i].base, a[i].next)
		default:
			i, j, both = i+1, j+1, both+1
		}
	}
	if end(a) != end(b) {
		return both, fmt.Sprintf("one ends at %d, the other at %d", end(a), end(b))
	}
	return both, ""
}

func end(all []batch) int64 {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].next
}
