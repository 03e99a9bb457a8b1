package cold

import (
	"context"
	"errors"
	"log/slog"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrLoading says that the bytes are on their way: ready is called once when a retry is worth it.
var ErrLoading = errors.New("remote data is loading")

// ErrOutOfRange says that the manifest does not hold the offset.
var ErrOutOfRange = errors.New("offset is not in the remote log")

// ErrCorrupt says that an object is not what was uploaded, after a second read.
var ErrCorrupt = errors.New("remote segment is corrupt")

type Config struct {
	MaxInFlight                int64 // bytes being downloaded or held for readers, all partitions
	CacheBytes                 int64 // chunks kept in memory
	Workers                    int   // concurrent GETs
	MinReadahead, MaxReadahead int64 // 4 MiB, 64 MiB
	RangeSize                  int64 // 8–16 MiB
}

// Reader reads any partition's remote log; one per broker, safe for concurrent use.
type Reader struct{}

func NewReader(b object.Bucket, cluster string, cfg Config, log *slog.Logger) *Reader {
	panic("skeleton")
}

// Run serves downloads until ctx ends.
func (r *Reader) Run(ctx context.Context) error { panic("skeleton") }

// Read returns a run beginning with the batch that holds from, up to max bytes (first batch whole), not beyond m.End().
// If nothing of it is here it returns ErrLoading at once, starts or joins the download (single flight, readahead by stream), and calls
// ready once, from another goroutine, when a retry will find something (data or an error to report).
// stream identifies the reader for readahead (a fetch session or connection, any comparable key); Forget cancels what only it wanted.
func (r *Reader) Read(p kafka.Partition, m manifest.Manifest, stream any, from kafka.Offset, max int, ready func()) (batch.Run, error) {
	panic("skeleton")
}
func (r *Reader) Forget(stream any) { panic("skeleton") }

// FindTime finds the first record at or after ts, in the remote log. Blocking; ctx bounds it.
func (r *Reader) FindTime(ctx context.Context, p kafka.Partition, m manifest.Manifest, ts int64) (offset kafka.Offset, at int64, epoch kafka.LeaderEpoch, ok bool, err error) {
	panic("skeleton")
}

// Footer returns an entry's footer, cached.
func (r *Reader) Footer(ctx context.Context, p kafka.Partition, e manifest.Entry) (*segment.Footer, error) {
	panic("skeleton")
}

// Batches walks whole batches from offset to the entry's end, for lookups and recovery. (optional)
