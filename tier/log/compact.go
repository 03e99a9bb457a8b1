package log

import (
	"context"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Compaction is about the local log alone: what is in the bucket is never rewritten. The methods are those of hot.Log.

// CleanedTo is up to where the local log has been compacted.
func (l *Log) CleanedTo() kafka.Offset { return l.hot.CleanedTo() }

// SetCleanedTo notes how far it has.
func (l *Log) SetCleanedTo(at kafka.Offset) error { return l.hot.SetCleanedTo(at) }

// Each visits the batches of sealed local segments.
func (l *Log) Each(ctx context.Context, from, next kafka.Offset, visit func(batch.View) error, pace func(ctx context.Context, bytes int) error) error {
	return l.hot.Each(ctx, from, next, visit, pace)
}

// Rewrite replaces sealed local segments.
func (l *Log) Rewrite(ctx context.Context, from, next kafka.Offset, edit hot.Edit, pace func(ctx context.Context, bytes int) error) (hot.Rewritten, error) {
	return l.hot.Rewrite(ctx, from, next, edit, pace)
}
