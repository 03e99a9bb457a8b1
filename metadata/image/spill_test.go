package image

import (
	"bytes"
	"errors"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A page would be taken that is not what the manifest holds, from whoever does not lead, or twice; or a snapshot would forget it.
func TestSpillSegments(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 1))
	for i := range kafka.Offset(5) {
		w.do(command.CommitSegment{Partition: part(1, 0), Entry: segment(i*100, i*100+100, 0)})
	}
	p, _ := w.m.Partition(part(1, 0))
	page, _ := p.Remote.NewPage(part(1, 0), 3, [16]byte{9})
	for _, c := range []struct {
		spill command.SpillSegments
		want  error
	}{
		{command.SpillSegments{Partition: part(2, 0), Page: page}, ErrUnknownPartition},
		{command.SpillSegments{Partition: part(1, 0), Epoch: 1, Page: page}, ErrStaleEpoch},
		{command.SpillSegments{Partition: part(1, 0), Page: manifest.Page{Base: 0, Next: 300, Count: 3}}, manifest.ErrConflict},
		{command.SpillSegments{Partition: part(1, 0), Page: page}, nil},
		{command.SpillSegments{Partition: part(1, 0), Page: page}, nil}, // a retry
	} {
		if _, _, err := w.apply(command.Envelope{}, c.spill); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.spill, err, c.want)
		}
	}
	p, _ = w.m.Partition(part(1, 0))
	if p.Remote.Len() != 2 || p.Remote.Count() != 5 || p.Remote.Start() != 0 || len(p.Remote.Pages()) != 1 {
		t.Fatalf("%d entries of %d, from %d, %d pages", p.Remote.Len(), p.Remote.Count(), p.Remote.Start(), len(p.Remote.Pages()))
	}
	if _, _, err := w.apply(command.Envelope{}, command.CommitSegment{Partition: part(1, 0), Entry: segment(100, 200, 0)}); !errors.Is(err, manifest.ErrSpilled) {
		t.Errorf("a late retry of what is in the page: %v", err)
	}
	w.do(command.TrimLog{Partition: part(1, 0), Start: 150})
	b := encoded(t, w.m)
	again, err := Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	q, _ := again.Partition(part(1, 0))
	if p, _ = w.m.Partition(part(1, 0)); !q.Remote.Equal(p.Remote) || q.Remote.Start() != 150 {
		t.Errorf("restored: from %d, %d pages", q.Remote.Start(), len(q.Remote.Pages()))
	}
}
