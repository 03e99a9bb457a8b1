package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/qanat-io/qanat/tier/manifest"
)

// pageFacts is tier inspect of a manifest page.
type pageFacts struct {
	Object    string      `json:"object"`
	Size      int64       `json:"size"`
	TopicID   string      `json:"topic_id"`
	Partition int32       `json:"partition"`
	Base      int64       `json:"base"`
	Next      int64       `json:"next"`
	Bytes     int64       `json:"bytes"` // of the segments that it names
	Segments  []pageEntry `json:"segments"`
}

type pageEntry struct {
	Base         int64  `json:"base"`
	Next         int64  `json:"next"`
	Epoch        int32  `json:"epoch"`
	UUID         string `json:"uuid"`
	Size         int64  `json:"size"`
	MaxTimestamp int64  `json:"max_timestamp"`
	Uploaded     int64  `json:"uploaded"`
}

// isPage tells whether the object begins as a manifest page does.
func isPage(o sized) (bool, error) {
	var head [8]byte
	n, err := o.ReadAt(head[:min(o.Size(), int64(len(head)))], 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	return manifest.IsPage(head[:n]), nil
}

func (a *app) inspectPage(o sized, name string) error {
	if o.Size() > (manifest.Page{Count: manifest.MaxPageEntries}).Size() {
		return failf(exitDamaged, "", "%s: %d bytes are no manifest page", name, o.Size())
	}
	b := make([]byte, o.Size())
	if n, err := o.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("%s: %w", name, err)
	}
	of, entries, err := manifest.DecodePage(b)
	if err != nil {
		return failf(exitDamaged, "", "%s: %w", name, err)
	}
	x := pageFacts{
		Object: name, Size: o.Size(), TopicID: of.Topic.String(), Partition: of.Index,
		Base: int64(entries.Start()), Next: int64(entries.End()), Bytes: entries.Bytes(), Segments: []pageEntry{},
	}
	t := table{columns: []string{"#BASE", "#NEXT", "#SIZE", "LATEST RECORD", "UPLOADED", "#EPOCH", "+UUID"}}
	for _, e := range entries.All() {
		uuid := fmt.Sprintf("%x", e.UUID)
		x.Segments = append(x.Segments, pageEntry{int64(e.Base), int64(e.Next), int32(e.Epoch), uuid, e.Size, e.MaxTimestamp, e.Uploaded})
		t.add(strconv.FormatInt(int64(e.Base), 10), strconv.FormatInt(int64(e.Next), 10), bytesText(e.Size), timeText(e.MaxTimestamp), timeText(e.Uploaded),
			strconv.Itoa(int(e.Epoch)), uuid)
	}
	t.footer = fmt.Sprintf("a manifest page of partition %d of topic id %s: %s, %s, offsets [%d, %d)",
		x.Partition, x.TopicID, count(len(x.Segments), "segment"), bytesText(x.Bytes), x.Base, x.Next)
	return a.show(x, t)
}
