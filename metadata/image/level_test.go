package image

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/cbor"
)

// The level would rise while a registered broker does not support it, fall, or let a broker in that does not support it; or
// keep one out that supports a newer one.
func TestLevel(t *testing.T) {
	w := newWorld(t)
	register := func(incarnation byte, version string) error {
		_, _, err := w.apply(command.Envelope{}, command.RegisterBroker{ID: 0, Version: version, Incarnation: [16]byte{incarnation}})
		return err
	}
	raise := func(l command.Level) error {
		_, _, err := w.apply(command.Envelope{}, command.SetLevel{Level: l})
		return err
	}
	if w.m.Supported() != 0 {
		t.Error("nobody is registered, and something is supported")
	}
	w.do(command.RegisterBroker{ID: 1, Version: "old"})
	w.do(command.RegisterBroker{ID: 2, Version: command.WithLevel("new", 1)})
	if err := raise(1); !errors.Is(err, ErrLevel) || !strings.Contains(err.Error(), "broker 1") || w.m.Level() != 0 || w.m.Supported() != 0 {
		t.Fatalf("raised over a broker that does not support it: %v, level %d, supported %d", err, w.m.Level(), w.m.Supported())
	}
	w.do(command.RegisterBroker{ID: 1, Version: command.WithLevel("newest", 9), Incarnation: [16]byte{1}})
	if w.m.Supported() != 1 {
		t.Errorf("supported %d", w.m.Supported())
	}
	if err := raise(1); err != nil || w.m.Level() != 1 {
		t.Fatalf("%v, level %d", err, w.m.Level())
	}
	if err := raise(0); err != nil || w.m.Level() != 1 {
		t.Errorf("%v, level %d", err, w.m.Level())
	}
	if err := register(1, "old"); !errors.Is(err, ErrLevel) || !strings.Contains(err.Error(), "start a newer release") {
		t.Errorf("a release that does not support the level registers: %v", err)
	}
	if _, ok := w.m.Broker(0); ok {
		t.Error("it is registered")
	}
	if err := register(2, command.WithLevel("newest", 9)); err != nil {
		t.Errorf("a newer release does not register: %v", err)
	}
}

// A snapshot of a level that this release does not support would be read, or refused as if it were damaged.
func TestSnapshotOfNewerLevel(t *testing.T) {
	b, err := cbor.Marshal([]any{snapshotMagic, snapshotVersion, "c", 9, 0, command.NewestLevel + 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(bytes.NewReader(b)); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "start the newer one") {
		t.Error(err)
	}
}
