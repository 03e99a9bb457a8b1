package replica

import "sync/atomic"

// Stats counts what was replicated.
type Stats struct{ bytes atomic.Int64 }

// Bytes is how many bytes of batches were fetched from leaders and appended.
func (f *Fetchers) Bytes() int64 { return f.stats.bytes.Load() }
