package cold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Broken is an object that the bucket did not have, or had damaged, when it was last asked for. An outage breaks none.
type Broken struct {
	Partition  kafka.Partition
	Base, Next kafka.Offset // what it speaks of
	Key        string
	Missing    bool // it is not there
	Err        error
	At         time.Time

	block int // that was wanted; of a damaged one others may be whole
}

// brokenMost bounds what is remembered: whoever has lost more objects learns no more from their names.
const brokenMost = 1000

// broke notes an object that cannot be read for a reason that lies in itself. r.mu is held.
func (r *Reader) broke(key string, p kafka.Partition, base, next kafka.Offset, block int, err error) {
	missing := errors.Is(err, object.ErrNotFound) || errors.Is(err, object.ErrNoBucket)
	if !missing && !errors.Is(err, ErrCorrupt) {
		return
	}
	if _, known := r.broken[key]; known || len(r.broken) < brokenMost {
		r.broken[key] = Broken{p, base, next, key, missing, err, time.Now(), block}
	}
}

func (rm *remote) broke(r *Reader, block int, err error) {
	r.broke(rm.key, rm.id.partition, rm.entry.Base, rm.entry.Next, block, err)
}

// mended notes that a block of an object was read. r.mu is held.
func (r *Reader) mended(key string, block int) {
	if len(r.broken) == 0 {
		return
	}
	if b, ok := r.broken[key]; ok && (b.Missing || b.block == block) {
		delete(r.broken, key)
	}
}

// errSize says that an object is longer or shorter than what was uploaded.
var errSize = errors.New("it has another size than was uploaded")

// Look asks for the size of one of the objects that a manifest names without pages having to be read for it, at random: a bucket
// that was emptied is noticed soon, though nobody reads and it is long until the next listing. What comes of it, Broken tells.
func (r *Reader) Look(ctx context.Context, p kafka.Partition, m manifest.Manifest) {
	pages := m.Pages()
	if m.Len() == 0 {
		return
	}
	var key string
	var base, next kafka.Offset
	var size int64
	if i := rand.IntN(m.Len() + len(pages)); i < len(pages) {
		key, base, next, size = pages[i].Key(r.cluster, p), pages[i].Base, pages[i].Next, pages[i].Size()
	} else {
		e := m.At(i - len(pages))
		key, base, next, size = e.Key(r.cluster, p), e.Base, e.Next, e.Size
	}
	info, err := r.bucket.Head(ctx, key)
	if err == nil && info.Size != size {
		err = fmt.Errorf("%w: object %s: %w: %d bytes, not %d", ErrCorrupt, key, errSize, info.Size, size)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || errors.Is(err, object.ErrNotFound) { // the bucket itself is there
		maps.DeleteFunc(r.broken, func(_ string, b Broken) bool { return errors.Is(b.Err, object.ErrNoBucket) })
	}
	if err != nil {
		r.broke(key, p, base, next, footerBlock, err)
	} else if b := r.broken[key]; b.Missing || errors.Is(b.Err, errSize) {
		delete(r.broken, key)
	}
}

// Broken are the objects that were found missing or damaged and have not been read well since, by partition and offset; a thousand at
// most. Those that manifest, which tells a partition's, has given up are forgotten.
func (r *Reader) Broken(of func(kafka.Partition) (manifest.Manifest, bool)) []Broken {
	r.mu.Lock()
	list := make([]Broken, 0, len(r.broken))
	for _, b := range r.broken {
		list = append(list, b)
	}
	r.mu.Unlock()
	named := list[:0]
	for _, b := range list {
		if m, exists := of(b.Partition); exists && m.Len() > 0 && b.Next > m.Start() {
			named = append(named, b)
			continue
		}
		r.mu.Lock()
		delete(r.broken, b.Key)
		r.mu.Unlock()
	}
	slices.SortFunc(named, func(x, y Broken) int { return cmp.Or(x.Partition.Compare(y.Partition), cmp.Compare(x.Base, y.Base)) })
	return named
}

// Listed tells that a listing of the bucket which began at a moment has shown all objects of all partitions but lost's: what was missing
// before is there again.
func (r *Reader) Listed(began time.Time, lost func(kafka.Partition) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, b := range r.broken {
		if b.Missing && b.At.Before(began) && !lost(b.Partition) {
			delete(r.broken, key)
		}
	}
}
