package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
)

func (a *app) logCommand() *cobra.Command {
	return a.parent("log", "Read segments without a broker", a.logDumpCommand())
}

// dumping is what log dump was asked for.
type dumping struct {
	records, quiet bool
	from           int64
	num            int
}

func (a *app) logDumpCommand() *cobra.Command {
	var x dumping
	c := a.outputs(&cobra.Command{
		Use:   "dump PATH...",
		Short: "Print the batches of segments and check them",
		Long: `Print the batches of segments, local or taken from the bucket, and check lengths, checksums and order. PATH is
a segment, or a directory: then every segment below it is read (*.log, and objects of a bucket). What is damaged is named
with its position, and the command ends with exit code 8. It only reads, and a broker may be running meanwhile; the end of
the file being written may then look torn.`,
		Example: "  qanat log dump qanat-data/partitions/*/0\n  qanat log dump --records -o json FILE | jq .",
		Args:    wantArgs(cobra.MinimumNArgs(1)),
		RunE:    func(_ *cobra.Command, args []string) error { return a.dump(args, x) },
	})
	f := c.Flags()
	f.BoolVarP(&x.records, "records", "r", false, "print the records of each batch")
	f.BoolVarP(&x.quiet, "quiet", "q", false, "print a line for each file only")
	f.Int64Var(&x.from, "from", 0, "skip batches that end before this offset")
	f.IntVarP(&x.num, "num", "n", 0, "stop after so many batches of each file")
	return c
}

// batchLine is one batch of log dump; with -o json, a line each.
type batchLine struct {
	File         string       `json:"file"`
	Position     int64        `json:"position"`
	Size         int          `json:"size"`
	Base         int64        `json:"base"`
	Next         int64        `json:"next"`
	Records      int32        `json:"records"`
	Epoch        int32        `json:"epoch"`
	Codec        string       `json:"codec"`
	MaxTimestamp int64        `json:"max_timestamp"`
	LogAppend    bool         `json:"log_append_time,omitempty"`
	Producer     int64        `json:"producer"`
	ProducerEp   int16        `json:"producer_epoch"`
	Sequence     int32        `json:"sequence"`
	Transaction  bool         `json:"transactional,omitempty"`
	Control      bool         `json:"control,omitempty"`
	CRC          string       `json:"crc"`
	Content      []recordLine `json:"content,omitempty"`
	Error        string       `json:"error,omitempty"`
}

// recordLine is one record of it.
type recordLine struct {
	Offset    int64   `json:"offset"`
	Timestamp int64   `json:"timestamp"`
	Key       *string `json:"key,omitempty"`
	KeyRaw    []byte  `json:"key_base64,omitempty"`
	Value     *string `json:"value,omitempty"`
	ValueRaw  []byte  `json:"value_base64,omitempty"`
	Headers   int     `json:"headers,omitempty"`
}

func (a *app) dump(paths []string, x dumping) error {
	files, err := segmentFiles(paths)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(a.stdout, 64<<10)
	d := &dumper{dumping: x, out: out, format: a.output}
	bad := 0
	for _, name := range files {
		if err := d.file(name); err != nil {
			var damage *damageError
			if !errors.As(err, &damage) {
				return errors.Join(err, out.Flush())
			}
			bad++
			if err := d.damaged(name, damage); err != nil {
				return err
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if bad > 0 {
		return failf(exitDamaged, "", "%d of %s damaged", bad, count(len(files), "file"))
	}
	return nil
}

// segmentFiles finds the segments that paths name.
func segmentFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, failf(exitNotFound, "", "%w", err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		var found []string
		err = filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && looksLikeSegment(e.Name()) {
				found = append(found, name)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		slices.Sort(found)
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, failf(exitNotFound, "", "no segment below %s", strings.Join(paths, ", "))
	}
	return files, nil
}

// looksLikeSegment knows local segments (<base>.log) and objects (<base>-<next>.e<epoch>.<uuid>).
func looksLikeSegment(name string) bool {
	return strings.HasSuffix(name, ".log") || len(name) > 43 && name[20] == '-' && strings.HasPrefix(name[41:], ".e")
}

// damageError is damage, as against trouble with reading.
type damageError struct {
	at  int64
	err error
}

func (d *damageError) Error() string { return fmt.Sprintf("at position %d: %v", d.at, d.err) }
func (d *damageError) Unwrap() error { return d.err }

type dumper struct {
	dumping
	out    *bufio.Writer
	format string
}

// data tells whether the output is for programs.
func (d *dumper) data() bool { return d.format == formatJSON || d.format == formatYAML }

// line writes one batch, for programs: a JSON object on a line, or such an object as an item of a YAML list.
func (d *dumper) line(l batchLine) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if d.format == formatYAML {
		text = append([]byte("- "), text...)
	}
	_, _ = d.out.Write(append(text, '\n')) // the error stays with the writer
	return nil
}

func (d *dumper) damaged(name string, damage *damageError) error {
	if d.data() {
		return d.line(batchLine{File: name, Position: damage.at, Error: damage.err.Error()})
	}
	fmt.Fprintf(d.out, "%s: DAMAGED %v\n", name, damage)
	return nil
}

// maxBatch bounds what a length field may make us read: Kafka's batches are at most 2 GiB, none is.
const maxBatch = 256 << 20

func (d *dumper) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	note := ""
	if footer, err := segment.ReadFooter(f, size); err == nil {
		size = footer.DataSize
		note = fmt.Sprintf(", object of %s/%d", footer.Topic, footer.Partition.Index)
	}
	w := walk{d: d, name: name, r: bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20), size: size, next: -1}
	if err := w.all(); err != nil {
		return err
	}
	if !d.data() {
		fmt.Fprintf(d.out, "%s: %s, %s, offsets [%d, %d), %s, checked%s\n",
			name, fmt.Sprintf("%d batches", w.batches), count(int(w.records), "record"), max(w.first, 0), max(w.next, 0), bytesText(w.position), note)
	}
	return nil
}

