package cold

import (
	"context"
	"fmt"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Footer returns an entry's footer, cached. It downloads on the caller's
// goroutine where nobody else is at it, so it may be used before Run. The
// footer is shared and not to be changed.
func (r *Reader) Footer(ctx context.Context, p kafka.Partition, e manifest.Entry) (*segment.Footer, error) {
	rm, err := r.footer(ctx, p, e)
	if err != nil {
		return nil, err
	}
	return rm.footer, nil
}

// footer returns an object with its footer loaded.
func (r *Reader) footer(ctx context.Context, p kafka.Partition, e manifest.Entry) (*remote, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.mu.Lock()
		rm := r.remote(p, e)
		if rm.footer != nil {
			r.touch(rm)
			r.mu.Unlock()
			return rm, nil
		}
		if err := rm.failure(footerBlock); err != nil {
			r.mu.Unlock()
			return nil, err
		}
		if rm.load != loadRunning {
			rm.load = loadRunning
			r.mu.Unlock()
			r.loadFooter(ctx, rm)
			continue
		}
		done := make(chan struct{})
		rm.asked = append(rm.asked, func() { close(done) })
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-done:
		}
	}
}

// loadFooter downloads a footer, with retries, and tells who waits. When ctx
// ends it is as if nothing had been tried.
func (r *Reader) loadFooter(ctx context.Context, rm *remote) {
	f, err := r.fetchFooter(ctx, rm)
	r.mu.Lock()
	defer r.unlock()
	switch {
	case err == nil:
		r.pace.succeeded()
		rm.loaded(r, f)
	case ctx.Err() != nil:
		rm.load = loadNone
		rm.call(r, footerBlock)
		rm.plan(r)
	default:
		rm.load = loadNone
		r.log.Warn("footer of remote segment cannot be read", "key", rm.key, "error", err)
		rm.fail(r, footerBlock, err, cooldown)
		rm.curious = nil
	}
	r.pump()
}

func (r *Reader) fetchFooter(ctx context.Context, rm *remote) (*segment.Footer, error) {
	e := rm.entry
	n := e.Size - e.DataSize
	if n <= 0 || n > maxTrailer {
		return nil, fmt.Errorf("%w: object %s: manifest tells of a trailer of %d bytes", ErrCorrupt, rm.key, n)
	}
	var f *segment.Footer
	err := r.retrying(ctx, func() error {
		r.stats.footers.Add(1)
		buf := make([]byte, n)
		if err := r.get(ctx, rm.key, e.DataSize, buf, func(int) error { return nil }); err != nil {
			return err
		}
		var err error
		if f, err = segment.DecodeTrailer(buf, e.Size); err != nil {
			return err
		}
		if f.Base != e.Base || f.Next != e.Next || f.DataSize != e.DataSize {
			return fmt.Errorf("%w: footer is of [%d, %d), manifest has [%d, %d)", segment.ErrCorrupt, f.Base, f.Next, e.Base, e.Next)
		}
		// Every checksum of another segment fits it, too. Whoever copies a bucket, or brings objects back, can put one under another's name.
		if f.Partition != rm.id.partition || f.Epoch != e.Epoch {
			return fmt.Errorf("%w: it is another one's: of partition %d of topic %s (id %s), uploaded in leader epoch %d",
				segment.ErrCorrupt, f.Partition.Index, f.Topic, f.Partition.Topic, f.Epoch)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("footer of %s: %w", rm.key, err)
	}
	return f, nil
}

// maxTrailer bounds what a manifest can make us allocate; segment has the same bound.
const maxTrailer = 256<<20 + 64
