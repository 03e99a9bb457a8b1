package batch

import "testing"

// A marker that was written would be read as another one, or as none.
func TestMarkerIsReadAsWritten(t *testing.T) {
	for _, m := range []Marker{{Commit: true, Coordinator: 7}, {Commit: false, Coordinator: -1}} {
		v, err := m.Build(9, 3, 1234)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.CheckCRC(); err != nil {
			t.Error(err)
		}
		if a := v.Attributes(); !a.Control() || !a.Transactional() || v.ProducerID() != 9 || v.ProducerEpoch() != 3 || v.BaseSequence() != -1 {
			t.Errorf("header: control %v, transactional %v, producer %d, epoch %d, sequence %d", a.Control(), a.Transactional(), v.ProducerID(), v.ProducerEpoch(), v.BaseSequence())
		}
		got, ok, err := v.Marker()
		if !ok || err != nil || got != m {
			t.Errorf("read %+v, %v, %v; written %+v", got, ok, err, m)
		}
	}
	b := Builder{Control: true}
	b.Add(1, []byte{0, 0, 0, 9}, make([]byte, 6))
	v, _ := b.Build()
	if _, ok, err := v.Marker(); ok || err != nil {
		t.Errorf("a control record of another kind: marker %v, err %v", ok, err)
	}
}