// walk reads one file's batches in order.
type walk struct {
	d        *dumper
	name     string
	r        *bufio.Reader
	size     int64
	position int64
	batches  int
	records  int64
	first    int64
	next     int64 // offset after the last batch; -1 before the first
	buf      []byte
}

func (w *walk) all() error {
	for w.position < w.size {
		if w.d.num > 0 && w.batches >= w.d.num {
			return nil
		}
		v, err := w.read()
		if err != nil {
			return err
		}
		if err := w.check(v); err != nil {
			return &damageError{w.position, err}
		}
		if !w.d.quiet && int64(v.NextOffset()) > w.d.from {
			if err := w.print(v); err != nil {
				return err
			}
		}
		w.position += int64(len(v))
		w.batches++
	}
	return nil
}

// read takes the next batch into the buffer.
func (w *walk) read() (batch.View, error) {
	head, err := w.r.Peek(int(min(batch.HeaderLen, w.size-w.position)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	if len(head) < batch.HeaderLen {
		return nil, &damageError{w.position, fmt.Errorf("%d bytes are less than a batch's header", len(head))}
	}
	n := int64(batch.View(head).Size())
	if n < batch.HeaderLen || n > maxBatch || n > w.size-w.position {
		return nil, &damageError{w.position, fmt.Errorf("batch of %d bytes, %d are left", n, w.size-w.position)}
	}
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.buf = w.buf[:n]
	if _, err := io.ReadFull(w.r, w.buf); err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	v, _, err := batch.Next(w.buf)
	if err != nil {
		return nil, &damageError{w.position, err}
	}
	return v, nil
}

// check looks at what a batch says of itself, and whether it follows the one before.
func (w *walk) check(v batch.View) error {
	if err := v.CheckCRC(); err != nil {
		return err
	}
	if base := int64(v.BaseOffset()); w.next >= 0 && base < w.next {
		return fmt.Errorf("batch begins with offset %d, the one before it ends at %d", base, w.next)
	}
	if w.next < 0 {
		w.first = int64(v.BaseOffset())
	}
	w.next = int64(v.NextOffset())
	w.records += int64(v.RecordCount())
	return nil
}

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

func codecName(c batch.Codec) string {
	if c >= 0 && int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", c)
}

func (w *walk) print(v batch.View) error {
	l := batchLine{
		File: w.name, Position: w.position, Size: len(v), Base: int64(v.BaseOffset()), Next: int64(v.NextOffset()), Records: v.RecordCount(),
		Epoch: int32(v.LeaderEpoch()), Codec: codecName(v.Attributes().Codec()), MaxTimestamp: v.MaxTimestamp(), LogAppend: v.Attributes().LogAppendTime(),
		Producer: int64(v.ProducerID()), ProducerEp: int16(v.ProducerEpoch()), Sequence: v.BaseSequence(),
		Transaction: v.Attributes().Transactional(), Control: v.Attributes().Control(), CRC: fmt.Sprintf("%08x", v.CRC()),
	}
	if w.d.records {
		it := batch.Records(v)
		for r := range it.All {
			l.Content = append(l.Content, recordOf(r))
		}
		if err := it.Err(); err != nil {
			return &damageError{w.position, fmt.Errorf("records: %w", err)}
		}
	}
	if w.d.data() {
		return w.d.line(l)
	}
	flags := ""
	if l.Transaction {
		flags += " transactional"
	}
	if l.Control {
		flags += " control"
	}
	if l.Producer >= 0 {
		flags += fmt.Sprintf(" producer=%d/%d seq=%d", l.Producer, l.ProducerEp, l.Sequence)
	}
	fmt.Fprintf(w.d.out, "%10d  [%d, %d)  records=%d size=%d epoch=%d codec=%s max=%s crc=%s%s\n",
		l.Position, l.Base, l.Next, l.Records, l.Size, l.Epoch, l.Codec, timeText(l.MaxTimestamp), l.CRC, flags)
	for _, r := range l.Content {
		fmt.Fprintf(w.d.out, "            %d  %s  key=%s value=%s\n", r.Offset, timeText(r.Timestamp), quoted(r.Key, r.KeyRaw), quoted(r.Value, r.ValueRaw))
	}
	return nil
}

func recordOf(r batch.Record) recordLine {
	l := recordLine{Offset: int64(r.Offset), Timestamp: r.Timestamp, Headers: r.Headers.Len()}
	var raw []byte
	l.Key, raw = textOrRaw(r.Key)
	l.KeyRaw = slices.Clone(raw) // the record's memory is used again
	l.Value, raw = textOrRaw(r.Value)
	l.ValueRaw = slices.Clone(raw)
	return l
}

func quoted(text *string, raw []byte) string {
	switch {
	case text != nil:
		return fmt.Sprintf("%q", *text)
	case raw != nil:
		return fmt.Sprintf("%x", raw)
	}
	return "null"
}
