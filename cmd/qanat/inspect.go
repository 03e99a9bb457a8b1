package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
)

// objectFacts is tier inspect.
type objectFacts struct {
	Object       string      `json:"object"`
	Size         int64       `json:"size"`
	Cluster      string      `json:"cluster"`
	Topic        string      `json:"topic"`
	TopicID      string      `json:"topic_id"`
	Partition    int32       `json:"partition"`
	Base         int64       `json:"base"`
	Next         int64       `json:"next"`
	Epoch        int32       `json:"epoch"`
	DataSize     int64       `json:"data_size"`
	Records      int64       `json:"records"`
	MinTimestamp int64       `json:"min_timestamp"`
	MaxTimestamp int64       `json:"max_timestamp"`
	Compacted    bool        `json:"compacted"`
	Chunks       int         `json:"chunks"`
	IndexEntries int         `json:"index_entries"`
	StateSize    int         `json:"state_size"`
	Epochs       []epochFact `json:"epochs"`
	Aborted      []abortFact `json:"aborted"`
	Verified     *bool       `json:"verified,omitempty"`
}

type epochFact struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"start"`
}

type abortFact struct {
	Producer int64 `json:"producer"`
	First    int64 `json:"first"`
	Last     int64 `json:"last"`
}

func (a *app) tierInspectCommand() *cobra.Command {
	var bucket string
	var verify bool
	c := a.outputs(&cobra.Command{
		Use:   "inspect OBJECT",
		Short: "Show what a segment or a manifest page in the bucket says of itself",
		Long: `Show what a segment in the bucket says of itself, in the footer behind its records, or which segments a manifest page names. OBJECT is a file, or,
