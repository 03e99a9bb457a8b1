package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/qanat-io/qanat/integration/harness"
)

// extent is the range of a partition that is in the bucket, as its leader says.
type extent struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// sweep has the nodes delete what no partition names, and asks what each partition has in the bucket. nil without a bucket.
func (p *probing) sweep(ctx context.Context) (map[int32]extent, error) {
	if p.bucket == "" {
		return nil, nil
	}
	ranges := map[int32]extent{}
	for node := range p.Nodes() {
		admin := p.System.Admin(p.Cluster, node)
		if admin == "" {
			return nil, nil
		}
		// Nothing uploads any more, so that an object without a name is an orphan, however young.
		if err := ask(ctx, http.MethodPost, admin, "/v1/tier/sweep?grace=1ms&force=true", nil); err != nil {
			return nil, err
		}
		var topics []struct {
			Partitions []struct {
				Partition int32  `json:"partition"`
				Leader    int32  `json:"leader"`
				LogEnd    int64  `json:"log_end"`
				Cold      extent `json:"cold"`
			} `json:"partitions"`
		}
		if err := ask(ctx, http.MethodGet, admin, "/v1/storage?topic="+p.topic.Name, &topics); err != nil {
			return nil, err
		}
		for _, t := range topics {
			for _, part := range t.Partitions {
				if e := part.Cold; e.End > ranges[part.Partition].End {
					ranges[part.Partition] = e
				}
			}
		}
	}
	return ranges, nil
}

func ask(ctx context.Context, method, address, path string, to any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return harness.Ask(ctx, method, address, path, to)
}

// object is a segment in the bucket, by its key.
type object struct {
	path       string
	base, next int64
}

// objects checks that those of each partition cover its range without gap or overlap, that every byte of them is right, and
// that there are no others.
func (p *probing) objects(ranges map[int32]extent) error {
	if ranges == nil {
		return nil
	}
	parts, err := p.list()
	if err != nil {
		return err
	}
	checked := 0
	for partition := range p.topic.Partitions {
		want := ranges[partition]
		at := want.Start
		for _, o := range parts[partition] {
			if err := o.check(); err != nil {
				p.found("object damaged", "%s: %v", filepath.Base(o.path), err)
			}
			checked++
			if o.base != at {
				p.found("objects do not fit", "partition %d: the next object begins at %d, not at %d", partition, o.base, at)
			}
			at = o.next
		}
		if at != want.End && want.End > 0 {
			p.found("objects do not fit", "partition %d: the bucket is said to hold up to %d, and holds up to %d", partition, want.End, at)
		}
	}
	p.look("%d objects checked", checked)
	return nil
}

// list is the topic's objects by partition, in order. Keys: docs/formats-bucket.md.
func (p *probing) list() (map[int32][]object, error) {
	parts := map[int32][]object{}
	err := filepath.WalkDir(p.bucket, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == p.bucket {
			return nil // nothing was ever uploaded
		}
		if err != nil || d.IsDir() || strings.Contains(path, ".sgwtmp") {
			return err
		}
		partition, err := strconv.ParseInt(filepath.Base(filepath.Dir(path)), 10, 32)
		if err != nil {
			return nil // not a segment's key
		}
		o := object{path: path}
		if n, err := fmt.Sscanf(filepath.Base(path), "%020d-%020d.e", &o.base, &o.next); n != 2 {
			return fmt.Errorf("%s is no segment's key: %w", path, err)
		}
		parts[int32(partition)] = append(parts[int32(partition)], o)
		return nil
	})
	for _, all := range parts {
		sort.Slice(all, func(i, j int) bool { return all[i].base < all[j].base })
	}
	return parts, err
}

// check reads an object's footer and all its batches.
func (o object) check() error {
	raw, err := os.ReadFile(o.path)
	if err != nil {
		return err
	}
	const footerSize = 40
	if len(raw) < footerSize {
		return fmt.Errorf("%d bytes", len(raw))
	}
	footer := raw[len(raw)-footerSize:]
	if string(footer[32:]) != "QANATSEG" || crc32.Checksum(footer[:28], castagnoli) != binary.BigEndian.Uint32(footer[28:]) {
		return fmt.Errorf("footer % x", footer)
	}
	size := binary.BigEndian.Uint64(footer)
	if size > uint64(len(raw)-footerSize) {
		return fmt.Errorf("data of %d bytes in an object of %d", size, len(raw))
	}
	all, err := batches(raw[:size])
	if err != nil {
		return err
	}
	at := o.base
	for _, b := range all {
		if b.base != at {
			return fmt.Errorf("batch [%d, %d) where %d was to be", b.base, b.next, at)
		}
		at = b.next
	}
	if at != o.next {
		return fmt.Errorf("ends at %d", at)
	}
	return nil
}