with --bucket, a key in that bucket. With --verify all of it is read, and every checksum and batch is checked.
qanat log dump shows its batches.`,
		Example: "  qanat tier inspect qanat-data/bucket/CLUSTER/TOPIC-ID/0/00000000000000000000-….e1.…\n  qanat tier inspect --bucket s3://my-bucket/qanat CLUSTER/TOPIC-ID/0/…",
		Args:    wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspect(cmd.Context(), bucket, args[0], verify)
		},
	})
	c.Flags().StringVarP(&bucket, "bucket", "b", "", "bucket URL: dir:PATH, s3://NAME?…, minio://NAME?…")
	c.Flags().BoolVar(&verify, "verify", false, "read all of it and check every checksum")
	return c
}

func (a *app) inspect(ctx context.Context, bucket, name string, verify bool) error {
	o, err := openObject(ctx, bucket, name)
	if err != nil {
		return err
	}
	defer o.Close()
	if page, err := isPage(o); page || err != nil {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return a.inspectPage(o, name)
	}
	f, err := segment.ReadFooter(o, o.Size())
	if err != nil {
		return damaged(name, err)
	}
	if err := namedAs(name, f); err != nil {
		return damaged(name, err)
	}
	facts := factsOf(name, o.Size(), f)
	if verify {
		if err := verifyObject(o, f); err != nil {
			return damaged(name, err)
		}
		yes := true
		facts.Verified = &yes
	}
	return a.showObject(facts)
}

// damaged tells damage from trouble on the way to the bytes.
func damaged(name string, err error) error {
	if errors.Is(err, segment.ErrCorrupt) {
		return failf(exitDamaged, "", "%s: %w", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// verifyObject checks the chunks' checksums and every batch, and that both agree with the footer.
func verifyObject(r io.ReaderAt, f *segment.Footer) error {
	found, err := segment.Scan(io.NewSectionReader(r, 0, f.DataSize), f.DataSize)
	if err != nil {
		return err
	}
	if found.Base != f.Base || found.Records != f.Records || found.MaxTimestamp != f.MaxTimestamp {
		return fmt.Errorf("%w: the batches are not those that the footer tells of", segment.ErrCorrupt)
	}
	for i, sum := range found.Chunks {
		if i >= len(f.Chunks) || f.Chunks[i] != sum {
			return fmt.Errorf("%w: chunk %d has another checksum", segment.ErrCorrupt, i)
		}
	}
	return nil
}

// namedAs compares an object's name with what it says of itself. A file may have any name, of which nothing follows.
func namedAs(name string, f *segment.Footer) error {
	parts := strings.Split(filepath.ToSlash(name), "/")
	const inKey = 4 // <cluster>/<topic id>/<partition>/<base>-<next>.e<epoch>.<uuid>
	if len(parts) < inKey {
		return nil
	}
	key := parts[len(parts)-inKey:]
	of, e, err := manifest.ParseKey(key[0], strings.Join(key, "/"))
	if err != nil {
		return nil
	}
	if of != f.Partition || e.Base != f.Base || e.Next != f.Next || e.Epoch != f.Epoch || key[0] != f.Cluster {
		return fmt.Errorf("%w: it is another one's: of cluster %s, topic %s (id %s), partition %d, offsets [%d, %d), leader epoch %d; its name says otherwise",
			segment.ErrCorrupt, f.Cluster, f.Topic, f.Partition.Topic, f.Partition.Index, f.Base, f.Next, f.Epoch)
	}
	return nil
}

func factsOf(name string, size int64, f *segment.Footer) objectFacts {
	x := objectFacts{
		Object: name, Size: size, Cluster: f.Cluster, Topic: f.Topic, TopicID: f.Partition.Topic.String(), Partition: f.Partition.Index,
		Base: int64(f.Base), Next: int64(f.Next), Epoch: int32(f.Epoch), DataSize: f.DataSize, Records: f.Records,
		MinTimestamp: f.MinTimestamp, MaxTimestamp: f.MaxTimestamp, Compacted: f.Compacted,
		Chunks: len(f.Chunks), IndexEntries: len(f.Index), StateSize: len(f.State), Epochs: []epochFact{}, Aborted: []abortFact{},
	}
	for _, e := range f.Epochs {
		x.Epochs = append(x.Epochs, epochFact{int32(e.Epoch), int64(e.Start)})
	}
	for _, t := range f.Aborted {
		x.Aborted = append(x.Aborted, abortFact{int64(t.Producer), int64(t.First), int64(t.Last)})
	}
	return x
}

func (a *app) showObject(x objectFacts) error {
	var epochs, aborted []string
	for _, e := range x.Epochs {
		epochs = append(epochs, fmt.Sprintf("%d from %d", e.Epoch, e.Start))
	}
	for _, t := range x.Aborted {
		aborted = append(aborted, fmt.Sprintf("producer %d [%d, %d]", t.Producer, t.First, t.Last))
	}
	pairs := []string{
		"object", x.Object,
		"size", fmt.Sprintf("%d (%s): %d of batches, %d of trailer", x.Size, bytesText(x.Size), x.DataSize, x.Size-x.DataSize),
		"cluster", x.Cluster,
		"topic", fmt.Sprintf("%s (id %s), partition %d", x.Topic, x.TopicID, x.Partition),
		"offsets", fmt.Sprintf("[%d, %d), %d records", x.Base, x.Next, x.Records),
		"timestamps", fmt.Sprintf("%s to %s", timeText(x.MinTimestamp), timeText(x.MaxTimestamp)),
		"uploaded under", fmt.Sprintf("leader epoch %d", x.Epoch),
		"leader epochs", orNone(epochs),
		"aborted", orNone(aborted),
		"index", fmt.Sprintf("%d entries", x.IndexEntries),
		"checksums", fmt.Sprintf("%d chunks of %s", x.Chunks, bytesText(segment.ChunkSize)),
		"producer state", bytesText(int64(x.StateSize)),
	}
	if x.Verified != nil {
		pairs = append(pairs, "verified", "every checksum and batch")
	}
	return a.showFields(x, pairs...)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func timeText(ms int64) string {
	if ms < 0 {
		return "none"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// fileObject is a local file.
type fileObject struct {
	*os.File
	size int64
}

func (f fileObject) Size() int64 { return f.size }

// bucketObject reads ranges of an object.
type bucketObject struct {
	ctx  context.Context // of the command; the io.ReaderAt has no place for it
	b    object.Bucket
	key  string
	size int64
}

func (o bucketObject) Size() int64  { return o.size }
func (o bucketObject) Close() error { return o.b.Close() }

func (o bucketObject) ReadAt(p []byte, off int64) (int, error) {
	if off >= o.size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), o.size-off)
	body, err := o.b.Get(o.ctx, o.key, off, want)
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(body, p[:want])
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func openObject(ctx context.Context, bucket, name string) (sized, error) {
	if bucket == "" {
		f, err := os.Open(name)
		if err != nil {
			return nil, failf(exitNotFound, "name a file, or the bucket with --bucket", "%w", err)
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", name)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return fileObject{f, info.Size()}, nil
	}
	if path, ok := strings.CutPrefix(bucket, "dir:"); ok {
		if _, err := os.Stat(path); err != nil { // opening would create it
			return nil, failf(exitNotFound, "", "bucket: %w", err)
		}
	}
	b, err := object.Open(bucket)
	if err != nil {
		return nil, failf(exitUsage, "", "%w", err)
	}
	info, err := b.Head(ctx, name)
	if err != nil {
		if errors.Is(err, object.ErrNotFound) {
			err = failf(exitNotFound, "", "%w", err)
		}
		return nil, errors.Join(err, b.Close())
	}
	return bucketObject{ctx, b, name, info.Size}, nil
}
